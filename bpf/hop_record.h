/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Packets under way, flows that wait for an answer, and the histograms they end in. All of it is
 * allocated when a trace begins.
 *
 * Within one direction a packet is known by its sk_buff: weft's programs, the veth, redirects,
 * macvtap and a tap's queue hand on the same object, while addresses change and UDP has no sequence
 * number. Across the turn from request to reply there is no common object: there the flow is the
 * key, and for TCP the reply has to acknowledge the request. */
#ifndef WEFT_BPF_HOP_RECORD_H
#define WEFT_BPF_HOP_RECORD_H

#include "bpf/hop_packet.h"

const volatile __u32 home_netns;   /* inode number of the daemon's network namespace */
const volatile __u32 sample_every; /* packets; 0: none */

__u8 watched_home[WEFT_HOP_DEVICES]; /* devices in the daemon's namespace */
__u8 watched_away[WEFT_HOP_DEVICES]; /* in any other */
struct weft_hop_record records[WEFT_HOP_RECORDS];
__u32 ways[WEFT_HOP_WAYS];
__u64 slowest[16]; /* by way */
_Static_assert(WEFT_HOP_WAYS <= 16, "places are masked");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024); /* set when it is loaded */
	__type(key, struct weft_hop_addr);
	__type(value, __u32); /* WEFT_HOP_ADDR() */
} addrs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct weft_hop_flow_key);
	__type(value, struct weft_hop_flow);
} hop_flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, struct weft_hop_socket);
} sockets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, WEFT_HOP_WAYS *WEFT_HOP_HISTS);
	__type(key, __u32);
	__type(value, struct weft_hop_hist);
} hists SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct hop_cpu);
} cpus SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 * 1024);
} samples SEC(".maps");

/* --- records: one place for each, the newer packet wins --- */

/* An sk_buff's address as a number. The verifier lets a pointer become one by a difference only;
 * what it is compared with stays the same as long as this trace. */
static __always_inline __u64 skb_key(const struct sk_buff *skb)
{
	__u64 key = (__u64)skb, base = (__u64)records;

	asm volatile("%0 -= %1" : "+r"(key) : "r"(base));
	return key;
}

static __always_inline struct weft_hop_record *record_place(__u64 key)
{
	return &records[(key * 0x9e3779b97f4a7c15ULL >> 48) & (WEFT_HOP_RECORDS - 1)];
}

static __always_inline struct weft_hop_record *record_find(__u64 key)
{
	struct weft_hop_record *r = record_place(key);

	if (!key || r->key != key)
		r = NULL;
	/* Or clang tests the condition again where the pointer is tested, which the verifier does
	 * not see through. */
	asm volatile("" : "+r"(r));
	return r;
}

/* Has it passed the hook? at_ns of another one means nothing. */
static __always_inline bool record_has(const struct weft_hop_record *r, __u32 hook)
{
	return r->hooks & WEFT_HOOK_BIT(hook);
}

static __always_inline void record_stamp(struct weft_hop_record *r, __u32 hook, __u64 now)
{
	r->at_ns[hook] = now;
	asm volatile("" ::: "memory"); /* a reader elsewhere may be at it already */
	r->hooks |= WEFT_HOOK_BIT(hook);
	r->last = hook;
}

/* --- histograms --- */

/* Functions that are not static are verified once, whoever calls them and however often. */
__noinline __u32 hop_bucket(__u64 ns)
{
	return weft_hop_bucket(ns);
}

__noinline int hop_hist_add(__u32 way, __u32 hist, __u64 ns)
{
	__u32 key = way * WEFT_HOP_HISTS + hist;
	__u64 bucket = hop_bucket(ns);
	struct weft_hop_hist *h = bpf_map_lookup_elem(&hists, &key);

	asm volatile("" : "+r"(bucket)); /* the register that is compared is the one that is used */
	if (!h || bucket >= WEFT_HOP_BUCKETS)
		return 0;
	h->bucket[bucket]++;
	h->count++;
	h->sum += ns;
	if (ns > h->max)
		h->max = ns;
	return 0;
}

/* The place of a way, WEFT_HOP_WAYS when there are too many. */
__noinline __u32 hop_way_place(__u32 word)
{
	for (__u32 i = 0; i < WEFT_HOP_WAYS; i++) {
		__u32 other = ways[i];

		if (!other)
			other = __sync_val_compare_and_swap(&ways[i], 0, word);
		if (!other || other == word)
			return i;
	}
	return WEFT_HOP_WAYS;
}

/* --- flows --- */

static __always_inline void flow_asked(
	const struct hop_packet *p, __u64 begun, __u64 now, __u32 group)
{
	struct weft_hop_flow_key key = {
		.client = p->saddr,
		.backend = p->daddr,
		.client_port = p->sport,
		.backend_port = p->dport,
		.proto = p->proto,
	};
	struct weft_hop_flow fresh = {begun, now, p->end, WEFT_HOP_WAITING, group, {0}};
	struct weft_hop_flow *f = bpf_map_lookup_elem(&hop_flows, &key);

	if (!f) {
		bpf_map_update_elem(&hop_flows, &key, &fresh, BPF_ANY);
		return;
	}
	f->begun_ns = begun;
	f->read_ns = now;
	f->end = p->end;
	f->group = group;
	f->state = f->state == WEFT_HOP_IDLE ? WEFT_HOP_WAITING : WEFT_HOP_SEVERAL;
}

/* Is p, from a backend, part of a flow that was seen coming? Then r learns what it may answer. */
static __always_inline bool flow_answers(
	struct hop_cpu *cpu, const struct hop_packet *p, struct weft_hop_record *r)
{
	struct weft_hop_flow_key key = {
		.client = p->daddr,
		.backend = p->saddr,
		.client_port = p->dport,
		.backend_port = p->sport,
		.proto = p->proto,
	};
	struct weft_hop_flow *f = bpf_map_lookup_elem(&hop_flows, &key);

	if (!f)
		return false;
	r->group = f->group;
	r->begun_ns = r->read_ns = 0;
	if (f->state == WEFT_HOP_IDLE || (p->proto == IPPROTO_TCP && (__s32)(p->ack - f->end) < 0))
		return true;
	if (f->state == WEFT_HOP_WAITING) {
		r->begun_ns = f->begun_ns;
		r->read_ns = f->read_ns;
	} else {
		cpu->counts.unpaired++;
	}
	f->state = WEFT_HOP_IDLE;
	return true;
}

#endif
