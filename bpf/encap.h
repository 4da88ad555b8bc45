/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Towards an instance of another node: the packet, translated already, becomes the payload of a UDP
 * datagram to its peer. Two formats:
 *   raw    the IP packet itself, as Oakestra's nodes send it
 *   VXLAN  behind a VXLAN and an Ethernet header, which receivers know how to merge (GRO)
 * A super-packet stays one: the kernel or the device cuts it later, and puts these headers before
 * each part. FIXED_GSO, because the segments' size was made to fit the tunnel already, by the MSS
 * or by an error that the sender got. */
#ifndef WEFT_BPF_ENCAP_H
#define WEFT_BPF_ENCAP_H

#include <linux/ipv6.h>
#include <linux/pkt_cls.h>

#include "bpf/nat.h"
#include "bpf/nexthop.h"
#include "bpf/parse.h"

#define TUNNEL_TTL        64
#define TUNNEL_PORT_FIRST 49152 /* RFC 7348: the ports that nobody owns */
#define TUNNEL_PORT_MASK  0x3fff
#define VXLAN_FLAGS       0x08000000U

static const __u8 gateway_mac[ETH_ALEN] __attribute__((aligned(8))) = WEFT_GATEWAY_MAC;

struct vxlan_header {
	__be32 flags, vni;
	struct ethhdr eth;
} __attribute__((packed));

/* NULL unless there is a way to that node now. */
static __always_inline struct weft_bpf_peer *peer_get(__u32 id)
{
	struct weft_bpf_peer *peer = bpf_map_lookup_elem(&peers, &id);

	return peer && peer->active ? peer : NULL;
}

/* The peer of that address, 0 for none. */
static __always_inline __u32 peer_find(const __be32 addr[4])
{
	__u32 hash = weft_peer_hash(addr);

	for (__u32 i = 0; i < WEFT_PEER_PROBES; i++) {
		__u32 key = (hash + i) % WEFT_PEER_SLOTS;
		const __u64 *id = bpf_map_lookup_elem(&peers_by_addr, &key);
		const struct weft_bpf_peer *peer = id && *id ? peer_get(*id) : NULL;

		if (peer && same_addr(peer->addr, addr))
			return *id;
	}
	return 0;
}

/* The largest packet of the overlay that the way to a node takes; 0: there is none. */
static __always_inline __u32 peer_mtu(__u32 id)
{
	const struct weft_bpf_peer *peer = peer_get(id);

	return peer ? peer->mtu : 0;
}

static __always_inline void peer_count(__u32 id, __u32 packets, __u32 bytes)
{
	struct weft_peer_counters *c = bpf_map_lookup_elem(&peer_stats, &id);

	if (!c)
		return;
	c->packets += packets;
	c->bytes += bytes;
}

/* Type of service and congestion bits of the inner packet: the outer one has the same. */
static __always_inline __u8 inner_tos(const __u8 *ip, bool v6)
{
	return v6 ? (__u8)(ip[0] << 4 | ip[1] >> 4) : ip[1];
}

/* A length field of an outer header: a super-packet may be longer than it can say, and is
 * measured anew when it is cut. */
static __always_inline __be16 outer_len(__u32 len)
{
	return len > 0xffff ? 0 : bpf_htons(len);
}

static __always_inline void outer_ipv4(
	struct iphdr *ip, const struct weft_bpf_peer *peer, __u32 len, __u8 tos)
{
	__u64 sum;

	ip->version = 4;
	ip->ihl = IP_HLEN_MIN / 4;
	ip->tos = tos;
	ip->tot_len = outer_len(IP_HLEN_MIN + len);
	ip->id = 0;
	ip->frag_off = bpf_htons(IP_FRAG_DONT);
	ip->ttl = TUNNEL_TTL;
	ip->protocol = IPPROTO_UDP;
	ip->saddr = peer->local[3];
	ip->daddr = peer->addr[3];
	sum = bpf_htons(0x4500 | tos) + (__u64)ip->tot_len + bpf_htons(IP_FRAG_DONT) +
	      bpf_htons(TUNNEL_TTL << 8 | IPPROTO_UDP) + ip->saddr + ip->daddr;
	ip->check = ~csum_fold(sum);
}

static __always_inline void outer_ipv6(
	struct ipv6hdr *ip, const struct weft_bpf_peer *peer, __u32 len, __u8 tos, __u32 hash)
{
	*(__be32 *)ip = bpf_htonl(6U << 28 | (__u32)tos << 20 | (hash & 0xfffff));
	ip->payload_len = outer_len(len);
	ip->nexthdr = IPPROTO_UDP;
	ip->hop_limit = TUNNEL_TTL;
	__builtin_memcpy(&ip->saddr, peer->local, sizeof(ip->saddr));
	__builtin_memcpy(&ip->daddr, peer->addr, sizeof(ip->daddr));
}

/* No checksum: what is inside has its own. With IPv6 this is RFC 6935's exception for tunnels. */
static __always_inline void outer_udp(
	struct udphdr *uh, const struct weft_bpf_peer *peer, __u32 len, __u32 hash)
{
	uh->source = bpf_htons(TUNNEL_PORT_FIRST + (hash >> 16 & TUNNEL_PORT_MASK));
	uh->dest = peer->port;
	uh->len = outer_len(sizeof(*uh) + len);
	uh->check = 0;
}

static __always_inline void outer_vxlan(struct vxlan_header *v, bool v6)
{
	v->flags = bpf_htonl(VXLAN_FLAGS);
	v->vni = bpf_htonl(WEFT_VXLAN_VNI << 8);
	mac_copy(v->eth.h_dest, gateway_mac);
	mac_copy(v->eth.h_source, gateway_mac);
	v->eth.h_proto = v6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);
}

/* Behind the UDP header at uh, for an inner packet of len bytes. */
static __always_inline int outer_payload(struct __sk_buff *skb, struct udphdr *uh,
	const struct weft_bpf_peer *peer, __u32 len, __u32 hash, bool v6)
{
	struct vxlan_header *v = (void *)(uh + 1);

	if (peer->format == WEFT_FORMAT_RAW) {
		outer_udp(uh, peer, len, hash);
		return 0;
	}
	if ((void *)(v + 1) > frame_end(skb))
		return DROP(ENCAP);
	outer_udp(uh, peer, sizeof(*v) + len, hash);
	outer_vxlan(v, v6);
	return 0;
}

static __always_inline int outer_fill(struct __sk_buff *skb, const struct weft_bpf_peer *peer,
	__u32 len, __u8 tos, __u32 hash, bool v6)
{
	__u32 payload = sizeof(struct udphdr) + len;
	struct ethhdr *eth = (void *)frame(skb);
	struct ipv6hdr *ip6 = (void *)(eth + 1);
	struct iphdr *ip = (void *)(eth + 1);
	struct udphdr *uh;

	if (peer->format != WEFT_FORMAT_RAW)
		payload += sizeof(struct vxlan_header);
	if (peer->family == 4) {
		uh = (void *)(ip + 1);
		if ((void *)(uh + 1) > frame_end(skb))
			return DROP(ENCAP);
		eth->h_proto = bpf_htons(ETH_P_IP);
		outer_ipv4(ip, peer, payload, tos);
		return outer_payload(skb, uh, peer, len, hash, v6);
	}
	uh = (void *)(ip6 + 1);
	if ((void *)(uh + 1) > frame_end(skb))
		return DROP(ENCAP);
	eth->h_proto = bpf_htons(ETH_P_IPV6);
	outer_ipv6(ip6, peer, payload, tos, hash);
	return outer_payload(skb, uh, peer, len, hash, v6);
}

/* The inner packet as far as the outer headers depend on it. */
struct inner {
	__u32 len; /* what its own header says */
	__u32 hash;
	__u8 tos;
	bool v6;
};

/* Of what tells flows apart, for the source port: routers and receiving queues then spread them.
 * All fragments of a datagram have one, so that they stay in order: without ports. The kernel's own
 * hash would cost ten times as much where it is not there already. */
static __always_inline __u32 inner_hash(const __u8 *ip, const void *end, bool v6)
{
	const __u32 *addrs = (void *)(ip + (v6 ? 8 : 12)), *l4 = (void *)(ip + IP_HLEN_MIN);
	__u64 x = (__u64)addrs[0] << 32 | addrs[1];

	if (v6) {
		l4 = (void *)(ip + sizeof(struct ipv6hdr));
		x ^= (__u64)addrs[3] << 32 | addrs[7];
		if (ip[6] == IPPROTO_TCP || ip[6] == IPPROTO_UDP)
			x += (__u64)l4[0] * 0x9e3779b97f4a7c15ULL;
	} else if (!((ip[6] << 8 | ip[7]) & (IP_FRAG_MORE | IP_FRAG_OFF)) && ip[0] == 0x45 &&
		   (void *)(l4 + 1) <= end) {
		x += (__u64)l4[0] * 0x9e3779b97f4a7c15ULL;
	}
	x = (x ^ x >> 32) * 0xff51afd7ed558ccdULL;
	return x >> 32;
}

static __always_inline int inner_look(struct __sk_buff *skb, struct inner *in)
{
	const struct ethhdr *eth = (void *)frame(skb);
	const __u8 *ip = (void *)(eth + 1);

	if ((void *)(ip + IP_HLEN_MIN) > frame_end(skb))
		return DROP(TRUNCATED);
	in->v6 = eth->h_proto == bpf_htons(ETH_P_IPV6);
	if (in->v6) {
		if ((void *)(ip + sizeof(struct ipv6hdr) + 4) > frame_end(skb))
			return DROP(TRUNCATED);
		in->len = sizeof(struct ipv6hdr) + (ip[4] << 8 | ip[5]);
	} else {
		in->len = ip[2] << 8 | ip[3];
	}
	in->tos = inner_tos(ip, in->v6);
	in->hash = inner_hash(ip, frame_end(skb), in->v6);
	return 0;
}

/* A frame may be longer than its packet; what goes into a datagram is not. */
static __always_inline int inner_trim(struct __sk_buff *skb, const struct inner *in)
{
	if (skb->gso_size || IP_OFF + in->len >= skb->len)
		return 0;
	return bpf_skb_change_tail(skb, IP_OFF + in->len, 0) ? DROP(ENCAP) : 0;
}

/* The verdict. A function of its own: verified once, and no cost to what stays on the node. */
__noinline int encap(struct __sk_buff *skb, __u32 peer_id)
{
	const struct weft_bpf_peer *peer = peer_get(peer_id);
	__u64 flags = BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_NO_CSUM_RESET |
		      BPF_F_ADJ_ROOM_ENCAP_L4_UDP;
	struct inner in = {};
	__u32 len;
	int ret;

	if (!peer)
		return DROP(NO_PEER);
	ret = inner_look(skb, &in);
	if (!ret)
		ret = inner_trim(skb, &in);
	if (ret)
		return ret;
	flags |= peer->family == 4 ? BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 : BPF_F_ADJ_ROOM_ENCAP_L3_IPV6;
	if (peer->format != WEFT_FORMAT_RAW)
		flags |= BPF_F_ADJ_ROOM_ENCAP_L2(ETH_HLEN) | BPF_F_ADJ_ROOM_ENCAP_L2_ETH;
	len = skb->len - IP_OFF;
	peer_count(peer_id, skb_packets(skb), len);
	if (bpf_skb_adjust_room(
		    skb, weft_tunnel_overhead(peer->format, peer->family), BPF_ADJ_ROOM_MAC, flags))
		return DROP(ENCAP);
	ret = outer_fill(skb, peer, len, in.tos, in.hash, in.v6);
	return ret ? ret : leave_to(skb, peer_id, peer);
}

#endif
