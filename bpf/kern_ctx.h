/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What the kernel knows of a packet and a program's context does not show. To look costs nothing
 * (bpf_cast_to_kern_ctx() is no call but a change of type), but takes Linux 6.2. */
#ifndef WEFT_BPF_KERN_CTX_H
#define WEFT_BPF_KERN_CTX_H

#include <bpf/bpf_core_read.h>

#include "bpf/maps.h"

extern void *bpf_cast_to_kern_ctx(void *obj) __ksym __weak;

struct sk_buff___kern {
	unsigned char *head, *data;
	__u8 ip_summed : 2;
	__u16 mac_len, network_header;
} __attribute__((preserve_access_index));

/* The kernel's CHECKSUM_*: what a transport header's checksum field holds. */
enum skb_summed {
	SUMMED_NONE,        /* a checksum that nobody has verified yet, */
	SUMMED_UNNECESSARY, /* or the device has; */
	SUMMED_COMPLETE,    /* the same, and a sum over all of it is kept beside the packet; */
	SUMMED_PARTIAL,     /* the pseudo-header's sum, for the sending device to go on from */
	SUMMED_UNKNOWN,
};

static __always_inline enum skb_summed skb_summed(struct __sk_buff *skb)
{
	struct sk_buff___kern *k;

	if (!kern_ctx)
		return SUMMED_UNKNOWN;
	k = bpf_cast_to_kern_ctx(skb);
	return BPF_CORE_READ_BITFIELD(k, ip_summed);
}

/* Does what a program on an Ethernet device's ingress sees begin with the IP header? */
static __always_inline bool skb_headless(struct __sk_buff *skb)
{
	struct sk_buff___kern *k;

	if (!kern_ctx)
		return false;
	k = bpf_cast_to_kern_ctx(skb);
	return !k->mac_len && (__u64)k->data == (__u64)k->head + k->network_header;
}

#endif
