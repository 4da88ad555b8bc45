/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The flow table: find, insert, age. Its word is described in weft_abi.h.
 *
 * A flow's key names its ends by the epochs of the instances or services that hold them, not by
 * their addresses: whoever gets an address later can not inherit what its predecessor began. */
#ifndef WEFT_BPF_FLOW_H
#define WEFT_BPF_FLOW_H

#include "bpf/clock.h"
#include "bpf/parse.h"

#define FLOW_TRIES 4

/* Both directions of a flow lie in a pair of buckets, one in each: a new flow takes the processor
 * to one place in memory, not to two. Which pair, either direction can tell: a packet to a service
 * does not know its backend, but one from the backend knows its service. */
struct flow_key {
	__u64 pair; /* hash of both ends */
	__u32 mark; /* what this direction alone knows of the other end */
	bool back;  /* which of both buckets */
};

struct flow {
	__u64 *place;
	__u64 word;
};

static __always_inline __u64 flow_end(__u32 epoch, __be16 port)
{
	return (__u64)epoch << 16 | port;
}

/* Mixing alone is invertible: the secret seed keeps senders from aiming at a bucket. */
static __always_inline __u64 flow_pair(const struct packet *p, __u64 one, __u64 other)
{
	__u64 x = (one ^ flow_seed[0]) * 0xff51afd7ed558ccdULL;

	other |= (__u64)p->family << 56 | (__u64)p->proto << 48;
	x ^= x >> 32;
	x = (x + (other ^ flow_seed[1])) * 0xc4ceb9fe1a85ec53ULL;
	x ^= x >> 29;
	x *= 0x9fb21c651e98df25ULL;
	return x ^ x >> 32;
}

/* The high bits are the word's tag, the low ones the bucket. */
static __always_inline __u64 flow_hash(const struct flow_key *k)
{
	__u64 tag = (k->pair ^ k->mark * 0xd6e8feb86659fd93ULL) * 0x9fb21c651e98df25ULL;

	return weft_flow_tag(tag) << WEFT_FLOW_TAG_SHIFT |
	       (k->pair & ((1ULL << WEFT_FLOW_TAG_SHIFT) - 2)) | k->back;
}

/* That of a call, by the word that was found by it. */
static __always_inline __u64 flow_hash_of(__u64 pair, __u64 word)
{
	return weft_flow_tag(word) << WEFT_FLOW_TAG_SHIFT |
	       (pair & ((1ULL << WEFT_FLOW_TAG_SHIFT) - 2));
}

static __always_inline __u32 flow_isn(const struct packet *p)
{
	return p->proto == IPPROTO_TCP ? (p->seq * 0x9e3779b1U) >> 29 : 0;
}

static __always_inline __u64 flow_word(
	__u64 hash, __u32 id, __u32 generation, __u64 bits, __u32 state)
{
	return weft_flow_tag(hash) << WEFT_FLOW_TAG_SHIFT |
	       (__u64)(generation & 3) << WEFT_FLOW_GEN_SHIFT | (__u64)id << WEFT_FLOW_ID_SHIFT |
	       bits | (__u64)state << WEFT_FLOW_STATE_SHIFT | weft_flow_time(state, clock_ns());
}

static __always_inline struct weft_bucket *flow_bucket(__u64 hash)
{
	__u32 key = (__u32)hash & flow_mask;

	return bpf_map_lookup_elem(&flows, &key);
}

static __always_inline __u64 flow_load(const __u64 *place)
{
	return *(const volatile __u64 *)place;
}

/* Whoever opens a flow writes into the bucket of its way back as well: with this before the first
 * look, both come from memory at the same time. */
static __always_inline void flow_expect_back(__u64 pair)
{
	const struct weft_bucket *b = flow_bucket(pair | 1);
	__u64 w = b ? flow_load(&b->word[0]) : 0;

	asm volatile("" : : "r"(w));
}

static __always_inline bool flow_find(__u64 hash, struct flow *ret)
{
	struct weft_bucket *b = flow_bucket(hash);

	if (!b)
		return false;
#pragma unroll
	for (int i = 0; i < WEFT_BUCKET_WORDS; i++) {
		__u64 w = flow_load(&b->word[i]);

		if (weft_flow_tag(w) == weft_flow_tag(hash) && w) {
			ret->place = &b->word[i];
			ret->word = w;
			return true;
		}
	}
	return false;
}

/* How willingly a word makes room for one of this tag: its own predecessor, an empty, expired,
 * ended, unanswered, established one; and the older the sooner. A function of its own because the
 * verifier walks through it once then, not once per word of a bucket. */
#define FLOW_RANK_SAME 0x600
__noinline __u32 flow_rank(__u64 word, __u64 tag, __u64 now)
{
	__u32 state = weft_flow_state(word), age = weft_flow_age(word, now);

	if (!word)
		return 0x500;
	if (weft_flow_tag(word) == tag)
		return FLOW_RANK_SAME;
	if (weft_flow_expired(word, now))
		return 0x400;
	if (state == WEFT_FLOW_CLOSED)
		return 0x300 + age;
	if (state == WEFT_FLOW_SYN || state == WEFT_FLOW_DATAGRAM)
		return 0x200 + age;
	return 0x100 + age;
}

static __always_inline bool flow_same(__u64 a, __u64 b)
{
	return (a & ~WEFT_FLOW_AGING) == (b & ~WEFT_FLOW_AGING);
}

/* The word of highest rank, as rank << 3 | how far it is from the bucket's end: of equals the first
 * wins, so that two processors which enter the same flow choose the same place. */
static __always_inline __u32 flow_best(struct weft_bucket *b, __u64 tag, __u64 now)
{
	__u32 best = 0;

	for (__u32 i = 0; i < WEFT_BUCKET_WORDS; i++) {
		__u32 rank = flow_rank(flow_load(&b->word[i]), tag, now) << 3 | (7 - i);

		if (rank > best)
			best = rank;
	}
	return best;
}

/* Both may have found nothing and chosen different places all the same, because a third word of the
 * bucket changed in between: the first in the bucket is the one that is found from now on. */
static __always_inline __u64 flow_earlier(struct weft_bucket *b, __u32 place, __u64 tag)
{
	for (__u32 i = 0; i < WEFT_BUCKET_WORDS && i < place; i++) {
		__u64 w = flow_load(&b->word[i]);

		if (w && weft_flow_tag(w) == tag)
			return w;
	}
	return 0;
}

/* Both words are in: the later one of the bucket goes, and the earlier one is returned. */
static __always_inline __u64 flow_settle(struct weft_bucket *b, __u32 place, __u64 fresh)
{
	__u64 earlier = flow_earlier(b, place, weft_flow_tag(fresh));

	if (earlier)
		__sync_val_compare_and_swap(&b->word[place], fresh, 0);
	return earlier;
}

/* flow_insert() where it is not as simple as that. */
__noinline __u64 flow_insert_over(__u64 hash, __u64 fresh, __u64 stale)
{
	__u64 now = clock_ns(), tag = weft_flow_tag(fresh), old = 0;
	struct weft_bucket *b = flow_bucket(hash);
	__u32 place = 0;
	int i;

	if (!b)
		return 0;
	for (i = 0; i < FLOW_TRIES; i++) {
		__u32 best = flow_best(b, tag, now);

		place = 7 - (best & 7);
		old = flow_load(&b->word[place]);
		if (flow_rank(old, tag, now) == best >> 3) {
			if (best >> 3 == FLOW_RANK_SAME && !flow_same(old, stale))
				return old;
			if (__sync_val_compare_and_swap(&b->word[place], old, fresh) == old)
				break;
		}
		count_event(WEFT_EVENT_RACES);
	}
	/* The last resort is to overwrite: another flow's entry is lost, but this flow is not. */
	if (i == FLOW_TRIES)
		old = __sync_lock_test_and_set(&b->word[place], fresh);
	if (weft_flow_tag(old) != tag && weft_flow_live(old, now))
		count_event(WEFT_EVENT_DISPLACED);
	return flow_settle(b, place, fresh);
}

/* The first empty place, WEFT_BUCKET_WORDS for none; or if the tag is in the bucket. Which words
 * are taken is anybody's guess, a processor's as well: so they are told without a branch. */
static __always_inline __u32 flow_vacancy(struct weft_bucket *b, __u64 tag)
{
	__u64 place = WEFT_BUCKET_WORDS, same = 0;

#pragma unroll
	for (int i = WEFT_BUCKET_WORDS - 1; i >= 0; i--) {
		__u64 w = flow_load(&b->word[i]), taken = -((w | -w) >> 63);
		__u64 other = weft_flow_tag(w) ^ tag;

		asm volatile("" : "+r"(taken), "+r"(other));
		place = (place & taken) | ((__u64)i & ~taken);
		same |= (other - 1) & taken;
		/* One word after the other: to have them all at hand takes the stack. */
		asm volatile("" : "+r"(place), "+r"(same));
	}
	return same >> 63 ? WEFT_BUCKET_WORDS : place;
}

/* Store fresh and return 0; unless another processor has stored a word for the same key since the
 * caller looked (and saw stale, or 0 for nothing): then that one holds, and is returned. */
__noinline __u64 flow_insert(__u64 hash, __u64 fresh, __u64 stale)
{
	struct weft_bucket *b = flow_bucket(hash);
	__u32 place;

	if (!b)
		return 0;
	place = flow_vacancy(b, weft_flow_tag(fresh));
	if (place >= WEFT_BUCKET_WORDS ||
		__sync_val_compare_and_swap(&b->word[place], 0, fresh) != 0)
		return flow_insert_over(hash, fresh, stale);
	return flow_settle(b, place, fresh);
}

/* The same over whatever the table has for the key. */
__noinline __u64 flow_replace(__u64 hash, __u64 fresh)
{
	struct weft_bucket *b = flow_bucket(hash);
	struct flow old;
	__u32 place;

	if (!b)
		return 0;
	place = flow_vacancy(b, weft_flow_tag(fresh));
	if (place >= WEFT_BUCKET_WORDS ||
		__sync_val_compare_and_swap(&b->word[place], 0, fresh) != 0)
		return flow_insert_over(hash, fresh, flow_find(hash, &old) ? old.word : 0);
	return flow_settle(b, place, fresh);
}

__noinline int flow_forget(__u64 hash)
{
	struct flow f;

	if (flow_find(hash, &f))
		__sync_val_compare_and_swap(f.place, f.word, 0);
	return 0;
}

static __always_inline __u64 flow_aged(__u64 word, __u32 state)
{
	return (word & ~WEFT_FLOW_AGING) | (__u64)state << WEFT_FLOW_STATE_SHIFT |
	       weft_flow_time(state, clock_ns());
}

/* Echo needs an entry to come back by, but is nothing that a drain should wait for. */
static __always_inline __u32 flow_first_state(const struct packet *p)
{
	switch (p->proto) {
	case IPPROTO_TCP:
		return WEFT_FLOW_SYN;
	case IPPROTO_UDP:
		return WEFT_FLOW_DATAGRAM;
	default:
		return WEFT_FLOW_CLOSED;
	}
}

static __always_inline __u32 flow_next_state(__u64 word, __u32 first, __u32 tcp_flags)
{
	__u32 state = weft_flow_state(word);
	bool reverse = word & WEFT_FLOW_REVERSE;

	if (first != WEFT_FLOW_SYN)
		return first;
	if (tcp_flags & TCP_RST)
		return WEFT_FLOW_CLOSED;
	if (tcp_flags & TCP_FIN) {
		__u32 other = reverse ? WEFT_FLOW_FIN_CLIENT : WEFT_FLOW_FIN_SERVER;

		if (state == other || state == WEFT_FLOW_CLOSED)
			return WEFT_FLOW_CLOSED;
		return reverse ? WEFT_FLOW_FIN_SERVER : WEFT_FLOW_FIN_CLIENT;
	}
	if (state == WEFT_FLOW_SYN && !reverse && !(tcp_flags & TCP_SYN))
		return WEFT_FLOW_ESTABLISHED;
	return state;
}

/* Bring the other direction's word to state, and return the state that both are in then: if each
 * side closes at the same moment on another processor, each sees its own half only here. */
__noinline __u32 flow_sync(__u64 hash, __u32 id, __u32 state)
{
	struct flow other;
	__u32 theirs;
	__u64 fresh;

	if (!flow_find(hash, &other) || weft_flow_id(other.word) != id)
		return state;
	theirs = weft_flow_state(other.word);
	if ((state == WEFT_FLOW_FIN_CLIENT && theirs == WEFT_FLOW_FIN_SERVER) ||
		(state == WEFT_FLOW_FIN_SERVER && theirs == WEFT_FLOW_FIN_CLIENT))
		state = WEFT_FLOW_CLOSED;
	else if (theirs > state)
		state = theirs;
	fresh = flow_aged(other.word, state);
	if (fresh != other.word)
		__sync_val_compare_and_swap(other.place, other.word, fresh);
	return state;
}

/* One try to store what the packet makes of the flow of that word: the word stored, 0 when there is
 * nothing to store (any more), FLOW_AGAIN when another processor was quicker. Each step on its own,
 * as flow_rank(). */
#define FLOW_AGAIN 1 /* no word: it has no state */
__noinline __u64 flow_store(__u64 hash, __u64 word, __u32 first, __u32 tcp_flags)
{
	struct flow f;
	__u64 fresh;

	if (!flow_find(hash, &f) || !flow_same(f.word, word))
		return 0; /* replaced */
	fresh = flow_aged(f.word, flow_next_state(f.word, first, tcp_flags));
	if (fresh == f.word)
		return 0;
	return __sync_val_compare_and_swap(f.place, f.word, fresh) == f.word ? fresh : FLOW_AGAIN;
}

__noinline int flow_amend(__u64 hash, __u64 word, __u32 state)
{
	struct flow f;

	if (flow_find(hash, &f))
		__sync_val_compare_and_swap(f.place, word, flow_aged(word, state));
	return 0;
}

/* flow_touch() where there is something to store. other is the hash of the opposite direction, word
 * what was found, first the state that such a flow begins with. When another processor was quicker,
 * the packet has its say on what that one stored: a FIN comes only once. */
__noinline int flow_advance(__u64 hash, __u64 other, __u64 word, __u32 first, __u32 tcp_flags)
{
	__u64 fresh = FLOW_AGAIN;
	__u32 both;

	for (int i = 0; i < FLOW_TRIES && fresh == FLOW_AGAIN; i++)
		fresh = flow_store(hash, word, first, tcp_flags);
	if (!fresh || fresh == FLOW_AGAIN)
		return 0;
	both = flow_sync(other, weft_flow_id(fresh), weft_flow_state(fresh));
	if (both != weft_flow_state(fresh))
		flow_amend(hash, fresh, both);
	return 0;
}

/* Account a packet of a known flow. other is the key of its opposite direction: its word is kept
 * in step, so that neither expires while the other lives. Both are touched once a tick only. */
static __always_inline void flow_touch(const struct flow *f, const struct packet *p,
	const struct flow_key *key, const struct flow_key *other)
{
	__u32 first = flow_first_state(p);
	__u32 state = flow_next_state(f->word, first, p->tcp_flags);

	if (flow_aged(f->word, state) != f->word)
		flow_advance(flow_hash(key), flow_hash(other), f->word, first, p->tcp_flags);
}

/* A backend cannot tell apart two flows of one client between the same ports that called it by
 * different addresses: what it answers to either would go back as from one of them. Is that pair's
 * way back from this backend, of that epoch and generation, held by a flow that was not called as
 * called? Of echo, whose flows never live, any that may still be answered counts. */
static __always_inline bool flow_back_taken(
	__u64 pair, const struct weft_bpf_instance *backend, __u32 id, __u32 called, bool echo)
{
	struct flow_key back = {.pair = pair, .mark = backend->epoch, .back = true};
	__u64 now = clock_ns();
	struct flow f;

	if (!flow_find(flow_hash(&back), &f) || weft_flow_id(f.word) != id ||
		weft_flow_generation(f.word) != (backend->generation & 3) ||
		weft_flow_aux(f.word) == called)
		return false;
	return echo ? !weft_flow_expired(f.word, now) : weft_flow_live(f.word, now);
}

/* Does p, which may open a flow, open one over an existing entry? Datagrams never do: nothing tells
 * the first. A SYN does unless it repeats the one the entry was made for. */
static __always_inline bool flow_reopens(const struct packet *p, __u64 word)
{
	if (p->proto != IPPROTO_TCP || !p->opens)
		return false;
	return weft_flow_state(word) == WEFT_FLOW_CLOSED || (word & WEFT_FLOW_REVERSE) ||
	       weft_flow_aux(word) != flow_isn(p);
}

#endif
