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

/* Kernels before 6.3 know of neighbours that they have no address of. */
static __always_inline bool fib_has_addresses(const struct bpf_fib_lookup *fib)
{
	const __u16 *mac = (const void *)fib->dmac;

	return mac[0] | mac[1] | mac[2];
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
	if (!bpf_fib_lookup(ctx, &gw->fib, sizeof(gw->fib), BPF_FIB_LOOKUP_OUTPUT) &&
		gw->fib.ifindex == peer->ifindex && fib_has_addresses(&gw->fib))
		gw->nh.nh_family = gw->fib.family;
	return 0;
}

static __always_inline __u64 gateway_tick(void)
{
	return 1 + (clock_ns() >> WEFT_HOP_SHIFT);
}

/* Whether what is known of the way to a peer is of that tick. */
static __always_inline bool gateway_fresh(
	const struct weft_gateway *gw, const struct weft_bpf_peer *peer, __u64 asked, __u64 tick)
{
	return asked == tick && gw->ifindex == peer->ifindex && same_addr(gw->addr, peer->addr);
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
	struct weft_gateway *gw = bpf_map_lookup_elem(&gateways, &peer_id);
	__u64 tick = gateway_tick();

	if (gw && !gateway_fresh(gw, peer, gw->tick, tick)) {
		gw->tick = tick;
		gateway_ask(skb, peer_id);
	} else if (address_to((void *)(long)skb->data, (void *)(long)skb->data_end, gw)) {
		return (int)bpf_redirect(peer->ifindex, 0);
	}
	return (int)bpf_redirect_neigh(peer->ifindex, NULL, 0, 0);
}

/* XDP's packets the neighbour table never sees: of each so many ticks the first packet is left to
 * TC, which is to take the tick for an old one and send it by that table. */
#define HOP_UNSEEN (1ULL << 63)
#define HOP_TICKS  8 /* 1 s */

/* The way to a peer, NULL where TC has to find it. */
static __always_inline const struct weft_gateway *xdp_way_to(
	struct xdp_md *xdp, __u32 peer_id, const struct weft_bpf_peer *peer)
{
	struct weft_gateway *gw = bpf_map_lookup_elem(&gateways, &peer_id);
	__u64 tick = gateway_tick();

	if (!gw)
		return NULL;
	if (!gateway_fresh(gw, peer, gw->tick & ~HOP_UNSEEN, tick)) {
		gateway_ask(xdp, peer_id);
		if (tick % HOP_TICKS == 0) {
			gw->tick = tick | HOP_UNSEEN;
			return NULL;
		}
		gw->tick = tick;
	}
	return gw->nh.nh_family ? gw : NULL;
}

#endif
