/* SPDX-License-Identifier: Apache-2.0 */
#include "ctrl/base/hist.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "ctrl/base/util.h"

#define SAMPLES 100000

static const double points[] = {0, 0.1, 1, 10, 25, 50, 75, 90, 95, 99, 99.9, 99.99, 99.999, 100};

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static uint64_t uniform(unsigned short seed[3])
{
	return (uint64_t)(erand48(seed) * 5e6);
}

/* What latencies look like: most of them close together, a long tail up to minutes. */
static uint64_t log_normal(unsigned short seed[3])
{
	double normal = sqrt(-2 * log(1 - erand48(seed))) * cos(2 * M_PI * erand48(seed));

	return (uint64_t)exp(12 + 2.5 * normal);
}

static uint64_t two_modes(unsigned short seed[3])
{
	return erand48(seed) < 0.99 ? 100000 + uniform(seed) / 100 : 1000000000 + uniform(seed);
}

static uint64_t small(unsigned short seed[3])
{
	return (uint64_t)(erand48(seed) * 50);
}

static void compare(uint64_t (*next)(unsigned short[3]), unsigned digits)
{
	_cleanup_(weft_hist_freep) struct weft_hist *h = NULL;
	_cleanup_(freep) uint64_t *v = calloc(SAMPLES, sizeof(*v));
	unsigned short seed[3] = {1, 2, (unsigned short)digits};
	double error = pow(10, -(double)digits), sum = 0;

	assert_non_null(v);
	assert_int_equal(weft_hist_new(digits, WEFT_HIST_HOUR_NS, &h), 0);
	for (size_t i = 0; i < SAMPLES; i++) {
		v[i] = next(seed);
		sum += (double)v[i];
		weft_hist_record(h, v[i]);
	}
	qsort(v, SAMPLES, sizeof(*v), by_value);

	assert_int_equal(weft_hist_count(h), SAMPLES);
	assert_int_equal(weft_hist_min(h), v[0]);
	assert_int_equal(weft_hist_max(h), v[SAMPLES - 1]);
	assert_true(fabs(weft_hist_mean(h) - sum / SAMPLES) <= sum / SAMPLES * 1e-9);
	assert_int_equal(weft_hist_percentile(h, 100), v[SAMPLES - 1]);
	for (size_t i = 0; i < ARRAY_SIZE(points); i++) {
		size_t rank = (size_t)ceil(points[i] * SAMPLES / 100 - 1e-6);
		uint64_t exact = v[rank ? rank - 1 : 0];
		uint64_t got = weft_hist_percentile(h, points[i]);

		assert_true(got >= exact);
		assert_true((double)(got - exact) <= (double)exact * error);
	}
}

static void test_percentiles(void **state)
{
	(void)state;
	for (unsigned digits = 1; digits <= 5; digits++) {
		compare(uniform, digits);
		compare(log_normal, digits);
		compare(two_modes, digits);
		compare(small, digits);
	}
}

/* Values up to 2 * 10^digits are exact, which is what "significant digits" promises. */
static void test_exact_below_resolution(void **state)
{
	(void)state;
	for (uint64_t v = 0; v < 2000; v++) {
		_cleanup_(weft_hist_freep) struct weft_hist *h = NULL;

		assert_int_equal(weft_hist_new(3, WEFT_HIST_HOUR_NS, &h), 0);
		weft_hist_record(h, v);
		weft_hist_record(h, v + 100000);
		assert_int_equal(weft_hist_percentile(h, 50), v);
	}
}

/* Around every power of two, where the groups of buckets meet. */
static void test_edges(void **state)
{
	(void)state;
	for (unsigned bit = 0; bit < 42; bit++) {
		for (int off = -1; off <= 1; off++) {
			_cleanup_(weft_hist_freep) struct weft_hist *h = NULL;
			uint64_t v = (1ULL << bit) + (uint64_t)off, got;

			if (v >= WEFT_HIST_HOUR_NS)
				continue;
			assert_int_equal(weft_hist_new(3, WEFT_HIST_HOUR_NS, &h), 0);
			weft_hist_record(h, v);
			weft_hist_record(h, WEFT_HIST_HOUR_NS);
			got = weft_hist_percentile(h, 50);
			assert_true(got >= v && (double)(got - v) <= (double)v / 1000);
			assert_int_equal(weft_hist_max(h), WEFT_HIST_HOUR_NS);
			assert_int_equal(weft_hist_saturated(h), 0);
		}
	}
}

static void test_ranks(void **state)
{
	_cleanup_(weft_hist_freep) struct weft_hist *h = NULL;

	(void)state;
	assert_int_equal(weft_hist_new(3, WEFT_HIST_HOUR_NS, &h), 0);
	for (uint64_t v = 1; v <= 1000; v++)
		weft_hist_record(h, v);
	assert_int_equal(weft_hist_percentile(h, 99.9), 999);
	assert_int_equal(weft_hist_percentile(h, 99), 990);
	assert_int_equal(weft_hist_percentile(h, 50), 500);
	assert_int_equal(weft_hist_percentile(h, 0), 1);
	assert_int_equal(weft_hist_percentile(h, -3), 1);
	assert_int_equal(weft_hist_percentile(h, NAN), 1);
	assert_int_equal(weft_hist_percentile(h, 200), 1000);
}

static void test_empty_and_reset(void **state)
{
	_cleanup_(weft_hist_freep) struct weft_hist *h = NULL;

	(void)state;
	assert_int_equal(weft_hist_new(3, WEFT_HIST_HOUR_NS, &h), 0);
	for (int round = 0; round < 3; round++) {
		assert_int_equal(weft_hist_count(h), 0);
		assert_int_equal(weft_hist_percentile(h, 50), 0);
		assert_int_equal(weft_hist_max(h), 0);
		assert_true(weft_hist_mean(h) == 0);
		weft_hist_record(h, 77);
		weft_hist_record_n(h, 88, 3);
		weft_hist_record_n(h, 5, 0);
		assert_int_equal(weft_hist_count(h), 4);
		assert_int_equal(weft_hist_min(h), 77);
		assert_int_equal(weft_hist_percentile(h, 25), 77);
		assert_int_equal(weft_hist_percentile(h, 26), 88);
		weft_hist_reset(h);
	}
}

static void test_saturation(void **state)
{
	_cleanup_(weft_hist_freep) struct weft_hist *h = NULL;

	(void)state;
	assert_int_equal(weft_hist_new(2, 1000, &h), 0);
	weft_hist_record(h, 1000);
	weft_hist_record(h, 1001);
	weft_hist_record(h, UINT64_MAX);
	assert_int_equal(weft_hist_saturated(h), 2);
	assert_int_equal(weft_hist_max(h), 1000);
	assert_int_equal(weft_hist_percentile(h, 50), 1000);
}

static void test_merge(void **state)
{
	_cleanup_(weft_hist_freep) struct weft_hist *all = NULL, *sum = NULL, *other = NULL;
	unsigned short seed[3] = {9, 9, 9};

	(void)state;
	assert_int_equal(weft_hist_new(3, WEFT_HIST_HOUR_NS, &all), 0);
	assert_int_equal(weft_hist_new(3, WEFT_HIST_HOUR_NS, &sum), 0);
	assert_int_equal(weft_hist_new(2, WEFT_HIST_HOUR_NS, &other), 0);
	assert_int_equal(weft_hist_merge(sum, other), -EINVAL);
	for (int part = 0; part < 4; part++) {
		_cleanup_(weft_hist_freep) struct weft_hist *h = NULL;

		assert_int_equal(weft_hist_new(3, WEFT_HIST_HOUR_NS, &h), 0);
		for (int i = 0; part && i < 5000; i++) {
			uint64_t v = log_normal(seed);

			weft_hist_record(h, v);
			weft_hist_record(all, v);
		}
		assert_int_equal(weft_hist_merge(sum, h), 0);
	}
	assert_int_equal(weft_hist_count(sum), weft_hist_count(all));
	assert_int_equal(weft_hist_min(sum), weft_hist_min(all));
	assert_int_equal(weft_hist_max(sum), weft_hist_max(all));
	assert_true(weft_hist_mean(sum) == weft_hist_mean(all));
	for (size_t i = 0; i < ARRAY_SIZE(points); i++)
		assert_int_equal(
			weft_hist_percentile(sum, points[i]), weft_hist_percentile(all, points[i]));
}

static void test_json(void **state)
{
	_cleanup_(weft_hist_freep) struct weft_hist *h = NULL;
	json_auto_t *doc = NULL;
	json_t *buckets;

	(void)state;
	assert_int_equal(weft_hist_new(3, WEFT_HIST_HOUR_NS, &h), 0);
	weft_hist_record_n(h, 1500, 3);
	weft_hist_record(h, 2000000);
	doc = weft_hist_json(h, 0.001);
	assert_non_null(doc);
	assert_int_equal(json_integer_value(json_object_get(doc, "count")), 4);
	assert_true(json_real_value(json_object_get(doc, "max")) == 2000);
	buckets = json_object_get(doc, "buckets");
	assert_int_equal(json_array_size(buckets), 2);
	assert_true(json_real_value(json_array_get(json_array_get(buckets, 0), 0)) == 1.5);
	assert_int_equal(json_integer_value(json_array_get(json_array_get(buckets, 0), 1)), 3);
}

static void test_arguments(void **state)
{
	struct weft_hist *h = (struct weft_hist *)1;

	(void)state;
	assert_int_equal(weft_hist_new(0, 1000, &h), -EINVAL);
	assert_int_equal(weft_hist_new(6, WEFT_HIST_HOUR_NS, &h), -EINVAL);
	assert_int_equal(weft_hist_new(3, 1999, &h), -EINVAL);
	assert_int_equal(weft_hist_new(3, 1ULL << 62, &h), -EINVAL);
	assert_ptr_equal(h, (struct weft_hist *)1);
	weft_hist_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_percentiles),
		cmocka_unit_test(test_exact_below_resolution),
		cmocka_unit_test(test_edges),
		cmocka_unit_test(test_ranks),
		cmocka_unit_test(test_empty_and_reset),
		cmocka_unit_test(test_saturation),
		cmocka_unit_test(test_merge),
		cmocka_unit_test(test_json),
		cmocka_unit_test(test_arguments),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
