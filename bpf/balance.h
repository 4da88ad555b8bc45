/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Round robin, weighted or not: a new flow takes the next slot of its service's sequence. The
 * shared counter makes it exact in every window, whatever processors the flows arrive on. */
#ifndef WEFT_BPF_BALANCE_H
#define WEFT_BPF_BALANCE_H

#include "bpf/maps.h"

/* Slots of instances that are gone are passed over, so that one's sudden end costs no new flow
 * before user space has made the next table; and so are those that have no address of the flow's
 * family. */
#define BALANCE_TRIES 64

static __always_inline __u32 balance_slot(__u32 slot)
{
	__u32 key = slot / 4;
	const struct weft_slots *s = bpf_map_lookup_elem(&slots, &key);

	return s ? s->id[slot & 3] : 0;
}

static __always_inline bool balance_takes(__u32 id, __u32 service, __u32 family)
{
	const struct weft_bpf_instance *inst = instance_get(id);

	if (!inst || inst->service != service)
		return false;
	return family == 4 ? inst->ns_addr != 0 : has_addr6(inst->ns_addr6);
}

/* The backend's id, 0 if there is none. The directory word is read once: a packet sees the old
 * sequence or the new one. */
static __always_inline __u32 balance_pick(__u32 service, __u32 policy, __u32 family)
{
	__u32 key = weft_service_policy(service, policy), length;
	const __u64 *dir = bpf_map_lookup_elem(&slot_dir, &key);
	struct weft_turn *turn = bpf_map_lookup_elem(&turns, &key);
	__u64 word;

	if (!dir || !turn)
		return 0;
	word = *(const volatile __u64 *)dir;
	length = weft_slot_length(word);
	if (!length)
		return 0;
	for (int i = 0; i < BALANCE_TRIES; i++) {
		__u64 n = __sync_fetch_and_add(&turn->next, 1) % length;
		__u32 id = balance_slot((__u32)word + n);

		if (balance_takes(id, service, family))
			return id;
	}
	return 0;
}

#endif
