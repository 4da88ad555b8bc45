/* SPDX-License-Identifier: Apache-2.0 */
#include "loadgen/recorder.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "loadgen/arrivals.h"

#define MS 1000000ULL

static void test_constant_arrivals(void **state)
{
	struct load_arrivals a[3];
	uint64_t next[3];
	double rate = 777.7;

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		load_arrivals_init(&a[i], LOAD_ARRIVALS_CONSTANT, rate, i, 3, 1);
		next[i] = load_arrivals_next(&a[i]);
	}
	/* Taken together they are one evenly spaced sequence, without drift after millions. */
	for (uint64_t n = 0; n < 3000000; n++) {
		unsigned thread = (unsigned)(n % 3);

		assert_true(fabs((double)next[thread] - (double)n * 1e9 / rate) <= 1);
		next[thread] = load_arrivals_next(&a[thread]);
	}
}

static void test_poisson_arrivals(void **state)
{
	enum { N = 200000 };
	struct load_arrivals a, same, other;
	double sum = 0, squares = 0, last = 0;
	unsigned differing = 0;

	(void)state;
	load_arrivals_init(&a, LOAD_ARRIVALS_POISSON, 1000, 0, 2, 7);
	load_arrivals_init(&same, LOAD_ARRIVALS_POISSON, 1000, 0, 2, 7);
	load_arrivals_init(&other, LOAD_ARRIVALS_POISSON, 1000, 1, 2, 7);
	for (int i = 0; i < N; i++) {
		uint64_t t = load_arrivals_next(&a);
		double gap = (double)t - last;

		assert_true(gap >= 0);
		assert_int_equal(load_arrivals_next(&same), t);
		differing += load_arrivals_next(&other) != t;
		last = (double)t;
		sum += gap;
		squares += gap * gap;
	}
	/* This thread's half of 1000/s; mean and deviation of an exponential are equal. */
	assert_true(fabs(sum / N - 2e6) < 2e6 * 5 / sqrt(N));
	assert_true(fabs(sqrt(squares / N - sum / N * sum / N) - 2e6) < 0.03 * 2e6);
	assert_true(differing > N / 2);
}

static void test_phases(void **state)
{
	_cleanup_(load_phases_freep) struct load_phases *p = NULL;

	(void)state;
	assert_int_equal(load_phases_new(2, &p), 0);
	assert_int_equal(load_phases_add(p, "warmup", 100, true), 0);
	assert_int_equal(load_phases_add(p, "before", 200, false), 0);
	assert_int_equal(load_phases_add(p, "shift", 300, false), 0);
	assert_int_equal(load_phases_find(p, 0), 0);
	assert_int_equal(load_phases_find(p, 199), 0);
	assert_int_equal(load_phases_find(p, 200), 1);
	assert_int_equal(load_phases_find(p, 299), 1);
	assert_int_equal(load_phases_find(p, 300), 2);
	assert_int_equal(load_phases_find(p, UINT64_MAX), 2);
	assert_true(load_phases_warmup(p, 0));
	assert_false(load_phases_warmup(p, 1));
	load_phases_rename(p, 1, "a-name-that-is-much-too-long-for-the-room-there-is");
	assert_int_equal(strlen(load_phases_name(p, 1)), LOAD_NAME_MAX);
	for (uint64_t i = 3; i < LOAD_PHASES_MAX; i++)
		assert_int_equal(load_phases_add(p, "more", 300 + i, false), 0);
	assert_int_equal(load_phases_add(p, "one too many", 1000, false), -ENOSPC);
	assert_int_equal(load_phases_count(p), LOAD_PHASES_MAX);
}

static struct load_sample sample(uint64_t intended, uint64_t sent, uint64_t done)
{
	return (struct load_sample){.intended = intended * MS,
		.sent = sent * MS,
		.done = done * MS,
		.bytes = 10,
		.class = LOAD_OK};
}

/* Phases go by the intended time, intervals by the time of the end. */
static void test_attribution(void **state)
{
	_cleanup_(load_phases_freep) struct load_phases *p = NULL;
	_cleanup_(load_recorder_freep) struct load_recorder *r = NULL;
	_cleanup_(load_interval_done) struct load_interval sum = {0};
	struct load_sample late = sample(190, 250, 260), lost = sample(250, 0, 270);
	const struct load_stats *first, *second;

	(void)state;
	assert_int_equal(load_phases_new(2, &p), 0);
	assert_int_equal(load_phases_add(p, "first", 100 * MS, false), 0);
	assert_int_equal(load_phases_add(p, "second", 200 * MS, false), 0);
	assert_int_equal(load_recorder_new(p, 1, &r), 0);
	assert_int_equal(load_interval_init(&sum), 0);
	load_recorder_start(r, 200 * MS);
	lost.class = LOAD_TIMEOUT;
	load_recorder_sent(r, 250 * MS);
	load_recorder_ended(r, &late);
	load_recorder_ended(r, &lost);
	load_recorder_stale(r, 190 * MS, true);
	load_recorder_stale(r, 250 * MS, false);
	load_recorder_reconnected(r, 260 * MS);
	load_recorder_gauge(r, 3, 4);

	first = load_phases_stats(p, 0, 1);
	second = load_phases_stats(p, 1, 1);
	assert_int_equal(first->requests, 1);
	assert_int_equal(first->by_class[LOAD_OK], 1);
	assert_int_equal(first->bytes, 10);
	assert_int_equal(first->retries, 1);
	assert_int_equal(weft_hist_max(first->latency), 70 * MS);
	assert_int_equal(weft_hist_max(first->service), 10 * MS);
	assert_int_equal(load_stats_failed(second), 1);
	assert_int_equal(second->by_class[LOAD_TIMEOUT], 1);
	assert_int_equal(weft_hist_count(second->latency), 0);
	assert_int_equal(second->stale, 1);
	assert_int_equal(second->retries, 0);
	assert_int_equal(second->reconnects, 1);
	assert_int_equal(load_phases_stats(p, 0, 0)->requests, 0);

	load_recorder_take(r, 300 * MS, &sum);
	assert_int_equal(sum.sent + sum.ok + sum.failed, 0);
	load_interval_reset(&sum);
	load_recorder_take(r, 400 * MS, &sum);
	assert_int_equal(sum.sent, 1);
	assert_int_equal(sum.ok, 1);
	assert_int_equal(sum.failed, 1);
	assert_int_equal(sum.in_flight, 3);
	assert_int_equal(sum.queued, 4);
	assert_int_equal(weft_hist_count(sum.latency), 1);
}

/* Whenever the intervals are taken, nothing is lost and nothing counted twice. */
static void test_intervals_keep_all(void **state)
{
	_cleanup_(load_phases_freep) struct load_phases *p = NULL;
	_cleanup_(load_recorder_freep) struct load_recorder *r = NULL;
	_cleanup_(load_interval_done) struct load_interval sum = {0};
	unsigned short random[3] = {3, 1, 4};
	uint64_t end = 100;

	(void)state;
	assert_int_equal(load_phases_new(1, &p), 0);
	assert_int_equal(load_phases_add(p, "run", 0, false), 0);
	assert_int_equal(load_recorder_new(p, 0, &r), 0);
	assert_int_equal(load_interval_init(&sum), 0);
	load_recorder_start(r, end * MS);
	for (uint64_t now = 1; now <= 5000; now++) {
		struct load_sample s = sample(now, now, now);

		load_recorder_sent(r, now * MS);
		load_recorder_ended(r, &s);
		/* On time, late, or late by several intervals. */
		while (end <= now && erand48(random) < 0.02)
			load_recorder_take(r, (end += 100) * MS, &sum);
	}
	while (end < 5300)
		load_recorder_take(r, (end += 100) * MS, &sum);
	assert_int_equal(sum.sent, 5000);
	assert_int_equal(sum.ok, 5000);
	assert_int_equal(weft_hist_count(sum.latency), 5000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_constant_arrivals),
		cmocka_unit_test(test_poisson_arrivals),
		cmocka_unit_test(test_phases),
		cmocka_unit_test(test_attribution),
		cmocka_unit_test(test_intervals_keep_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
