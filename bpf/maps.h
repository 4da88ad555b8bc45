/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Maps and load-time constants. User space pins every map under its name here, and writes those
 * with BPF_F_MMAPABLE by plain stores. */
#ifndef WEFT_BPF_MAPS_H
#define WEFT_BPF_MAPS_H

#include <linux/bpf.h>
#include <stdbool.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "bpf/weft_abi.h"

const volatile __u64 flow_seed[2];
const volatile __u32 flow_mask;   /* buckets - 1 */
const volatile __u32 overlay_mtu; /* 0: without limit */
const volatile bool kern_ctx;     /* this kernel has bpf_cast_to_kern_ctx() */
const volatile __u64 jiffy_ns;    /* 0: not known */
const volatile __u64 jiffy_zero;  /* the coarse monotonic clock at jiffy 0, modulo 2^64 */

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weft_meta);
} meta SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, WEFT_MAX_INSTANCES);
	__type(key, __u32);
	__type(value, struct weft_bpf_instance);
} instances SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, WEFT_MAX_SERVICES);
	__type(key, __u32);
	__type(value, struct weft_bpf_service);
} services SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, __u32); /* WEFT_TARGET() */
} targets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, WEFT_DEV_SLOTS);
	__type(key, __u32);
	__type(value, __u64);
} devices SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, WEFT_TARGETS6);
	__type(key, struct weft_addr6);
	__type(value, __u32); /* WEFT_TARGET() */
} targets6 SEC(".maps");

/* Namespace address -> instance, for what is delivered without translation. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, WEFT_MAX_INSTANCES);
	__type(key, __be32);
	__type(value, __u32);
} ns_addrs SEC(".maps");

/* What was found there last, by the low bits of the address: a third of the price, and mostly
 * right. Programs alone write it. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, WEFT_NS_HINTS);
	__type(key, __u32);
	__type(value, __u32);
} ns_hints SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, WEFT_MAX_INSTANCES);
	__type(key, struct weft_addr6);
	__type(value, __u32);
} ns_addrs6 SEC(".maps");

/* Of weft_service_policy(): the word of the slots in use, user space's room, the next turn. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, WEFT_MAX_SERVICES *WEFT_POLICIES);
	__type(key, __u32);
	__type(value, __u64); /* weft_slot_word() */
} slot_dir SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, WEFT_MAX_SERVICES *WEFT_POLICIES);
	__type(key, __u32);
	__type(value, union weft_room);
} rooms SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, WEFT_MAX_SERVICES *WEFT_POLICIES);
	__type(key, __u32);
	__type(value, struct weft_turn);
} turns SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, WEFT_SLOT_POOL / 4);
	__type(key, __u32);
	__type(value, struct weft_slots);
} slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* set when it is created */
	__type(key, __u32);
	__type(value, struct weft_bucket);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct weft_frag_key);
	__type(value, struct weft_frag);
} fragments SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct weft_frag6_key);
	__type(value, struct weft_frag6);
} fragments6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, WEFT_MAX_SERVICES);
	__type(key, __u32);
	__type(value, struct weft_counters);
} service_stats SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, WEFT_MAX_INSTANCES);
	__type(key, __u32);
	__type(value, struct weft_counters);
} instance_stats SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, WEFT_DROP_SLOTS);
	__type(key, __u32);
	__type(value, __u64);
} drops SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, WEFT_EVENT_SLOTS);
	__type(key, __u32);
	__type(value, __u64);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, WEFT_MAX_INSTANCES);
	__type(key, __u32);
	__type(value, struct weft_icmp_budget);
} icmp_budgets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, WEFT_MAX_PEERS);
	__type(key, __u32);
	__type(value, struct weft_bpf_peer);
} peers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, WEFT_PEER_SLOTS);
	__type(key, __u32);
	__type(value, __u64);
} peers_by_addr SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, WEFT_MAX_PEERS);
	__type(key, __u32);
	__type(value, struct weft_peer_counters);
} peer_stats SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weft_bpf_uplink);
} uplink SEC(".maps");

/* Whose sockets may take the shortcut. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, WEFT_MAX_INSTANCES);
	__type(key, __u32);
	__type(value, struct weft_netns);
} shortcut_netns SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, WEFT_MAX_PUBLISHED);
	__type(key, __u32);
	__type(value, struct weft_bpf_published);
} published SEC(".maps");

/* Host port, with UDP's above TCP's -> published; 0: none. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 2 * 65536);
	__type(key, __u32);
	__type(value, __u64);
} publish_ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weft_bpf_publish_at);
} publish_at SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct weft_return_key);
	__type(value, __u32); /* peer */
} returns SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, WEFT_MAX_PEERS);
	__type(key, __u32);
	__type(value, struct weft_gateway);
} gateways SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, WEFT_MAX_INSTANCES);
	__type(key, __u32);
	__type(value, struct weft_quality);
} quality SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, WEFT_SAMPLES);
	__type(key, __u32);
	__type(value, struct weft_sample);
} samples SEC(".maps");

/* NULL unless there is such an instance now. */
static __always_inline const struct weft_bpf_instance *instance_get(__u32 id)
{
	const struct weft_bpf_instance *inst = bpf_map_lookup_elem(&instances, &id);

	return inst && inst->active ? inst : NULL;
}

static __always_inline __u32 *ns_hint(__be32 addr)
{
	__u32 key = bpf_ntohl(addr) & (WEFT_NS_HINTS - 1);

	return bpf_map_lookup_elem(&ns_hints, &key);
}

/* The id of the instance that was found last where that address would be. */
static __always_inline __u32 instance_near(__be32 addr)
{
	const __u32 *hint = ns_hint(addr);

	return hint ? *(const volatile __u32 *)hint : 0;
}

/* The id of the instance that has a namespace address, 0: nobody. */
__noinline __u32 instance_at(__be32 addr)
{
	__u32 id = instance_near(addr), *hint = ns_hint(addr);
	const struct weft_bpf_instance *inst = instance_get(id);
	const __u32 *found;

	if (!hint || !addr)
		return 0;
	if (inst && inst->ns_addr == addr)
		return id;
	found = bpf_map_lookup_elem(&ns_addrs, &addr);
	if (!found)
		return 0;
	*(volatile __u32 *)hint = *found;
	return *found;
}

static __always_inline bool has_addr6(const __be32 addr[4])
{
	return (addr[0] | addr[1] | addr[2] | addr[3]) != 0;
}

/* NULL unless there is such a service now. */
static __always_inline const struct weft_bpf_service *service_get(__u32 id)
{
	const struct weft_bpf_service *svc = bpf_map_lookup_elem(&services, &id);

	return svc && svc->epoch ? svc : NULL;
}

static __always_inline __u32 device_instance(__u32 ifindex)
{
	for (__u32 i = 0; i < WEFT_DEV_PROBES; i++) {
		__u32 key = (ifindex + i) % WEFT_DEV_SLOTS;
		const __u64 *entry = bpf_map_lookup_elem(&devices, &key);
		__u64 e = entry ? *(volatile const __u64 *)entry : 0;

		if (e >> 32 == ifindex)
			return (__u32)e;
	}
	return 0;
}

#endif
