/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* From a frame to the fields that the program decides on. Nothing is trusted: every length is
 * checked against the header before it, the datagram and the frame. */
#ifndef WEFT_BPF_PARSE_H
#define WEFT_BPF_PARSE_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <stdbool.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "bpf/stats.h"

#define IP_OFF       ETH_HLEN
#define IP_HLEN_MIN  20
#define TCP_HLEN_MIN 20
#define L4_OFF_MASK  0x1ff
#define HEADERS_MIN  (IP_OFF + IP_HLEN_MIN + TCP_HLEN_MIN)
#define IP_FRAG_DONT 0x4000
#define IP_FRAG_MORE 0x2000
#define IP_FRAG_OFF  0x1fff

#define TCP_FLAGS_OFF 13 /* in the header */
#define TCP_FIN       0x01
#define TCP_SYN       0x02
#define TCP_RST       0x04
#define TCP_ACK       0x10

/* <linux/icmp.h> wants libc. */
#define ICMP_ECHOREPLY     0
#define ICMP_UNREACHABLE   3
#define ICMP_NEEDS_FRAG    4 /* code */
#define ICMP_ECHO          8
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETER     12
#define ICMP_CHECK_OFF     2
struct icmp_echo {
	__u8 type, code;
	__be16 check, id, seq;
};
struct icmp_error {
	__u8 type, code;
	__be16 check, unused, mtu;
};

struct packet {
	__be32 saddr, daddr;
	__be16 sport, dport; /* echo: the identifier as the asking side's port, 0 as the other's */
	__be32 seq, ack;
	__be16 ip_id;
	__u16 l4;   /* offset of the transport header in the frame, */
	__u16 frag; /* and of IPv6's fragment header, 0: none */
	__u32 ip_len;
	__u32 data;  /* bytes that a TCP segment carries */
	__u8 family; /* 4 or 6 */
	__u8 proto;
	__u8 tcp_flags;
	bool frag_first; /* more follow */
	bool frag_later; /* no transport header */
	bool opens;      /* may begin a flow */
};

/* By words, where the compiler, who does not know that both are aligned to them, goes by bytes. */
static __always_inline void mac_copy(__u8 *to, const __u8 *from)
{
	((__u16 *)to)[0] = ((const __u16 *)from)[0];
	((__u16 *)to)[1] = ((const __u16 *)from)[1];
	((__u16 *)to)[2] = ((const __u16 *)from)[2];
}

static __always_inline bool mac_equal(const __u8 *a, const __u8 *b)
{
	const __u16 *x = (const void *)a, *y = (const void *)b;

	return !((x[0] ^ y[0]) | (x[1] ^ y[1]) | (x[2] ^ y[2]));
}

static __always_inline __u8 *frame(struct __sk_buff *skb)
{
	return (__u8 *)(long)skb->data;
}

static __always_inline void *frame_end(struct __sk_buff *skb)
{
	return (void *)(long)skb->data_end;
}

/* Bring the first want bytes into the linear part. */
static __always_inline int parse_pull_to(struct __sk_buff *skb, __u32 want)
{
	if (want > skb->len)
		want = skb->len;
	if ((void *)(frame(skb) + want) > frame_end(skb) && bpf_skb_pull_data(skb, want))
		return DROP(NO_MEMORY);
	return 0;
}

/* The headers are there mostly, and of a TCP segment nothing but them: to ask for a byte of its
 * data would cost more than all the rest. */
static __always_inline int parse_pull(struct __sk_buff *skb)
{
	return parse_pull_to(skb, HEADERS_MIN);
}

static __always_inline int parse_ip(struct __sk_buff *skb, struct packet *p)
{
	const struct iphdr *ip = (void *)(frame(skb) + IP_OFF);
	__u32 len, hlen, frag;

	if ((void *)(ip + 1) > frame_end(skb))
		return DROP(TRUNCATED);
	hlen = ip->ihl * 4;
	len = bpf_ntohs(ip->tot_len);
	if (!len && skb->gso_size) /* a super-packet above 64 KiB */
		len = skb->len - IP_OFF;
	if (ip->version != 4 || hlen < IP_HLEN_MIN || len < hlen)
		return DROP(MALFORMED);
	if (IP_OFF + len > skb->len)
		return DROP(TRUNCATED);

	frag = bpf_ntohs(ip->frag_off);
	p->saddr = ip->saddr;
	p->daddr = ip->daddr;
	p->family = 4;
	p->proto = ip->protocol;
	p->ip_id = ip->id;
	p->ip_len = len;
	p->l4 = IP_OFF + hlen;
	p->frag_later = frag & IP_FRAG_OFF;
	p->frag_first = !p->frag_later && (frag & IP_FRAG_MORE);
	return hlen > IP_HLEN_MIN ? parse_pull_to(skb, IP_OFF + hlen + TCP_HLEN_MIN) : 0;
}

/* The frame may be padded: the datagram itself must hold the header. */
static __always_inline bool l4_holds(const struct packet *p, __u32 size)
{
	return p->l4 - IP_OFF + size <= p->ip_len;
}

static __always_inline int parse_tcp(const struct tcphdr *th, const void *end, struct packet *p)
{
	if ((void *)(th + 1) > end || !l4_holds(p, sizeof(*th)))
		return DROP(TRUNCATED);
	if (th->doff * 4 < TCP_HLEN_MIN ||
		(!p->frag_first && p->l4 - IP_OFF + th->doff * 4 > p->ip_len))
		return DROP(MALFORMED);
	p->sport = th->source;
	p->dport = th->dest;
	p->seq = th->seq;
	p->ack = th->ack_seq;
	p->data = p->ip_len - (p->l4 - IP_OFF) - th->doff * 4;
	p->tcp_flags = ((const __u8 *)th)[TCP_FLAGS_OFF];
	p->opens = (p->tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN)) == TCP_SYN;
	return 0;
}

static __always_inline int parse_udp(const struct udphdr *uh, const void *end, struct packet *p)
{
	__u32 len;

	if ((void *)(uh + 1) > end || !l4_holds(p, sizeof(*uh)))
		return DROP(TRUNCATED);
	len = bpf_ntohs(uh->len);
	if (len < sizeof(*uh) || (!p->frag_first && p->l4 - IP_OFF + len > p->ip_len))
		return DROP(MALFORMED);
	p->sport = uh->source;
	p->dport = uh->dest;
	p->opens = true;
	return 0;
}

static __always_inline int parse_icmp(const struct icmp_echo *ih, const void *end, struct packet *p)
{
	if ((void *)(ih + 1) > end || !l4_holds(p, sizeof(*ih)))
		return DROP(TRUNCATED);
	switch (ih->type) {
	case ICMP_ECHO:
		p->sport = ih->id;
		p->opens = true;
		return 0;
	case ICMP_ECHOREPLY:
		p->dport = ih->id;
		return 0;
	default:
		return DROP(ICMP_TYPE);
	}
}

/* The transport header of what goes to a semantic address. */
static __always_inline int parse_l4(struct __sk_buff *skb, struct packet *p)
{
	const void *l4, *end = frame_end(skb);
	__u32 off = p->l4;

	/* Said to the verifier, who forgets what was on the stack meanwhile. */
	asm volatile("" : "+r"(off));
	l4 = frame(skb) + (off & L4_OFF_MASK);
	switch (p->proto) {
	case IPPROTO_TCP:
		return parse_tcp(l4, end, p);
	case IPPROTO_UDP:
		return parse_udp(l4, end, p);
	case IPPROTO_ICMP:
		return parse_icmp(l4, end, p);
	default:
		return DROP(PROTOCOL);
	}
}

#endif
