/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The same for IPv6. Between its header and the transport's there may be others: they are walked,
 * in bounds, and what no receiver would take, or is not meant for the address that it is sent to,
 * is refused. */
#ifndef WEFT_BPF_PARSE6_H
#define WEFT_BPF_PARSE6_H

#include <linux/ipv6.h>

#include "bpf/parse.h"

#define IP6_HLEN        40
#define IP6_NEXT_OFF    6 /* in the header */
#define IP6_SADDR_OFF   8
#define IP6_DADDR_OFF   24
#define IP6_HEADERS_MAX 480 /* all of them: L4_OFF_MASK reaches behind */
#define IP6_EXT_MAX     8
#define IP6_MTU_MIN     1280
#define IP6_FRAG_OFF    0xfff8
#define IP6_FRAG_MORE   1

#define NEXT_HOP      0
#define NEXT_ROUTING  43
#define NEXT_FRAGMENT 44
#define NEXT_ICMP     58
#define NEXT_OPTIONS  60

/* <linux/icmpv6.h> wants libc. */
#define ICMP6_UNREACHABLE   1
#define ICMP6_TOO_BIG       2
#define ICMP6_TIME_EXCEEDED 3
#define ICMP6_PARAMETER     4
#define ICMP6_ECHO          128
#define ICMP6_ECHOREPLY     129
#define ICMP6_ND_FIRST      133 /* router solicitation */
#define ICMP6_SOLICIT       135
#define ICMP6_ADVERTISE     136
#define ICMP6_ND_LAST       137 /* redirect */

/* Where a chain of headers ends: offsets from the IPv6 header, the protocol, what kind of fragment.
 */
#define WALK(off, proto, frag) ((int)((off) | (__u32)(proto) << 9 | (frag) << 17))
#define WALK_OFF(walk)         ((walk)&0x1ff)
#define WALK_PROTO(walk)       ((walk) >> 9 & 0xff)
#define WALK_FRAG(walk)        ((walk) >> 17 & 0x1ff) /* its header, 0: none */
#define WALK_FIRST             (1 << 26)              /* more fragments follow */
#define WALK_LATER             (1 << 27)              /* there is no transport header */

/* Where a pull may or may not have happened, clang takes the frame's place along from before in
 * half a register, and the verifier knows it no longer: so forget it. */
static __always_inline void frame_moved(void)
{
	asm volatile("" ::: "memory");
}

static __always_inline bool is_extension(__u8 next)
{
	return next == NEXT_HOP || next == NEXT_ROUTING || next == NEXT_FRAGMENT ||
	       next == NEXT_OPTIONS;
}

/* How long the extension header h is, that follows i others; or a DROP(). */
static __always_inline int extension_len(const __u8 h[8], __u8 kind, int i)
{
	if (kind == NEXT_HOP && i)
		return DROP(EXTENSION);
	/* Segments left: the destination is not the last one (and for the checksum counts that). */
	if (kind == NEXT_ROUTING && h[3])
		return DROP(EXTENSION);
	return kind == NEXT_FRAGMENT ? 8 : 8 + h[1] * 8;
}

/* Walk the headers of the IPv6 packet at offset ip of the frame, of which len bytes are there: its
 * WALK() or a DROP(). A function of its own: packets without extension headers need none. */
__noinline int ip6_walk(struct __sk_buff *skb, __u32 ip, __u32 len)
{
	__u32 off = IP6_HLEN, frag = 0, first = 0;
	__u8 next = 0, h[8] = {};

	if (bpf_skb_load_bytes(skb, ip + IP6_NEXT_OFF, &next, sizeof(next)))
		return DROP(TRUNCATED);
	for (int i = 0; i < IP6_EXT_MAX; i++) {
		int size;

		if (!is_extension(next))
			return WALK(off, next, frag) | first;
		if (off + sizeof(h) > len || bpf_skb_load_bytes(skb, ip + off, h, sizeof(h)))
			return DROP(TRUNCATED);
		size = extension_len(h, next, i);
		if (size < 0 || (next == NEXT_FRAGMENT && frag))
			return DROP(EXTENSION);
		if (next == NEXT_FRAGMENT) {
			frag = off;
			if ((h[2] << 8 | h[3]) & IP6_FRAG_OFF)
				return WALK(off + sizeof(h), h[0], frag) | WALK_LATER;
			first = h[3] & IP6_FRAG_MORE ? WALK_FIRST : 0;
		}
		off += size;
		if (off > IP6_HEADERS_MAX)
			return DROP(EXTENSION);
		next = h[0];
	}
	return is_extension(next) ? DROP(EXTENSION) : WALK(off, next, frag) | first;
}

static __always_inline int parse_extensions(struct __sk_buff *skb, struct packet *p)
{
	int walk = ip6_walk(skb, IP_OFF, p->ip_len);

	if (walk < 0)
		return walk;
	p->proto = WALK_PROTO(walk);
	p->l4 = IP_OFF + WALK_OFF(walk);
	p->frag = WALK_FRAG(walk) ? IP_OFF + WALK_FRAG(walk) : 0;
	p->frag_first = walk & WALK_FIRST;
	p->frag_later = walk & WALK_LATER;
	return parse_pull_to(skb, p->l4 + TCP_HLEN_MIN);
}

static __always_inline int parse_ip6(struct __sk_buff *skb, struct packet *p)
{
	int ret = parse_pull_to(skb, IP_OFF + IP6_HLEN + TCP_HLEN_MIN);
	const struct ipv6hdr *ip;
	__u32 len;

	if (ret)
		return ret;
	frame_moved();
	ip = (void *)(frame(skb) + IP_OFF);
	if ((void *)(ip + 1) > frame_end(skb))
		return DROP(TRUNCATED);
	len = bpf_ntohs(ip->payload_len);
	if (ip->version != 6)
		return DROP(MALFORMED);
	if (!len && ip->nexthdr == NEXT_HOP)
		return DROP(JUMBOGRAM);
	if (!len && skb->gso_size) /* a super-packet above 64 KiB */
		len = skb->len - IP_OFF - IP6_HLEN;
	if (IP_OFF + IP6_HLEN + len > skb->len)
		return DROP(TRUNCATED);

	p->family = 6;
	p->proto = ip->nexthdr;
	p->ip_len = IP6_HLEN + len;
	p->l4 = IP_OFF + IP6_HLEN;
	if (is_extension(p->proto))
		ret = parse_extensions(skb, p);
	frame_moved();
	return ret;
}

static __always_inline int parse_icmp6(
	const struct icmp_echo *ih, const void *end, struct packet *p)
{
	if ((void *)(ih + 1) > end || !l4_holds(p, sizeof(*ih)))
		return DROP(TRUNCATED);
	switch (ih->type) {
	case ICMP6_ECHO:
		p->sport = ih->id;
		p->opens = true;
		return 0;
	case ICMP6_ECHOREPLY:
		p->dport = ih->id;
		return 0;
	default:
		return DROP(ICMP_TYPE);
	}
}

/* Without a checksum nothing would protect the addresses: only tunnels may (RFC 6936). */
static __always_inline int parse_udp6(const struct udphdr *uh, const void *end, struct packet *p)
{
	int ret = parse_udp(uh, end, p);

	if (ret || (void *)(uh + 1) > end)
		return ret;
	return uh->check ? 0 : DROP(UDP_CHECKSUM);
}

static __always_inline int parse_l4_6(struct __sk_buff *skb, struct packet *p)
{
	const void *l4, *end = frame_end(skb);
	__u32 off = p->l4;

	asm volatile("" : "+r"(off)); /* as in parse_l4() */
	l4 = frame(skb) + (off & L4_OFF_MASK);
	switch (p->proto) {
	case IPPROTO_TCP:
		return parse_tcp(l4, end, p);
	case IPPROTO_UDP:
		return parse_udp6(l4, end, p);
	case NEXT_ICMP:
		return parse_icmp6(l4, end, p);
	default:
		return DROP(PROTOCOL);
	}
}

#endif
