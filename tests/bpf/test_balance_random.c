/* SPDX-License-Identifier: Apache-2.0 */
/* The balancer's promises as properties, over random weights and random comings and goings of
 * backends, by the program itself: in every window of N new flows, N being the number of slots,
 * each backend gets its share to the flow; shorter windows are as even as they can be; whatever
 * changes, a flow whose backend is still there keeps it, and one whose backend is gone reaches
 * nobody, not even who has got its id since. The seed is printed; WEFT_SEED=N runs the same again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <cmocka.h>

#include "ctrl/dataplane/dp.h"
#include "tests/lib/dp_lab.h"

#define SERVICE  1
#define BACKENDS 12
#define CLIENT   20
#define ROUNDS   60
#define FLOWS    400000
#define SAMPLE   150

static const char *const vips[] = {"10.30.0.1", "fdff:2000::1"};

struct record {
	uint8_t backend;
	uint32_t incarnation; /* of the backend, when the flow came to it */
};

static struct {
	unsigned seed, round;
	uint32_t incarnation[BACKENDS + 1], last; /* 0: not there */
	uint32_t weight[BACKENDS + 1];            /* as set last, also of who has gone since */
	struct record flow[FLOWS];
	uint32_t n_flows;
} book;

#define CHECK(cond, fmt, ...)                                                           \
	do {                                                                            \
		if (!(cond))                                                            \
			fail_msg("WEFT_SEED=%u, round %u: " fmt, book.seed, book.round, \
				##__VA_ARGS__);                                         \
	} while (0)

static uint32_t below(uint32_t n)
{
	return (uint32_t)rand() % n;
}

/* --- comings and goings --- */

static void join(struct weft_dp *dp, uint32_t n)
{
	struct weft_dp_instance inst = lab_instance(n, SERVICE);
	struct weft_err err = {0};

	if (!inst.ifindex)
		lab_add(dp, n, SERVICE);
	else if (weft_dp_instance_set(dp, &inst, &err) < 0)
		fail_msg("%s", err.msg);
	book.incarnation[n] = ++book.last;
}

static void leave(struct weft_dp *dp, uint32_t n)
{
	assert_int_equal(weft_dp_instance_remove(dp, n), 0);
	book.incarnation[n] = 0;
}

static unsigned present(void)
{
	unsigned n = 0;

	for (uint32_t i = 1; i <= BACKENDS; i++)
		n += book.incarnation[i] != 0;
	return n;
}

/* Of those that are there, some of them 0, not all. */
static void reweigh(struct weft_dp *dp, uint32_t max)
{
	struct weft_dp_weight w[BACKENDS];
	uint32_t sum = 0;
	unsigned n = 0;

	memset(book.weight, 0, sizeof(book.weight));
	while (!sum) {
		n = 0;
		for (uint32_t i = 1; i <= BACKENDS; i++)
			if (book.incarnation[i]) {
				w[n] = (struct weft_dp_weight){i, below(max + 1)};
				sum += book.weight[i] = w[n++].weight;
			}
	}
	lab_weights(dp, SERVICE, w, n);
}

/* --- flows --- */

/* Every flow has ports, and by them a family and a protocol of its own. */
static struct lab_tuple tuple(uint32_t n)
{
	return (struct lab_tuple){
		CLIENT, vips[n / 2 % 2], (uint16_t)(1024 + n % 60000), (uint16_t)(1 + n / 60000)};
}

static bool is_udp(uint32_t n)
{
	return n % 2;
}

/* The backend that gets it, 0: none. */
static uint32_t packet(struct weft_dp *dp, uint32_t n, uint8_t flags)
{
	struct lab_frame f;
	int to;

	if (is_udp(n))
		lab_udp(&f, tuple(n), 20);
	else
		lab_tcp(&f, tuple(n), flags, n);
	to = lab_run(dp, &f) == LAB_REDIRECT ? lab_receiver(&f) : 0;
	return to > 0 && to <= BACKENDS ? (uint32_t)to : 0;
}

static void note(uint32_t n, uint32_t backend)
{
	book.flow[n] = (struct record){(uint8_t)backend, book.incarnation[backend]};
}

static uint32_t open_flow(struct weft_dp *dp)
{
	uint32_t n = book.n_flows++, to = packet(dp, n, LAB_SYN);

	CHECK(n < FLOWS, "too many flows for the book");
	if (!to)
		return 0;
	CHECK(book.incarnation[to], "flow %u went to %u, which is not there", n, to);
	note(n, to);
	if (!is_udp(n))
		CHECK(packet(dp, n, LAB_ACK) == to, "flow %u left its backend at once", n);
	return to;
}

static void nobody_moved(struct weft_dp *dp)
{
	for (unsigned i = 0; book.n_flows && i < SAMPLE; i++) {
		uint32_t n = below(book.n_flows), to;
		const struct record *was = &book.flow[n];

		if (!was->backend)
			continue;
		to = packet(dp, n, LAB_ACK);
		if (book.incarnation[was->backend] == was->incarnation)
			CHECK(to == was->backend,
				"flow %u went from %u to %u, which is still there", n, was->backend,
				to);
		else if (!is_udp(n))
			CHECK(!to, "flow %u of a backend that is gone, %u, went on to %u", n,
				was->backend, to);
		else if (to)
			note(n, to); /* nothing tells a first datagram from a later one */
	}
}

/* --- shares --- */

/* How often each backend is in the sequence; which has *ret_length slots of who is there. */
static void slots_of(struct weft_dp *dp, uint32_t share[BACKENDS + 1], uint32_t *ret_length)
{
	uint64_t word = dp->slot_dir[weft_service_policy(SERVICE, WEFT_DP_RR)];
	const uint16_t *slot = (const uint16_t *)dp->slots + (uint32_t)word;

	memset(share, 0, (BACKENDS + 1) * sizeof(*share));
	*ret_length = 0;
	for (uint16_t i = 0; i < weft_slot_length(word); i++)
		if (book.incarnation[slot[i]]) {
			share[slot[i]]++;
			(*ret_length)++;
		}
}

/* To the slot what the weights say; or, when those have no short common sequence, by less than one
 * slot off, and one more for each whose weight is too small for a slot of its own, and has one. */
static void shares_as_weights(struct weft_dp *dp)
{
	uint32_t share[BACKENDS + 1], length, sum = 0;
	double most = 0;

	slots_of(dp, share, &length);
	for (uint32_t i = 1; i <= BACKENDS; i++)
		sum += book.weight[i];
	for (uint32_t i = 1; i <= BACKENDS && sum > 2048; i++)
		most += book.weight[i] && (double)book.weight[i] * length / sum < 2;
	for (uint32_t i = 1; i <= BACKENDS; i++) {
		double due = (double)length * book.weight[i] / sum, off = share[i] - due;

		CHECK(!book.weight[i] == !share[i], "weight %u of %u: %u of %u slots",
			book.weight[i], i, share[i], length);
		CHECK(sum > 2048 ? off < 1 + most && -off < 1 + most : off == 0,
			"weight %u of %u: %u of %u slots, not %f", book.weight[i], sum, share[i],
			length, due);
	}
}

/* What the richest of n can have to wait beyond its due, in turns: each of them may have been
 * passed over for those that were richer. */
static double slack(unsigned n)
{
	double sum = 1;

	for (unsigned i = 1; i <= n; i++)
		sum += 1.0 / i;
	return sum;
}

static uint32_t taken[4 * 2048 + 1][BACKENDS + 1]; /* by each backend, of the first so many flows */

static void windows(uint32_t flows, uint32_t size, uint32_t step, const uint32_t share[],
	uint32_t length, double most)
{
	for (uint32_t at = 0; at + size <= flows; at += step)
		for (uint32_t i = 1; i <= BACKENDS; i++) {
			uint32_t got = taken[at + size][i] - taken[at][i];
			double off = got - (double)share[i] * size / length;

			CHECK(off <= most && -off <= most,
				"%u of %u flows from the %uth on, with %u of %u slots of backend %u",
				got, size, at, share[i], length, i);
		}
}

static void every_window(struct weft_dp *dp, bool whole_table)
{
	uint32_t share[BACKENDS + 1], length, flows;

	slots_of(dp, share, &length);
	flows = 2 * length + below(length + 1);
	memset(taken[0], 0, sizeof(taken[0]));
	for (uint32_t n = 0; n < flows; n++) {
		uint32_t to = open_flow(dp);

		CHECK(to, "new flow %u of %u got no backend", n, flows);
		memcpy(taken[n + 1], taken[n], sizeof(taken[n]));
		taken[n + 1][to]++;
	}
	windows(flows, length, 1, share, length, 0);
	for (uint32_t size = 1; whole_table && size < length; size += 1 + size / 4)
		windows(flows, size, 1 + length / 64, share, length, slack(present()));
}

/* --- the rounds --- */

/* Some vanish before there are new weights: who is left has all of the new flows, in proportion. */
static void some_vanish(struct weft_dp *dp)
{
	uint32_t share[BACKENDS + 1], length;

	for (uint32_t i = 1; i <= BACKENDS; i++)
		if (book.incarnation[i] && present() > 1 && below(3) == 0)
			leave(dp, i);
	nobody_moved(dp);
	slots_of(dp, share, &length);
	if (length)
		every_window(dp, false);
	else
		CHECK(!open_flow(dp), "a new flow where no backend has a weight");
}

static void some_come(struct weft_dp *dp)
{
	for (uint32_t i = 1; i <= BACKENDS; i++)
		if (!book.incarnation[i] && below(2) == 0)
			join(dp, i);
	nobody_moved(dp);
}

static void shares_and_disruption(void **state)
{
	static const uint32_t most[] = {1, 5, 40, WEFT_DP_MAX_WEIGHT};
	struct weft_dp_events events;
	struct weft_dp *dp = *state;

	for (book.round = 0; book.round < ROUNDS; book.round++) {
		/* A long row of slots of those that are gone is not passed over at once. */
		bool vanish = book.round % 2;
		uint32_t max = vanish ? 5 : most[below(3)];

		if (book.round % 12 == 0)
			max = most[3];

		some_come(dp);
		if (!present())
			join(dp, 1 + below(BACKENDS));
		reweigh(dp, max);
		nobody_moved(dp);
		shares_as_weights(dp);
		every_window(dp, true);
		if (vanish)
			some_vanish(dp);
	}
	nobody_moved(dp);
	assert_int_equal(weft_dp_events(dp, &events), 0);
	assert_int_equal(events.displaced, 0);
}

/* --- */

static int setup(void **state)
{
	struct weft_dp_config config = {.bpffs_dir = LAB_PINS, .max_flows = 1 << 22};
	struct weft_err err = {0};
	struct weft_dp *dp;

	if (weft_dp_open(&config, &dp, &err) < 0)
		fail_msg("%s", err.msg);
	lab_service46(dp, SERVICE, vips[0], vips[1]);
	lab_add(dp, CLIENT, 0);
	*state = dp;
	return 0;
}

static int teardown(void **state)
{
	weft_dp_free(*state);
	return weft_dp_destroy(LAB_PINS, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(shares_and_disruption)};
	const char *given = getenv("WEFT_SEED");

	if (given)
		book.seed = (unsigned)strtoul(given, NULL, 10);
	else if (getrandom(&book.seed, sizeof(book.seed), 0) != sizeof(book.seed))
		return 1;
	if (!lab_enter())
		return 0;
	printf("# WEFT_SEED=%u\n", book.seed);
	fflush(stdout);
	srand(book.seed);
	return cmocka_run_group_tests_name("balance_random", tests, setup, teardown);
}
