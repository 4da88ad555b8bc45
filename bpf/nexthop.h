/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The next hop to a peer, which the routing table is asked for once a second instead of once a
 * packet: that is some 3 % of a round trip between nodes. It answers where the uplink forwards (its
 * `forwarding` is on); elsewhere the kernel routes each packet. The next hop's hardware address,
 * and whether it is still there, stay with the kernel's neighbour table. */
#ifndef WEFT_BPF_NEXTHOP_H
#define WEFT_BPF_NEXTHOP_H

#include "bpf/clock.h"

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

static __noinline int gateway_ask(struct __sk_buff *skb, __u32 peer_id)
{
	const struct weft_bpf_peer *peer = bpf_map_lookup_elem(&peers, &peer_id);
	struct weft_gateway *gw = bpf_map_lookup_elem(&gateways, &peer_id);

	if (!peer || !gw)
		return 0;
	gw->nh.nh_family = 0;
	gw->ifindex = peer->ifindex;
	__builtin_memcpy(gw->addr, peer->addr, sizeof(gw->addr));
	fib_to(&gw->fib, peer);
	if (bpf_fib_lookup(skb, &gw->fib, sizeof(gw->fib), BPF_FIB_LOOKUP_OUTPUT) ||
		gw->fib.ifindex != peer->ifindex)
		return 0;
	__builtin_memcpy(gw->nh.ipv6_nh, gw->fib.ipv6_dst, sizeof(gw->nh.ipv6_nh));
	gw->nh.nh_family = gw->fib.family;
	return 0;
}

/* To where a peer's datagrams go, by the uplink: the verdict. */
static __always_inline int leave_to(
	struct __sk_buff *skb, __u32 peer_id, const struct weft_bpf_peer *peer)
{
	struct weft_gateway *gw = bpf_map_lookup_elem(&gateways, &peer_id);
	__u64 tick = 1 + (clock_ns() >> WEFT_HOP_SHIFT);

	if (gw && (gw->tick != tick || gw->ifindex != peer->ifindex ||
			  !same_addr(gw->addr, peer->addr))) {
		gw->tick = tick;
		gateway_ask(skb, peer_id);
	}
	if (gw && gw->nh.nh_family)
		return (int)bpf_redirect_neigh(peer->ifindex, &gw->nh, sizeof(gw->nh), 0);
	return (int)bpf_redirect_neigh(peer->ifindex, NULL, 0, 0);
}

#endif
