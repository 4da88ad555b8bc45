/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* BPF_PROG_TEST_RUN runs a program many times over one packet, and never restores it. This one
 * restores it, makes it the next flow's, and goes on to the program that is measured; with the
 * empty one in its place it measures itself. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "tests/bench/test_run.h"

#define DADDR_OFF 30
#define SPORT_OFF 34
#define DPORT_OFF 36

#define PORTS 60000

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct stimulus);
} stimulus SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} target SEC(".maps");

struct line {
	__u64 word[LINE_SIZE / 8];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, LINES);
	__type(key, __u32);
	__type(value, struct line);
} memory SEC(".maps");

static __always_inline void restore(__u8 *frame, struct stimulus *s)
{
	const __u64 *from = (const __u64 *)s->frame;
	__u64 *to = (__u64 *)frame;

#pragma unroll
	for (int i = 0; i < FRAME_SIZE / 8; i++)
		to[i] = from[i];
}

static __always_inline void diversify(__u8 *frame, struct stimulus *s)
{
	__u32 n = s->next;
	__be16 near = bpf_htons(1024 + n % PORTS), far = bpf_htons(80 + n / PORTS);

	s->next = n + 1 < s->flows ? n + 1 : 0;
	*(__be16 *)(frame + (s->backward ? DPORT_OFF : SPORT_OFF)) = near;
	*(__be16 *)(frame + (s->backward ? SPORT_OFF : DPORT_OFF)) = far;
	if (s->services)
		*(__be32 *)(frame + DADDR_OFF) = bpf_htonl(s->vip + n % s->services);
}

SEC("tc")
int stimulate(struct __sk_buff *skb)
{
	struct stimulus *s;
	__u32 key = 0;

	s = bpf_map_lookup_elem(&stimulus, &key);
	if (!s || (long)skb->data + FRAME_SIZE > (long)skb->data_end)
		return TC_ACT_SHOT;
	restore((void *)(long)skb->data, s);
	diversify((void *)(long)skb->data, s);
	bpf_tail_call(skb, &target, 0);
	return TC_ACT_SHOT;
}

SEC("tc")
int empty(struct __sk_buff *skb)
{
	return skb->len ? TC_ACT_REDIRECT : TC_ACT_SHOT;
}

/* A line of memory for each flow, changed: no cache holds as many. */
SEC("tc")
int look(struct __sk_buff *skb)
{
	const __u32 *ports = (void *)(long)skb->data + SPORT_OFF;
	struct line *line;
	__u32 key;

	if ((void *)(ports + 1) > (void *)(long)skb->data_end)
		return TC_ACT_SHOT;
	key = (*ports * 0x9e3779b1U) >> 13;
	line = bpf_map_lookup_elem(&memory, &key);
	if (!line)
		return TC_ACT_SHOT;
	line->word[0]++;
	return TC_ACT_REDIRECT;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
