/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "ctrl/base/util.h"
#include "sched/prefer.h"

#define NEAR  0.25
#define SLACK 50.0

/* Who is preferred of those with these costs, as bits, when those of before were. */
static unsigned choose(const double *costs, unsigned n, unsigned before)
{
	struct weft_prefer_item items[16];
	unsigned after = 0;

	for (unsigned i = 0; i < n; i++)
		items[i] = (struct weft_prefer_item){costs[i], before >> i & 1};
	weft_prefer(items, n, NEAR, SLACK);
	for (unsigned i = 0; i < n; i++)
		after |= (unsigned)items[i].preferred << i;
	return after;
}
#define CHOOSE(before, ...) \
	choose((double[]){__VA_ARGS__}, ARRAY_SIZE(((double[]){__VA_ARGS__})), before)

static void the_best_and_who_is_nearly_as_good(void **state)
{
	(void)state;
	assert_int_equal(CHOOSE(0, 100), 1);
	assert_int_equal(CHOOSE(0, 100, 1000), 1);
	assert_int_equal(CHOOSE(0, 1000, 100), 2);
	assert_int_equal(CHOOSE(0, 100, 175, 176), 3); /* 100 * 1.25 + 50 */
	assert_int_equal(CHOOSE(0, 0, 0, 0), 7);
	weft_prefer(NULL, 0, NEAR, SLACK);
}

/* Between 175 and 250 both sides stay where they are. */
static void a_measurement_that_trembles_moves_nobody(void **state)
{
	unsigned in = 3, out = 1;

	(void)state;
	for (double cost = 176; cost <= 250; cost++) {
		in = CHOOSE(in, 100, cost);
		out = CHOOSE(out, 100, cost);
		assert_int_equal(in, 3);
		assert_int_equal(out, 1);
	}
	assert_int_equal(CHOOSE(3, 100, 251), 1);
	assert_int_equal(CHOOSE(1, 100, 175), 3);
}

static void who_is_not_known_stays_what_it_is(void **state)
{
	(void)state;
	assert_int_equal(CHOOSE(0, -1, -1), 3); /* nobody is: all of them */
	assert_int_equal(CHOOSE(0, -1, 100), 2);
	assert_int_equal(CHOOSE(1, -1, 100), 3);
}

static void somebody_always_is(void **state)
{
	(void)state;
	srand(7);
	for (int round = 0; round < 10000; round++) {
		double costs[8];
		unsigned before = (unsigned)rand() & 255, after, best = 0;

		for (unsigned i = 0; i < 8; i++)
			costs[i] = rand() % 5 ? rand() % 1000 : -1;
		for (unsigned i = 1; i < 8; i++)
			if (costs[i] >= 0 && (costs[best] < 0 || costs[i] < costs[best]))
				best = i;
		after = choose(costs, 8, before);
		assert_true(after >> best & 1);
		/* and what was chosen is chosen again */
		assert_int_equal(choose(costs, 8, after), after);
	}
}

static void averages_forget(void **state)
{
	double v = -1;

	(void)state;
	v = weft_smooth(v, 100, 0.2);
	assert_true(v == 100);
	v = weft_smooth(v, 200, 0.5);
	assert_true(v == 150);
	for (int i = 0; i < 100; i++)
		v = weft_smooth(v, 10, 0.2);
	assert_true(v > 9.99 && v < 10.01);
}

static void flows_and_cpu_make_the_load(void **state)
{
	(void)state;
	assert_true(weft_load(0, 0, -1) == 0);
	assert_true(weft_load(5, 5, 0) == 1);
	assert_true(weft_load(10, 5, 0.5) == 2.5);
	assert_true(weft_load(1, 0.25, 0) == 1); /* one flow more or less is no load */
	assert_true(weft_load(10, 5, -1) == 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_best_and_who_is_nearly_as_good),
		cmocka_unit_test(a_measurement_that_trembles_moves_nobody),
		cmocka_unit_test(who_is_not_known_stays_what_it_is),
		cmocka_unit_test(somebody_always_is),
		cmocka_unit_test(averages_forget),
		cmocka_unit_test(flows_and_cpu_make_the_load),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
