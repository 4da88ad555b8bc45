/* SPDX-License-Identifier: Apache-2.0 */
/* The flow table, compiled natively and run by two threads at the same moment: test runs in the
 * kernel are too long for two to meet within it. */
#pragma GCC diagnostic ignored "-Wmissing-prototypes"
#pragma GCC diagnostic ignored "-Wunknown-pragmas"
#pragma GCC diagnostic ignored "-Wsign-compare"

#include "tests/fuzz/bpf_native.h"

#include "bpf/flow.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define ROUNDS 200000

static unsigned ready;

struct racer {
	uint32_t id;
	uint16_t holds[ROUNDS];
};

static uint64_t hash_of(unsigned round)
{
	return (round + 1) * 0x9e3779b97f4a7c15ULL;
}

/* Both threads, for the n-th time. */
static void meet(unsigned n)
{
	__atomic_add_fetch(&ready, 1, __ATOMIC_ACQ_REL);
	for (unsigned spins = 0; __atomic_load_n(&ready, __ATOMIC_ACQUIRE) < 2 * n;)
		if (++spins % 1024 == 0)
			sched_yield();
}

static void *race(void *arg)
{
	struct racer *r = arg;

	for (unsigned i = 0; i < ROUNDS; i++) {
		uint64_t hash = hash_of(i), other;

		meet(i + 1);
		other = flow_insert(hash, flow_word(hash, r->id, 0, 0, WEFT_FLOW_DATAGRAM), 0);
		r->holds[i] = (uint16_t)(other ? weft_flow_id(other) : r->id);
	}
	return NULL;
}

/* One of both wins, both know who, and the table holds that one. */
static void one_winner(void **state)
{
	static struct racer a = {.id = 1}, b = {.id = 2};
	unsigned won[3] = {0};
	pthread_t thread;
	struct flow f;

	(void)state;
	native_clock = 1ULL << 40;
	ready = 0;
	assert_false(flow_find(1, &f)); /* the maps exist before there are two threads */
	count_event(WEFT_EVENT_RACES);
	assert_int_equal(clock_ns(), native_clock);
	assert_int_equal(pthread_create(&thread, NULL, race, &a), 0);
	race(&b);
	assert_int_equal(pthread_join(thread, NULL), 0);
	for (unsigned i = 0; i < ROUNDS; i++) {
		assert_int_equal(a.holds[i], b.holds[i]);
		won[a.holds[i]]++;
	}
	assert_int_equal(won[1] + won[2], ROUNDS);
	assert_true(flow_find(hash_of(ROUNDS - 1), &f));
	assert_int_equal(weft_flow_id(f.word), a.holds[ROUNDS - 1]);
	print_message("# won: %u and %u; met inside: %llu times\n", won[1], won[2],
		(unsigned long long)*(uint64_t *)native_lookup(
			NATIVE_MAP(&events), &(uint32_t){WEFT_EVENT_RACES}));
}

static const struct flow_key forth = {.pair = 0x123456789abcdef0, .mark = 1};
static const struct flow_key back = {.pair = 0x123456789abcdef0, .mark = 2, .back = true};

static void open_flow(void)
{
	uint64_t f = flow_hash(&forth), b = flow_hash(&back);

	memset(NATIVE_MAP(&flows)->values, 0, sizeof(struct weft_bucket));
	flow_insert(f, flow_word(f, 1, 0, 0, WEFT_FLOW_ESTABLISHED), 0);
	flow_insert(b, flow_word(b, 1, 0, WEFT_FLOW_REVERSE, WEFT_FLOW_ESTABLISHED), 0);
}

/* The end that has key as its own closes. */
static void fin(const struct flow_key *key, const struct flow_key *other)
{
	const struct packet p = {.proto = IPPROTO_TCP, .tcp_flags = TCP_FIN | TCP_ACK};
	struct flow f;

	if (flow_find(flow_hash(key), &f))
		flow_touch(&f, &p, key, other);
}

static void *close_server(void *arg)
{
	for (unsigned i = 0; i < ROUNDS; i++) {
		meet(2 * i + 1);
		fin(&back, &forth);
		meet(2 * i + 2);
	}
	return arg;
}

/* Both ends close at the same moment: whoever is late, the flow has ended, or a drain would wait.
 */
static void both_close(void **state)
{
	unsigned open = 0;
	pthread_t thread;

	(void)state;
	native_clock = 1ULL << 41;
	ready = 0;
	assert_int_equal(pthread_create(&thread, NULL, close_server, NULL), 0);
	for (unsigned i = 0; i < ROUNDS; i++) {
		struct flow f;

		open_flow();
		meet(2 * i + 1);
		fin(&forth, &back);
		meet(2 * i + 2);
		open += !flow_find(flow_hash(&forth), &f) || weft_flow_live(f.word, native_clock);
		open += !flow_find(flow_hash(&back), &f) || weft_flow_live(f.word, native_clock);
	}
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(open, 0);
}

static uint64_t insert(unsigned n, uint32_t id, uint32_t state, uint64_t stale)
{
	uint64_t hash = hash_of(n);

	return flow_insert(hash, flow_word(hash, id, 0, 0, state), stale);
}

static bool present(unsigned n)
{
	struct flow f;

	return flow_find(hash_of(n), &f);
}

/* What gives way in a full bucket: expired before ended, ended before unanswered, these before
 * established, and the older of equals. */
static void who_gives_way(void **state)
{
	struct flow f;

	(void)state;
	memset(NATIVE_MAP(&flows)->values, 0, sizeof(struct weft_bucket));
	native_clock = 1ULL << 42;
	for (unsigned n = 0; n < 5; n++)
		assert_int_equal(insert(n, 1, WEFT_FLOW_ESTABLISHED, 0), 0);
	assert_int_equal(insert(5, 1, WEFT_FLOW_SYN, 0), 0);
	assert_int_equal(insert(6, 1, WEFT_FLOW_CLOSED, 0), 0);
	native_clock += 10ULL << 32; /* 43 s */
	assert_int_equal(insert(7, 1, WEFT_FLOW_DATAGRAM, 0), 0);
	insert(10, 1, WEFT_FLOW_ESTABLISHED, 0);
	assert_false(present(6));
	insert(11, 1, WEFT_FLOW_ESTABLISHED, 0);
	assert_false(present(5));
	assert_true(present(7));
	insert(12, 1, WEFT_FLOW_ESTABLISHED, 0);
	assert_false(present(7));
	/* All are established: the oldest go, once their age can be told. */
	native_clock += 2ULL << 35;
	assert_true(flow_find(hash_of(0), &f));
	insert(13, 1, WEFT_FLOW_ESTABLISHED, 0);
	assert_true(present(13) && present(10) && present(11) && present(12));
	/* Two hours later everything has expired but nothing is lost without need. */
	native_clock += 220ULL << 35;
	assert_true(present(10) && present(13));
	assert_true(weft_flow_expired(f.word, native_clock));
	assert_int_equal(insert(14, 1, WEFT_FLOW_SYN, 0), 0);
	assert_true(present(14));
}

/* A word that the caller has rejected is replaced; one that appeared since is respected. */
static void stale_is_replaced(void **state)
{
	struct flow f;

	(void)state;
	memset(NATIVE_MAP(&flows)->values, 0, sizeof(struct weft_bucket));
	assert_int_equal(insert(1, 7, WEFT_FLOW_SYN, 0), 0);
	assert_true(flow_find(hash_of(1), &f));
	assert_int_equal(weft_flow_id(insert(1, 8, WEFT_FLOW_SYN, 0)), 7);
	assert_int_equal(insert(1, 8, WEFT_FLOW_SYN, f.word), 0);
	assert_int_equal(weft_flow_id(insert(1, 9, WEFT_FLOW_SYN, f.word)), 8);
}

/* Ages survive the wrap of their eight bits, and clocks that are a little apart. */
static void ages(void **state)
{
	(void)state;
	for (uint64_t start = 250ULL << 32; start < 260ULL << 32; start += 1ULL << 31) {
		uint64_t w;

		native_clock = start;
		w = flow_word(0, 1, 0, 0, WEFT_FLOW_DATAGRAM);
		assert_int_equal(weft_flow_age(w, start), 0);
		assert_int_equal(weft_flow_age(w, start - (1ULL << 32)), 0);
		assert_int_equal(weft_flow_age(w, start + (28ULL << 32)), 28);
		assert_true(weft_flow_live(w, start + (28ULL << 32)));
		assert_false(weft_flow_live(w, start + (29ULL << 32)));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_winner),
		cmocka_unit_test(both_close),
		cmocka_unit_test(who_gives_way),
		cmocka_unit_test(stale_is_replaced),
		cmocka_unit_test(ages),
	};

	return cmocka_run_group_tests_name("flow_race", tests, NULL, NULL);
}
