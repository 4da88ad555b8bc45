/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "ctrl/swap/guard.h"

static const struct weft_sla_guard guard = {
	.min_requests = 50, .error_percent = 5, .latency_percent = 100};

/* A side that was asked so often, and answered each in ns. */
static struct weft_guard_sum side(uint64_t requests, uint64_t timed, uint64_t ns)
{
	struct weft_guard_sum s = {.requests = requests, .timed = timed, .waited = timed};

	s.latency[weft_latency_bucket(ns)] = (uint32_t)timed;
	return s;
}

static bool judged(struct weft_guard_sum old, struct weft_guard_sum coming, struct weft_err *err)
{
	*err = (struct weft_err){0};
	return weft_guard_judge(&guard, &old, &coming, err);
}

static void equals_go_on(void **state)
{
	struct weft_err err;

	(void)state;
	assert_false(judged(side(1000, 60, 50000), side(1000, 60, 50000), &err));
	assert_false(judged(side(0, 0, 0), side(0, 0, 0), &err));
	assert_int_equal(err.code, 0);
}

static void failures(void **state)
{
	struct weft_guard_sum old = side(1000, 60, 50000), coming = side(2, 0, 0);
	struct weft_err err;

	(void)state;
	coming.refused = 2; /* 48 good ones could follow */
	assert_false(judged(old, coming, &err));
	coming.requests = coming.refused = 3;
	assert_true(judged(old, coming, &err));
	assert_non_null(strstr(err.msg, "3 of 3 requests failed (refused 3, "));
	assert_non_null(strstr(err.msg, "error_percent 5"));
	coming = side(1000, 60, 50000);
	coming.resets = 50;
	assert_false(judged(old, coming, &err));
	coming.silent = 1;
	assert_true(judged(old, coming, &err));
	/* Where the old ones are as bad, nothing is gained by going back. */
	old.unreachable = 60;
	assert_false(judged(old, coming, &err));
}

static void nothing_is_too_bad_for_100(void **state)
{
	struct weft_sla_guard lax = {.min_requests = 1, .error_percent = 100};
	struct weft_guard_sum old = side(1000, 60, 50000), coming = side(100, 0, 0);
	struct weft_err err = {0};

	(void)state;
	coming.refused = 100;
	assert_false(weft_guard_judge(&lax, &old, &coming, &err));
}

static void slowness(void **state)
{
	struct weft_guard_sum old = side(1000, 60, 50000);
	struct weft_err err;

	(void)state;
	assert_false(judged(old, side(1000, 60, 80000), &err));
	assert_true(judged(old, side(1000, 60, 150000), &err));
	assert_non_null(strstr(err.msg, "latency_percent is 100"));
	assert_false(judged(old, side(1000, 10, 150000), &err));
	assert_false(judged(old, side(40, 60, 150000), &err));
	assert_false(judged(side(1000, 3, 50000), side(1000, 60, 150000), &err));
}

static void muteness(void **state)
{
	struct weft_guard_sum old = side(1000, 60, 50000), coming = side(300, 0, 0);
	struct weft_err err;

	(void)state;
	coming.waited = coming.unheard = 10;
	assert_true(judged(old, coming, &err));
	assert_non_null(strstr(err.msg, "no answer for 2 s"));
	coming.unheard = 9; /* one was answered */
	assert_false(judged(old, coming, &err));
	coming.unheard = 10;
	old.waited = 100, old.unheard = 90; /* what clients send is mostly not for an answer */
	assert_false(judged(old, coming, &err));
}

static void sums(void **state)
{
	struct weft_guard_count from = {.cpu_ns = 5000000}, then, now;
	struct weft_guard_sum sum = {0};

	(void)state;
	from.quality = (struct weft_quality){.opened = 10, .accepted = 10, .asked = 100};
	then = now = from;
	then.quality.opened = 20;
	then.quality.asked = 104;
	now.quality = (struct weft_quality){.opened = 30,
		.accepted = 15,
		.refused = 2,
		.resets = 1,
		.asked = 110,
		.answered = 3};
	now.quality.latency[7] = 3;
	now.cpu_ns = 9000000;
	weft_guard_add(&sum, &from, &now);
	weft_guard_wait(&sum, &from, &then, &now);
	assert_int_equal(sum.requests, 10 * WEFT_SAMPLE);
	assert_int_equal(sum.silent, 10 - 5 - 2);
	assert_int_equal(sum.waited, 4);
	assert_int_equal(sum.unheard, 1);
	assert_int_equal(sum.latency[7], 3);
	assert_int_equal(weft_guard_failed(&sum), 2 + 1 + 3);
	assert_int_equal(weft_guard_effect(&sum).cpu_ms, 4);
	/* What is counted anew from 0 (another holder of the id) is nothing. */
	weft_guard_add(&sum, &now, &from);
	assert_int_equal(sum.refused, 2);
}

static void percentiles(void **state)
{
	struct weft_guard_sum s = {0};

	(void)state;
	assert_int_equal(weft_guard_latency_ns(&s, 90), 0);
	for (uint64_t us = 1; us <= 1000; us++)
		s.latency[weft_latency_bucket(us * 1000)]++;
	assert_in_range(weft_guard_latency_ns(&s, 50), 480000, 520000);
	assert_in_range(weft_guard_latency_ns(&s, 90), 870000, 930000);
	assert_in_range(weft_guard_latency_ns(&s, 100), 1000000, 1050000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(equals_go_on),
		cmocka_unit_test(failures),
		cmocka_unit_test(nothing_is_too_bad_for_100),
		cmocka_unit_test(slowness),
		cmocka_unit_test(muteness),
		cmocka_unit_test(sums),
		cmocka_unit_test(percentiles),
	};

	return cmocka_run_group_tests_name("guard", tests, NULL, NULL);
}
