/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* On an uplink, in native mode where its driver runs XDP: before the kernel has made a packet's
 * descriptor. What is no good of the tunnel is dropped here, at a third of the price. What is, is
 * taken out and handed over to the TC program behind it: GRO, in between, then sees the instances'
 * own segments and merges them whatever the tunnel's format, so that a bulk transfer reaches TC in
 * super-packets as well.
 *
 * It does not redirect to an instance's device itself: XDP sees bytes, not what is known of their
 * checksums, and frames sent that way into a veth arrive unmerged and one by one. For the same
 * reason datagrams with a checksum of their own are left to TC: where the sender is on this very
 * machine it may be only begun, and the kernel would complete it at a place that has moved.
 *
 * It is one program of several where libxdp's dispatcher can run it, and alone on the device by a
 * bpf_link elsewhere. Where another XDP program holds the device already, TC does all of it. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "bpf/handover.h"
#include "bpf/xdp_publish.h"

const volatile bool xdp_frags; /* a frame may be in pieces: from 5.18 on */
const volatile bool no_decap;  /* generic XDP runs behind GRO: there is nothing to win any more */

static __always_inline int take_out(struct xdp_md *xdp, const struct outer *o, __u32 peer)
{
	__u32 room = o->inner - IP_OFF;
	struct handover *h;
	struct ethhdr *eth, outer_eth;

	eth = (void *)(long)xdp->data;
	if ((void *)(eth + 1) > (void *)(long)xdp->data_end)
		return XDP_PASS;
	outer_eth = *eth;
	/* A driver without metadata: TC finds the packet as it came. */
	if (bpf_xdp_adjust_meta(xdp, -(int)sizeof(*h)))
		return XDP_PASS;
	h = (void *)(long)xdp->data_meta;
	if ((void *)(h + 1) > (void *)(long)xdp->data)
		return XDP_PASS;
	h->magic = 0;
	if (bpf_xdp_adjust_head(xdp, (int)room))
		return XDP_PASS;
	h = (void *)(long)xdp->data_meta;
	eth = (void *)(long)xdp->data;
	if ((void *)(h + 1) > (void *)eth || (void *)(eth + 1) > (void *)(long)xdp->data_end)
		return XDP_DROP;
	h->magic = HANDOVER_MAGIC;
	h->peer = peer;
	*eth = outer_eth;
	eth->h_proto = o->inner_v6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);
	ecn_pass_on(eth, (void *)(long)xdp->data_end, o->tos);
	return XDP_PASS;
}

SEC("xdp")
int xdp_uplink(struct xdp_md *xdp)
{
	struct bytes b = {
		.data = (void *)(long)xdp->data,
		.end = (void *)(long)xdp->data_end,
		.len = xdp_frags ? bpf_xdp_get_buff_len(xdp) : xdp->data_end - xdp->data,
	};
	struct outer o = {};
	__u32 peer = 0;
	int ret = outer_final(&o, outer_find(&b, &o));

	if (ret == NOT_OURS)
		return xdp_publish(xdp);
	if (!ret && o.checked && !no_decap)
		return XDP_PASS;
	ret = outer_judge(xdp, xdp->ingress_ifindex, &o, ret, &peer);
	if (ret == NOT_OURS)
		return XDP_PASS;
	if (!ret)
		return no_decap ? XDP_PASS : take_out(xdp, &o, peer);
	count_drop(DROP_REASON(ret));
	peer_dropped(peer);
	return XDP_DROP;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
