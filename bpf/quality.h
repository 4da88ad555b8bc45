/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* How well a backend does, for who compares two of them. Costs an established flow a hash of a
 * number that the packet has anyway: which requests are timed is told by the acknowledgement that
 * their answers will carry, so neither way has to look anything up for those that are not. */
#ifndef WEFT_BPF_QUALITY_H
#define WEFT_BPF_QUALITY_H

#include "bpf/parse.h"

static __always_inline struct weft_quality *quality_of(__u32 backend)
{
	return bpf_map_lookup_elem(&quality, &backend);
}

/* A SYN-ACK, or a RST; state is that of the flow before it. */
__noinline int quality_connection(__u32 backend, __u32 tcp_flags, __u32 state)
{
	struct weft_quality *q = quality_of(backend);

	if (!q)
		return 0;
	if (!(tcp_flags & TCP_RST)) {
		if (state == WEFT_FLOW_SYN)
			__sync_fetch_and_add(&q->accepted, 1);
	} else if (state == WEFT_FLOW_SYN) {
		__sync_fetch_and_add(&q->refused, 1);
	} else if (state == WEFT_FLOW_ESTABLISHED || state == WEFT_FLOW_FIN_SERVER) {
		__sync_fetch_and_add(&q->resets, 1);
	}
	return 0;
}

static __always_inline void quality_opened(const struct packet *p, __u32 backend)
{
	struct weft_quality *q = p->proto == IPPROTO_TCP ? quality_of(backend) : NULL;

	if (q)
		__sync_fetch_and_add(&q->opened, 1);
}

static __always_inline void quality_unreachable(__u32 backend)
{
	struct weft_quality *q = quality_of(backend);

	if (q)
		__sync_fetch_and_add(&q->unreachable, 1);
}

#define QUALITY_HASH(x)  ((__u64)(x)*0x9e3779b97f4a7c15ULL)
#define QUALITY_SLOT(x)  ((__u32)(QUALITY_HASH(x) >> 32) & (WEFT_SAMPLES - 1))
#define QUALITY_TIMED(x) ((((__u32)(x)*0x9e3779b1U) >> 16) % WEFT_SAMPLE == 0)

/* One that is repeated keeps the time of the first. */
__noinline int quality_ask(__u32 backend, __u64 key)
{
	__u32 slot = QUALITY_SLOT(key);
	struct weft_sample *s = bpf_map_lookup_elem(&samples, &slot);
	struct weft_quality *q = quality_of(backend);

	if (!s || !q || s->key == key)
		return 0;
	*(volatile __u64 *)&s->key = 0;
	*(volatile __u64 *)&s->asked_ns = bpf_ktime_get_ns();
	*(volatile __u64 *)&s->key = key;
	__sync_fetch_and_add(&q->asked, 1);
	return 0;
}

/* Another processor may be using the place for a request of its own: then the key has changed. */
__noinline int quality_answer(__u32 backend, __u64 key)
{
	__u32 slot = QUALITY_SLOT(key), bucket;
	struct weft_sample *s = bpf_map_lookup_elem(&samples, &slot);
	struct weft_quality *q = quality_of(backend);
	__u64 asked, now;

	if (!s || !q || *(volatile __u64 *)&s->key != key)
		return 0;
	asked = *(volatile __u64 *)&s->asked_ns;
	if (__sync_val_compare_and_swap(&s->key, key, 0) != key)
		return 0;
	now = bpf_ktime_get_ns();
	bucket = weft_latency_bucket(now > asked ? now - asked : 0);
	if (bucket >= WEFT_LATENCY_BUCKETS)
		return 0;
	__sync_fetch_and_add(&q->latency[bucket], 1);
	__sync_fetch_and_add(&q->answered, 1);
	return 0;
}

static __always_inline __u64 quality_key(__u32 ack, __be16 client_port, __u32 backend)
{
	return (__u64)ack << 32 | (__u32)client_port << 16 | backend;
}

/* What an answer to the request acknowledges, or the request that it answers. */
static __always_inline __u32 quality_ack(const struct packet *p, bool reverse)
{
	return reverse ? bpf_ntohl(p->ack) : bpf_ntohl(p->seq) + p->data;
}

static __always_inline bool quality_timed(const struct packet *p, bool reverse)
{
	return p->data && QUALITY_TIMED(quality_ack(p, reverse));
}

/* p on its way between a client and its backend; state is that of the flow before it, where it
 * comes back. */
static __always_inline void quality_packet(
	const struct packet *p, __u32 backend, bool reverse, __u32 state)
{
	__u32 ack;

	if (p->proto != IPPROTO_TCP || p->frag_later)
		return;
	if (reverse && p->tcp_flags & (TCP_SYN | TCP_RST)) {
		quality_connection(backend, p->tcp_flags, state);
		return;
	}
	if (!quality_timed(p, reverse))
		return;
	ack = quality_ack(p, reverse);
	if (reverse)
		quality_answer(backend, quality_key(ack, p->dport, backend));
	else
		quality_ask(backend, quality_key(ack, p->sport, backend));
}

#endif
