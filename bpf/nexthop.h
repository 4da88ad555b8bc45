/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The next hop to a peer, which the routing table is asked for some times a second instead of once
 * a packet. It answers where the uplink forwards (its `forwarding` is on); elsewhere the kernel
 * routes each packet. Whether the next hop is still there stays with the kernel's neighbour table,
 * which has to see that it is used: the packet that asks is sent by it. */
#ifndef WEFT_BPF_NEXTHOP_H
#define WEFT_BPF_NEXTHOP_H

#include "bpf/clock.h"
#include "bpf/parse.h"

#define FIB_IPV4 2 /* <sys/socket.h> wants libc */
#define FIB_IPV6 10

static __always_inline bool same_addr(const __be32 a[4], const __be32 b[4])
{
	const __u64 *x = (void *)a, *y = (void *)b;

	return !((x[0] ^ y[0]) | (x[1] ^ y[1]));
}

/* What to ask the routing table for the way to a peer. */
static __always_inline void fib_to(struct bpf_fib_lookup *fib, const struct weft_bpf_peer *peer)
{
	__builtin_memset(fib, 0, sizeof(*fib));
	fib->l4_protocol = IPPROTO_UDP;
	fib->dport = peer->port;
	fib->tot_len = 64; /* no look at the packet, whose MTU is known */
	fib->ifindex = peer->ifindex;
	if (peer->family == 4) {
		fib->family = FIB_IPV4;
		fib->ipv4_src = peer->local[3];
		fib->ipv4_dst = peer->addr[3];
		return;
	}
	fib->family = FIB_IPV6;
	__builtin_memcpy(fib->ipv6_src, peer->local, sizeof(fib->ipv6_src));
	__builtin_memcpy(fib->ipv6_dst, peer->addr, sizeof(fib->ipv6_dst));
}

static __noinline int gateway_ask(void *ctx, __u32 peer_id)
{
	const struct weft_bpf_peer *peer = bpf_map_lookup_elem(&peers, &peer_id);
	struct weft_gateway *gw = bpf_map_lookup_elem(&gateways, &peer_id);

	if (!peer || !gw)
		return 0;
	gw->ifindex = peer->ifindex;
	__builtin_memcpy(gw->addr, peer->addr, sizeof(gw->addr));
	fib_to(&gw->fib, peer);
	gw->nh.nh_family = 0;
	if (bpf_fib_lookup(ctx, &gw->fib, sizeof(gw->fib), BPF_FIB_LOOKUP_OUTPUT) ||
		gw->fib.ifindex != peer->ifindex)
		return 0;
	__builtin_memcpy(gw->nh.ipv6_nh, gw->fib.ipv6_dst, sizeof(gw->nh.ipv6_nh));
	gw->nh.nh_family = gw->fib.family;
	return 0;
}

/* What is known of the way to a peer; NULL, or nh_family 0: only that it is by its uplink. *asked:
 * it has just been asked for. */
static __always_inline const struct weft_gateway *gateway_of(
	void *ctx, __u32 peer_id, const struct weft_bpf_peer *peer, bool *asked)
{
	struct weft_gateway *gw = bpf_map_lookup_elem(&gateways, &peer_id);
	__u64 tick = 1 + (clock_ns() >> WEFT_HOP_SHIFT);

	*asked = gw && (gw->tick != tick || gw->ifindex != peer->ifindex ||
			       !same_addr(gw->addr, peer->addr));
	if (*asked) {
		gw->tick = tick;
		gateway_ask(ctx, peer_id);
	}
	return gw;
}

/* By the way that is known, without asking anybody: false without one. */
static __always_inline bool address_to(
	struct ethhdr *eth, const void *end, const struct weft_gateway *gw)
{
	if (!gw || !gw->nh.nh_family || (void *)(eth + 1) > end)
		return false;
	mac_copy(eth->h_dest, gw->fib.dmac);
	mac_copy(eth->h_source, gw->fib.smac);
	return true;
}

/* A peer's datagram, by the uplink: the verdict. */
static __always_inline int leave_to(
	struct __sk_buff *skb, __u32 peer_id, const struct weft_bpf_peer *peer)
{
	bool asked;
	const struct weft_gateway *gw = gateway_of(skb, peer_id, peer, &asked);

	if (!asked && address_to((void *)(long)skb->data, (void *)(long)skb->data_end, gw))
		return (int)bpf_redirect(peer->ifindex, 0);
	return (int)bpf_redirect_neigh(peer->ifindex, NULL, 0, 0);
}

#endif
