/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Routers of the underlay that could not pass a datagram on tell so by ICMP. No socket has sent it,
 * so the host's stack could not make anything of that: here it lowers what the tunnel to that peer
 * takes, and senders learn of it as of any other limit. User space raises it again some time later.
 * The error itself goes on to the host. */
#ifndef WEFT_BPF_PATHMTU_H
#define WEFT_BPF_PATHMTU_H

#include "bpf/outer.h"

#define INNER_MIN        576 /* nobody is believed who says less, RFC 791 */
#define ICMP6_TOOBIG     2
#define ICMP_PROTO_V6    58
#define ICMP_CODE_TOOBIG 4

struct told4 {
	struct icmp_error icmp;
	struct iphdr ip;
	struct udphdr udp;
};

struct told6 {
	__u8 type, code;
	__be16 check;
	__be32 mtu;
	struct ipv6hdr ip;
	struct udphdr udp;
};

/* What is said of a datagram of len bytes, by the port it came from. Ours are from those that
 * nobody owns, and it was longer than what is said to be the most. */
static __always_inline bool credible(__be16 sport, __u32 len, __u32 path_mtu)
{
	return bpf_ntohs(sport) >= TUNNEL_PORT_FIRST && len > path_mtu;
}

static __always_inline void lower_mtu(
	const __be32 from[4], const __be32 to[4], __be16 port, __u32 path_mtu)
{
	struct weft_bpf_peer *peer = peer_get(peer_find(to));
	__u32 overhead, mtu = INNER_MIN;

	if (!peer || !same_addr(peer->local, from) || peer->port != port)
		return;
	overhead = weft_tunnel_overhead(peer->format, peer->family);
	if (path_mtu > overhead + INNER_MIN)
		mtu = path_mtu - overhead;
	if (mtu >= peer->mtu)
		return;
	peer->lowered_ns = bpf_ktime_get_coarse_ns();
	peer->mtu = mtu;
}

/* off is the offset of the IP header. */
static __always_inline void learn4(struct __sk_buff *skb, __u32 off)
{
	__be32 from[4] = {0, 0, bpf_htonl(0xffff), 0}, to[4] = {0, 0, bpf_htonl(0xffff), 0};
	struct iphdr ip;
	struct told4 q;

	if (bpf_skb_load_bytes(skb, off, &ip, sizeof(ip)) || ip.protocol != IPPROTO_ICMP ||
		ip.frag_off & bpf_htons(IP_FRAG_MORE | IP_FRAG_OFF))
		return;
	off += ip.ihl * 4;
	if (bpf_skb_load_bytes(skb, off, &q, sizeof(q)) || q.icmp.type != ICMP_UNREACHABLE ||
		q.icmp.code != ICMP_CODE_TOOBIG || q.ip.ihl * 4 != IP_HLEN_MIN ||
		q.ip.protocol != IPPROTO_UDP || q.ip.saddr != ip.daddr ||
		!credible(q.udp.source, bpf_ntohs(q.ip.tot_len), bpf_ntohs(q.icmp.mtu)))
		return;
	from[3] = q.ip.saddr;
	to[3] = q.ip.daddr;
	lower_mtu(from, to, q.udp.dest, bpf_ntohs(q.icmp.mtu));
}

static __always_inline void learn6(struct __sk_buff *skb, __u32 off)
{
	__be32 from[4], to[4], told[4];
	struct ipv6hdr ip;
	struct told6 q;

	if (bpf_skb_load_bytes(skb, off, &ip, sizeof(ip)) || ip.nexthdr != ICMP_PROTO_V6)
		return;
	off += sizeof(ip);
	if (bpf_skb_load_bytes(skb, off, &q, sizeof(q)) || q.type != ICMP6_TOOBIG ||
		q.ip.nexthdr != IPPROTO_UDP ||
		!credible(
			q.udp.source, sizeof(q.ip) + bpf_ntohs(q.ip.payload_len), bpf_ntohl(q.mtu)))
		return;
	__builtin_memcpy(from, &q.ip.saddr, sizeof(from));
	__builtin_memcpy(to, &q.ip.daddr, sizeof(to));
	__builtin_memcpy(told, &ip.daddr, sizeof(told));
	if (!same_addr(from, told))
		return;
	lower_mtu(from, to, q.udp.dest, bpf_ntohl(q.mtu));
}

__noinline int path_mtu_learn(struct __sk_buff *skb, __u32 ip)
{
	if (skb->protocol == bpf_htons(ETH_P_IP))
		learn4(skb, ip);
	else if (skb->protocol == bpf_htons(ETH_P_IPV6))
		learn6(skb, ip);
	return 0;
}

#endif
