/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What an instance sends to who is outside of the overlay is the host's to route, but for what
 * nodes would believe, as they do not know it from what another node or a router sends:
 *
 *   ICMP errors about what the instance never got, which could lower the MTU of another node's
 *   tunnels; and datagrams to the tunnel's ports, which become the node's own where the host
 *   masquerades them, or where they answer a call of a published one. */
#ifndef WEFT_BPF_OUTSIDE_H
#define WEFT_BPF_OUTSIDE_H

#include "bpf/deliver.h"
#include "bpf/icmp6.h"

#define ICMP_QUENCH   4
#define ICMP_REDIRECT 5

static __always_inline bool quotes(__u8 type)
{
	return type == ICMP_UNREACHABLE || type == ICMP_QUENCH || type == ICMP_REDIRECT ||
	       type == ICMP_TIME_EXCEEDED || type == ICMP_PARAMETER;
}

/* off is the offset of the UDP header. Nodes have more addresses than the one by which they are
 * known, and are peers of each other sooner or later: the ports are enough. */
static __always_inline int no_tunnel(struct __sk_buff *skb, __u32 off, const __be32 daddr[4])
{
	__u32 zero = 0;
	const struct weft_bpf_uplink *up = bpf_map_lookup_elem(&uplink, &zero);
	const struct weft_bpf_peer *peer;
	__be16 port;

	if (bpf_skb_load_bytes(skb, off + 2, &port, sizeof(port)))
		return DROP(TRUNCATED);
	if (!up || !up->port)
		return 0;
	if (bpf_ntohs(port) == up->port || bpf_ntohs(port) == up->port + 1)
		return DROP(TUNNEL_FORGED);
	peer = peer_get(peer_find(daddr));
	return peer && port == peer->port ? DROP(TUNNEL_FORGED) : 0;
}

__noinline int outside4(struct __sk_buff *skb)
{
	__be32 daddr[4] = {0, 0, bpf_htonl(0xffff), 0};
	struct iphdr ip, quoted;
	__u32 off;
	__u8 type;

	if (bpf_skb_load_bytes(skb, IP_OFF, &ip, sizeof(ip)) ||
		ip.frag_off & bpf_htons(IP_FRAG_OFF))
		return 0;
	off = IP_OFF + ip.ihl * 4;
	daddr[3] = ip.daddr;
	if (ip.protocol == IPPROTO_UDP)
		return no_tunnel(skb, off, daddr);
	if (ip.protocol != IPPROTO_ICMP)
		return 0;
	if (bpf_skb_load_bytes(skb, off, &type, sizeof(type)))
		return DROP(TRUNCATED);
	if (!quotes(type))
		return 0;
	if (bpf_skb_load_bytes(skb, off + sizeof(struct icmp_error), &quoted, sizeof(quoted)))
		return DROP(TRUNCATED);
	/* RFC 1812 keeps errors below any MTU: in fragments one would only hide. */
	return ip.frag_off & bpf_htons(IP_FRAG_MORE) || quoted.saddr != ip.daddr ||
			       quoted.daddr != ip.saddr
		       ? DROP(ICMP_FORGED)
		       : 0;
}

static __always_inline int outside6_error(struct __sk_buff *skb, __u32 off, bool fragment)
{
	__u8 type;

	if (bpf_skb_load_bytes(skb, off, &type, sizeof(type)))
		return DROP(TRUNCATED);
	if (type >= ICMP6_ECHO)
		return 0;
	return fragment || !quoted6_matches(skb, off + sizeof(struct icmp_error))
		       ? DROP(ICMP_FORGED)
		       : 0;
}

__noinline int outside6(struct __sk_buff *skb)
{
	int walk = ip6_walk(skb, IP_OFF, skb->len - IP_OFF);
	__u8 proto = WALK_PROTO(walk);
	struct ipv6hdr ip;
	__be32 daddr[4];
	__u32 off;

	if (walk < 0)
		return walk;
	if (walk & WALK_LATER || (proto != NEXT_ICMP && proto != IPPROTO_UDP))
		return 0;
	/* A first fragment without the transport's header, which the next one has, would hide it.
	 */
	if (bpf_skb_load_bytes(skb, IP_OFF, &ip, sizeof(ip)) ||
		WALK_OFF(walk) + sizeof(struct udphdr) > IP6_HLEN + bpf_ntohs(ip.payload_len))
		return DROP(TRUNCATED);
	off = IP_OFF + WALK_OFF(walk);
	if (proto == NEXT_ICMP)
		return outside6_error(skb, off, walk & WALK_FIRST);
	__builtin_memcpy(daddr, &ip.daddr, sizeof(daddr));
	return no_tunnel(skb, off, daddr);
}

#endif
