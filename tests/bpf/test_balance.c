/* SPDX-License-Identifier: Apache-2.0 */
/* The balancer's promise, for any weights: in every window of N new flows, N being the length of
 * the sequence, each backend gets its share to the flow; shares are interleaved; flows that are
 * open keep their backend whatever becomes of the weights; and all of that on two processors at
 * once. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "ctrl/dataplane/dp.h"
#include "tests/lib/dp_lab.h"

#define VIP      "10.30.0.1"
#define SERVICE  1
#define BACKENDS 8
#define CLIENT   20

static uint32_t next_flow; /* every flow of this program has ports of its own */

static int setup(void **state)
{
	struct weft_dp_config config = {.bpffs_dir = LAB_PINS, .max_flows = 1 << 20};
	struct weft_err err = {0};
	struct weft_dp *dp;

	if (weft_dp_open(&config, &dp, &err) < 0)
		fail_msg("%s", err.msg);
	lab_service(dp, SERVICE, VIP);
	for (uint32_t n = 1; n <= BACKENDS; n++)
		lab_add(dp, n, SERVICE);
	lab_add(dp, CLIENT, 0);
	srand(20260714);
	*state = dp;
	return 0;
}

static int teardown(void **state)
{
	weft_dp_free(*state);
	return weft_dp_destroy(LAB_PINS, NULL);
}

static uint32_t gcd(uint32_t a, uint32_t b)
{
	return b ? gcd(b, a % b) : a;
}

/* Weights of at most max for at most BACKENDS, some of them 0, not all. Returns the length of their
 * sequence. */
static uint32_t random_weights(struct weft_dp_weight w[BACKENDS], unsigned n, uint32_t max)
{
	uint32_t sum = 0, unit = 0;

	while (!sum)
		for (unsigned i = 0; i < n; i++) {
			w[i].instance = i + 1;
			w[i].weight = (uint32_t)rand() % (max + 1);
			sum += w[i].weight;
			unit = gcd(unit, w[i].weight);
		}
	for (unsigned i = 0; i < n; i++)
		w[i].weight /= unit;
	return sum / unit;
}

/* Send a packet of flow n, the first when syn: the backend that gets it. */
static int packet(struct weft_dp *dp, uint32_t n, bool syn)
{
	struct lab_tuple t = {CLIENT, VIP, (uint16_t)(1024 + n % 60000), (uint16_t)(1 + n / 60000)};
	struct lab_frame f;

	lab_tcp(&f, t, syn ? LAB_SYN : LAB_ACK, n);
	return lab_run(dp, &f) == LAB_REDIRECT ? lab_receiver(&f) : -1;
}

/* How far the n flows from got on are from what their weights say, at most. */
static double deviation(const uint8_t *got, uint32_t n, uint32_t length,
	const struct weft_dp_weight *w, unsigned n_weights)
{
	double worst = 0;

	for (unsigned i = 0; i < n_weights; i++) {
		unsigned count = 0;

		for (uint32_t k = 0; k < n; k++)
			count += got[k] == w[i].instance;
		double off = count - (double)n * w[i].weight / length;

		worst = off > worst ? off : -off > worst ? -off : worst;
	}
	return worst;
}

#define FLOWS 4000

static struct {
	uint8_t backend[200 * FLOWS];
} book;

/* Flows of before, a sample of them, still go where they went. */
static void nobody_moved(struct weft_dp *dp)
{
	for (unsigned i = 0; next_flow && i < 200; i++) {
		uint32_t n = (uint32_t)rand() % next_flow;

		assert_int_equal(packet(dp, n, false), book.backend[n]);
	}
}

static void every_window_is_exact(void **state)
{
	struct weft_dp *dp = *state;

	for (int round = 0; round < 60; round++) {
		unsigned n = 1 + (unsigned)rand() % BACKENDS;
		struct weft_dp_weight w[BACKENDS];
		uint32_t length = random_weights(w, n, round % 2 ? 5 : 40), flows = 3 * length;
		uint8_t *got = book.backend + next_flow;

		lab_weights(dp, SERVICE, w, n);
		nobody_moved(dp);
		for (uint32_t i = 0; i < flows; i++)
			got[i] = (uint8_t)packet(dp, next_flow++, true);
		for (uint32_t at = 0; at + length <= flows; at++)
			assert_true(deviation(got + at, length, length, w, n) == 0);
		/* Shorter windows: as even as n sequences that take turns can be. */
		for (uint32_t size = 1; size < length; size += 1 + size / 4)
			for (uint32_t at = 0; at + size <= flows; at += 1 + length / 16)
				assert_true(deviation(got + at, size, length, w, n) < 1 + n / 2.0);
	}
	nobody_moved(dp);
}

/* --- two processors --- */

struct opener {
	struct weft_dp *dp;
	int cpu;
	uint32_t first, step, n, *ready;
};

static void pin(int cpu)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
}

static void *open_flows(void *arg)
{
	struct opener *o = arg;

	pin(o->cpu);
	__atomic_add_fetch(o->ready, 1, __ATOMIC_ACQ_REL);
	while (__atomic_load_n(o->ready, __ATOMIC_ACQUIRE) % 2)
		sched_yield();
	for (uint32_t i = o->first; i < o->first + o->n * o->step; i += o->step)
		book.backend[i] = (uint8_t)packet(o->dp, i, true);
	return NULL;
}

/* n flows, half of them on one processor and half on the other at the same time. Returns where the
 * first one is in the book. */
static uint8_t *open_on_two(struct weft_dp *dp, uint32_t n, void (*meanwhile)(struct weft_dp *))
{
	uint32_t ready = 0, first = next_flow;
	struct opener a = {dp, 0, first, 2, n / 2, &ready},
		      b = {dp, 1, first + 1, 2, n / 2, &ready};
	pthread_t one, two;

	next_flow += n;
	assert_int_equal(pthread_create(&one, NULL, open_flows, &a), 0);
	assert_int_equal(pthread_create(&two, NULL, open_flows, &b), 0);
	if (meanwhile)
		meanwhile(dp);
	assert_int_equal(pthread_join(one, NULL), 0);
	assert_int_equal(pthread_join(two, NULL), 0);
	return book.backend + first;
}

static void exact_on_two_processors(void **state)
{
	struct weft_dp *dp = *state;

	for (int round = 0; round < 100; round++) {
		unsigned n = 2 + (unsigned)rand() % (BACKENDS - 1);
		struct weft_dp_weight w[BACKENDS];
		uint32_t length = random_weights(w, n, 9), flows = 2 * length * (1 + round % 3);

		lab_weights(dp, SERVICE, w, n);
		assert_true(deviation(open_on_two(dp, flows, NULL), flows, length, w, n) == 0);
	}
	nobody_moved(dp);
}

/* A swap's steps while flows are being opened: 100 % of instance 1 becomes 100 % of instance 2. */
static void shift(struct weft_dp *dp)
{
	for (uint32_t share = 0; share <= 100; share++) {
		struct weft_dp_weight w[] = {{1, 100 - share}, {2, share}};

		lab_weights(dp, SERVICE, w, 2);
	}
}

static void weights_change_meanwhile(void **state)
{
	struct weft_dp_weight first[] = {{1, 1}}, half[] = {{1, 1}, {2, 1}};
	struct weft_dp *dp = *state;
	uint8_t *got;

	for (int round = 0; round < 5; round++) {
		lab_weights(dp, SERVICE, first, 1);
		got = open_on_two(dp, FLOWS, shift);
		for (uint32_t i = 0; i < FLOWS; i++)
			assert_in_range(got[i], 1, 2);
		/* The last step holds for all that come after it, and the next one is exact again.
		 */
		got = open_on_two(dp, 100, NULL);
		for (uint32_t i = 0; i < 100; i++)
			assert_int_equal(got[i], 2);
		lab_weights(dp, SERVICE, half, 2);
		assert_true(deviation(open_on_two(dp, 100, NULL), 100, 2, half, 2) == 0);
	}
	nobody_moved(dp);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_window_is_exact),
		cmocka_unit_test(exact_on_two_processors),
		cmocka_unit_test(weights_change_meanwhile),
	};

	if (sysconf(_SC_NPROCESSORS_ONLN) < 2) {
		puts("1..0 # SKIP one processor only");
		return 0;
	}
	if (!lab_enter())
		return 0;
	return cmocka_run_group_tests_name("balance", tests, setup, teardown);
}
