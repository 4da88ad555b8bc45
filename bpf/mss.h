/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What TCP's two ends tell each other in their SYNs to send at most is lowered to what the overlay
 * carries; and what is larger all the same is found. */
#ifndef WEFT_BPF_MSS_H
#define WEFT_BPF_MSS_H

#include "bpf/nat.h"

#define TCP_OPTIONS_MAX 40
#define TCP_DOFF_OFF    12
#define TCP_OPT_END     0
#define TCP_OPT_NOP     1
#define TCP_OPT_MSS     2
#define TCP_OPT_MSS_LEN 4

struct tcp_options {
	__u8 byte[48]; /* those behind the list are 0, which ends it */
};

static __always_inline __u32 opt_byte(const struct tcp_options *opts, __u32 at)
{
	asm volatile("" : "+r"(at));
	return at < sizeof(opts->byte) ? opts->byte[at] : TCP_OPT_END;
}

/* Where the option behind that at off begins. A function of its own, so that to the verifier each
 * step is as the one before. */
__noinline __u32 mss_next(const struct tcp_options *opts, __u32 off)
{
	__u32 kind, size;

	if (!opts)
		return TCP_OPTIONS_MAX;
	kind = opt_byte(opts, off);
	if (kind == TCP_OPT_NOP)
		return off + 1;
	size = opt_byte(opts, off + 1);
	return kind == TCP_OPT_END || size < 2 ? TCP_OPTIONS_MAX : off + size;
}

static __always_inline __u32 mss_find(const struct tcp_options *opts, __u32 len)
{
	__u32 off = 0;

	for (int i = 0; i < TCP_OPTIONS_MAX && off + TCP_OPT_MSS_LEN <= len; i++) {
		if (opt_byte(opts, off) == TCP_OPT_MSS)
			return opt_byte(opts, off + 1) == TCP_OPT_MSS_LEN ? off : TCP_OPTIONS_MAX;
		off = mss_next(opts, off);
	}
	return TCP_OPTIONS_MAX;
}

/* l4 is the offset of the header of a SYN; malformed options are left to its receiver. */
__noinline int mss_clamp(struct __sk_buff *skb, __u32 l4, __u32 mtu)
{
	__u32 len, at, most = mtu - IP_HLEN_MIN - TCP_HLEN_MIN;
	struct tcp_options opts = {};
	__u8 doff = 0;
	__be16 from, to;

	if (bpf_skb_load_bytes(skb, l4 + TCP_DOFF_OFF, &doff, sizeof(doff)))
		return 0;
	len = (doff >> 4) * 4 - TCP_HLEN_MIN;
	asm volatile("" : "+r"(len));
	if (len < TCP_OPT_MSS_LEN || len > TCP_OPTIONS_MAX)
		return 0;
	if (bpf_skb_load_bytes(skb, l4 + TCP_HLEN_MIN, &opts, len))
		return 0;
	at = mss_find(&opts, len);
	if (at >= TCP_OPTIONS_MAX ||
		(opt_byte(&opts, at + 2) << 8 | opt_byte(&opts, at + 3)) <= most)
		return 0;
	at += 2;
	from = bpf_htons(opt_byte(&opts, at) << 8 | opt_byte(&opts, at + 1));
	to = bpf_htons(most);
	if (bpf_skb_store_bytes(skb, l4 + TCP_HLEN_MIN + at, &to, sizeof(to), 0))
		return 0;
	if (at & 1) { /* it lies across two words of the sum */
		from = __builtin_bswap16(from);
		to = __builtin_bswap16(to);
	}
	return bpf_l4_csum_replace(skb, l4 + TCP_CHECK_OFF, from, to, sizeof(to));
}

/* Is it worth to look for it? Most systems put it first, and most links take it. */
static __always_inline bool mss_to_clamp(struct __sk_buff *skb, const struct packet *p, __u32 mtu)
{
	const __u8 *th = frame(skb) + (p->l4 & L4_OFF_MASK), *opt = th + TCP_HLEN_MIN;

	if (!mtu || !(p->tcp_flags & TCP_SYN) || p->frag_first)
		return false;
	if ((void *)(opt + TCP_OPT_MSS_LEN) > frame_end(skb))
		return true;
	if (th[TCP_DOFF_OFF] >> 4 == TCP_HLEN_MIN / 4)
		return false;
	return opt[0] != TCP_OPT_MSS || opt[1] != TCP_OPT_MSS_LEN ||
	       ((__u32)opt[2] << 8 | opt[3]) > mtu - IP_HLEN_MIN - TCP_HLEN_MIN;
}

/* Asked for what is longer than the MTU: of a super-packet the segments count. Without "don't
 * fragment" it is left to the device to take it or not, unless strict. */
__noinline int too_big(struct __sk_buff *skb, __u32 mtu, bool strict)
{
	const struct iphdr *ip = (void *)(frame(skb) + IP_OFF);
	__u32 headers, l4;
	__u8 doff = 0;

	if ((void *)(ip + 1) > frame_end(skb))
		return 0;
	if (!strict && !(ip->frag_off & bpf_htons(IP_FRAG_DONT)))
		return 0;
	if (!skb->gso_size)
		return 1;
	headers = ip->ihl * 4;
	l4 = IP_OFF + headers;
	if (ip->protocol != IPPROTO_TCP)
		headers += sizeof(struct udphdr);
	else if (bpf_skb_load_bytes(skb, l4 + TCP_DOFF_OFF, &doff, sizeof(doff)))
		return 0;
	return headers + (doff >> 4) * 4 + skb->gso_size > mtu;
}

#endif
