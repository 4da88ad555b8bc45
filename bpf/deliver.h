/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The two ways on: into an instance's device, or up the host's stack. Frames were sent to the
 * gateway's hardware address: on a device that has another one of its own (weft's have not) they
 * count as somebody else's until their type says otherwise. */
#ifndef WEFT_BPF_DELIVER_H
#define WEFT_BPF_DELIVER_H

#include <linux/if_packet.h>
#include <linux/pkt_cls.h>

#include "bpf/encap.h"

static __always_inline int pass_to_host(struct __sk_buff *skb)
{
	if (skb->pkt_type == PACKET_OTHERHOST)
		bpf_skb_change_type(skb, PACKET_HOST);
	return TC_ACT_OK;
}

static __always_inline void set_macs(struct ethhdr *eth, const __u8 *to)
{
	mac_copy(eth->h_dest, to);
	mac_copy(eth->h_source, gateway_mac);
}

static __always_inline int deliver_here(struct __sk_buff *skb, const struct weft_bpf_instance *to)
{
	struct ethhdr *eth = (void *)frame(skb);

	if ((void *)(eth + 1) > frame_end(skb))
		return DROP(TRUNCATED);
	set_macs(eth, to->mac);
	if (to->device != WEFT_DEVICE_PEER)
		return bpf_redirect(to->ifindex, 0);
	if (skb->pkt_type != PACKET_HOST)
		bpf_skb_change_type(skb, PACKET_HOST);
	return bpf_redirect_peer(to->ifindex, 0);
}

static __always_inline int deliver(struct __sk_buff *skb, const struct weft_bpf_instance *to)
{
	if (to->device == WEFT_DEVICE_REMOTE)
		return encap(skb, to->peer);
	return deliver_here(skb, to);
}

#endif
