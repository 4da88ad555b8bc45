/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What arrives at the uplink: is it a datagram of the tunnel, from whom, and where in it is the
 * inner packet? For TC and XDP alike: all is read from the bytes, every length is checked against
 * the one around it. Who sent it is not trusted before it is known to be a peer, and not much then.
 */
#ifndef WEFT_BPF_OUTER_H
#define WEFT_BPF_OUTER_H

#include "bpf/encap.h"

const volatile __be16 tunnel_port; /* raw */
const volatile __be16 vxlan_port;

#define SHORT 101 /* an answer: not to be said before more of the frame is at hand */

/* IP with all options, UDP, VXLAN, Ethernet and the inner IP header: to be linear. */
#define IP_HLEN_MAX 60
#define OUTER_MAX   (ETH_HLEN + IP_HLEN_MAX + 8 + 8 + ETH_HLEN + sizeof(struct ipv6hdr))
#define OUTER_MIN   (ETH_HLEN + IP_HLEN_MIN + 8)

#define AF_IPV4 2 /* <sys/socket.h> wants libc */
#define AF_IPV6 10

#define IP6_EXTENSIONS 6 /* looked through for a datagram that hides behind them */
#ifndef IPPROTO_HOPOPTS
#define IPPROTO_HOPOPTS  0
#define IPPROTO_ROUTING  43
#define IPPROTO_FRAGMENT 44
#define IPPROTO_DSTOPTS  60
#endif

struct outer {
	__be32 saddr[4], daddr[4]; /* those of IPv4 mapped */
	__u32 inner;               /* offset of the inner packet in the frame */
	__u8 family, tos;
	bool inner_v6;
	bool ours;    /* the port is the tunnel's */
	bool checked; /* the datagram has a checksum, which may be half done */
};

/* A frame, and what of it is at hand. */
struct bytes {
	const __u8 *data;
	const void *end;
	__u32 len;  /* of the frame */
	bool super; /* a super-packet: a length field of 0 is one that says nothing */
};

static __always_inline bool is_tunnel_port(__be16 port)
{
	return port == tunnel_port || port == vxlan_port;
}

/* What the packet says it is long, in a room of so many bytes for it. */
static __always_inline int inner_find(const struct bytes *b, __u32 room, struct outer *o)
{
	const __u8 *ip = b->data + o->inner;
	__u32 len;

	if (room < IP_HLEN_MIN)
		return DROP(TUNNEL_TRUNCATED);
	if ((void *)(ip + IP_HLEN_MIN) > b->end)
		return SHORT;
	o->inner_v6 = ip[0] >> 4 == 6;
	len = o->inner_v6 ? ip[4] << 8 | ip[5] : ip[2] << 8 | ip[3];
	if (!len && b->super)
		return 0;
	if (o->inner_v6)
		len += sizeof(struct ipv6hdr);
	else if (ip[0] >> 4 != 4 || len < IP_HLEN_MIN)
		return DROP(TUNNEL_MALFORMED);
	if (len > room)
		return DROP(TUNNEL_TRUNCATED);
	/* More than one in a datagram: the device merged them, and nobody can tell them apart. */
	return b->super && len != room ? DROP(TUNNEL_MALFORMED) : 0;
}

static __always_inline int vxlan_find(const struct bytes *b, __u32 off, __u32 room, struct outer *o)
{
	const struct vxlan_header *v = (void *)(b->data + off);
	int ret;

	if (room < sizeof(*v))
		return DROP(TUNNEL_TRUNCATED);
	if ((void *)(v + 1) > b->end)
		return SHORT;
	if ((v->flags & bpf_htonl(0xff000000U)) != bpf_htonl(VXLAN_FLAGS) ||
		(v->vni & bpf_htonl(0xffffff00U)) != bpf_htonl(WEFT_VXLAN_VNI << 8))
		return DROP(TUNNEL_MALFORMED);
	if (v->eth.h_proto != bpf_htons(ETH_P_IP) && v->eth.h_proto != bpf_htons(ETH_P_IPV6))
		return DROP(TUNNEL_MALFORMED);
	o->inner = off + sizeof(*v);
	ret = inner_find(b, room - sizeof(*v), o);
	if (ret)
		return ret;
	return o->inner_v6 == (v->eth.h_proto == bpf_htons(ETH_P_IPV6)) ? 0
									: DROP(TUNNEL_MALFORMED);
}

/* off is the UDP header's, room what IP leaves for it. */
static __always_inline int udp_find(const struct bytes *b, __u32 off, __u32 room, struct outer *o)
{
	const struct udphdr *uh = (void *)(b->data + off);
	__u32 len;

	if ((void *)(uh + 1) > b->end)
		return SHORT;
	if (!is_tunnel_port(uh->dest))
		return NOT_OURS;
	o->ours = true;
	len = bpf_ntohs(uh->len);
	if (!len && b->super)
		len = room;
	if (len < sizeof(*uh) || len > room)
		return DROP(TUNNEL_MALFORMED);
	o->checked = uh->check;
	off += sizeof(*uh);
	room = len - sizeof(*uh);
	if (uh->dest == vxlan_port)
		return vxlan_find(b, off, room, o);
	o->inner = off;
	return inner_find(b, room, o);
}

static __always_inline int outer_find4(const struct bytes *b, struct outer *o)
{
	const struct iphdr *ip = (void *)(b->data + IP_OFF);
	__u32 hlen, len;
	int ret;

	if ((void *)(ip + 1) > b->end || ip->protocol != IPPROTO_UDP)
		return NOT_OURS;
	hlen = ip->ihl * 4;
	len = bpf_ntohs(ip->tot_len);
	if (!len && b->super)
		len = b->len - IP_OFF;
	/* Later fragments never become a datagram without their first. That no header fits into a
	 * length of 0, verifiers before Linux 6.4 must be told. */
	if (ip->version != 4 || len < IP_HLEN_MIN || hlen < IP_HLEN_MIN || len < hlen ||
		ip->frag_off & bpf_htons(IP_FRAG_OFF))
		return NOT_OURS;
	o->family = 4;
	o->tos = ip->tos;
	o->saddr[2] = o->daddr[2] = bpf_htonl(0xffff);
	o->saddr[3] = ip->saddr;
	o->daddr[3] = ip->daddr;
	ret = udp_find(b, IP_OFF + hlen, len - hlen, o);
	if (ret == NOT_OURS || ret == SHORT)
		return ret;
	if (ip->frag_off & bpf_htons(IP_FRAG_MORE))
		return DROP(TUNNEL_FRAGMENT);
	return IP_OFF + len > b->len ? DROP(TUNNEL_TRUNCATED) : ret;
}

/* Nobody sends these with extension headers. One that hides behind them is found, so that it does
 * not get any further, and dropped. */
static __always_inline int hidden_find(const struct bytes *b, __u8 next)
{
	__u32 off = IP_OFF + sizeof(struct ipv6hdr);
	bool fragment = false;

	for (int i = 0; i < IP6_EXTENSIONS; i++) {
		const __u8 *h = b->data + (off & 0xfff);

		if ((void *)(h + 8) > b->end)
			return SHORT;
		switch (next) {
		case IPPROTO_UDP:
			if (!is_tunnel_port(((const struct udphdr *)h)->dest))
				return NOT_OURS;
			return fragment ? DROP(TUNNEL_FRAGMENT) : DROP(TUNNEL_MALFORMED);
		case IPPROTO_FRAGMENT:
			if ((h[2] << 8 | h[3]) & 0xfff8)
				return NOT_OURS;
			fragment = true;
			off += 8;
			break;
		case IPPROTO_HOPOPTS:
		case IPPROTO_ROUTING:
		case IPPROTO_DSTOPTS:
			off += 8 + h[1] * 8;
			break;
		default:
			return NOT_OURS;
		}
		next = h[0];
	}
	return NOT_OURS;
}

static __always_inline int outer_find6(const struct bytes *b, struct outer *o)
{
	const struct ipv6hdr *ip = (void *)(b->data + IP_OFF);
	__u32 len;
	int ret;

	if ((void *)(ip + 1) > b->end || ip->version != 6)
		return NOT_OURS;
	o->family = 6;
	o->tos = inner_tos((void *)ip, true);
	__builtin_memcpy(o->saddr, &ip->saddr, sizeof(o->saddr));
	__builtin_memcpy(o->daddr, &ip->daddr, sizeof(o->daddr));
	if (ip->nexthdr != IPPROTO_UDP)
		return hidden_find(b, ip->nexthdr);
	len = bpf_ntohs(ip->payload_len);
	if (!len && b->super)
		len = b->len - IP_OFF - sizeof(*ip);
	ret = udp_find(b, IP_OFF + sizeof(*ip), len, o);
	if (ret == NOT_OURS || ret == SHORT)
		return ret;
	return IP_OFF + sizeof(*ip) + len > b->len ? DROP(TUNNEL_TRUNCATED) : ret;
}

/* NOT_OURS, SHORT, a DROP() of a datagram to the tunnel's ports that is no good, or 0 and all of
 * *o. Where it was dropped, who sent it and to whom is in *o. */
static __always_inline int outer_find(const struct bytes *b, struct outer *o)
{
	const struct ethhdr *eth = (void *)b->data;

	if ((void *)(eth + 1) > b->end)
		return NOT_OURS;
	switch (eth->h_proto) {
	case bpf_htons(ETH_P_IP):
		return outer_find4(b, o);
	case bpf_htons(ETH_P_IPV6):
		return outer_find6(b, o);
	default:
		return NOT_OURS;
	}
}

/* A congested router marks the outer packet: the mark goes on inside (RFC 6040). */
#define ECN_MASK 3

static __always_inline void ecn_pass_on(struct ethhdr *eth, void *end, __u8 outer_tos)
{
	struct iphdr *ip = (void *)(eth + 1);
	__u8 *b = (void *)ip;

	if ((outer_tos & ECN_MASK) != ECN_MASK || (void *)(ip + 1) > end)
		return;
	if (eth->h_proto == bpf_htons(ETH_P_IPV6)) {
		if (b[1] & ECN_MASK << 4)
			b[1] |= ECN_MASK << 4;
		return;
	}
	if (!(ip->tos & ECN_MASK) || (ip->tos & ECN_MASK) == ECN_MASK)
		return;
	ip->check =
		~csum_fold((__u64)(__u16)~ip->check + bpf_htons(ECN_MASK - (ip->tos & ECN_MASK)));
	ip->tos |= ECN_MASK;
}

/* What SHORT comes to where there is no more. */
static __always_inline int outer_final(const struct outer *o, int ret)
{
	if (ret != SHORT)
		return ret;
	return o->ours ? DROP(TUNNEL_TRUNCATED) : NOT_OURS;
}

/* --- who sent it --- */

/* Would the host forward it to somebody else? (A node may be other nodes' router.) Asked only about
 * what is not addressed as a peer would. */
static __always_inline bool is_transit(void *ctx, __u32 ifindex, const struct outer *o)
{
	struct bpf_fib_lookup fib = {
		.family = o->family == 4 ? AF_IPV4 : AF_IPV6,
		.l4_protocol = IPPROTO_UDP,
		.dport = tunnel_port,
		.ifindex = ifindex,
	};

	if (o->family == 4) {
		fib.ipv4_src = o->saddr[3];
		fib.ipv4_dst = o->daddr[3];
	} else {
		__builtin_memcpy(fib.ipv6_src, o->saddr, sizeof(fib.ipv6_src));
		__builtin_memcpy(fib.ipv6_dst, o->daddr, sizeof(fib.ipv6_dst));
	}
	switch (bpf_fib_lookup(ctx, &fib, sizeof(fib), 0)) {
	case BPF_FIB_LKUP_RET_SUCCESS:
	case BPF_FIB_LKUP_RET_NO_NEIGH:
	case BPF_FIB_LKUP_RET_FRAG_NEEDED:
	case BPF_FIB_LKUP_RET_UNSUPP_LWT:
		return true;
	default:
		return false;
	}
}

/* Of a datagram about which outer_find() said ret: the same, now also of its sender. *ret_peer is
 * the peer's id where it is one. */
static __always_inline int outer_judge(
	void *ctx, __u32 ifindex, const struct outer *o, int ret, __u32 *ret_peer)
{
	__u32 id = peer_find(o->saddr);
	const struct weft_bpf_peer *peer = peer_get(id);

	if ((!peer || !same_addr(o->daddr, peer->local)) && is_transit(ctx, ifindex, o))
		return NOT_OURS;
	if (!peer)
		return DROP(UNKNOWN_PEER);
	*ret_peer = id;
	return ret;
}

#endif
