/* SPDX-License-Identifier: Apache-2.0 */
/* Smooth weighted round robin: exact over a period, and even within it, for any weights. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ctrl/dataplane/dataplane.h"

#define MAX 4096

static uint32_t gcd(uint32_t a, uint32_t b)
{
	return b ? gcd(b, a % b) : a;
}

static void known_sequences(void **state)
{
	const struct weft_dp_weight nginx[] = {{1, 5}, {2, 1}, {3, 1}};
	const struct weft_dp_weight one[] = {{9, 700}};
	const struct weft_dp_weight equal[] = {{1, 50}, {2, 50}, {3, 0}, {4, 50}};
	uint16_t ret[MAX];

	(void)state;
	assert_int_equal(weft_dp_swrr(nginx, 3, ret, MAX), 7);
	assert_memory_equal(ret, ((uint16_t[]){0, 0, 1, 0, 2, 0, 0}), 7 * sizeof(*ret));
	assert_int_equal(weft_dp_swrr(one, 1, ret, MAX), 1);
	assert_int_equal(ret[0], 0);
	assert_int_equal(weft_dp_swrr(equal, 4, ret, MAX), 3);
	assert_memory_equal(ret, ((uint16_t[]){0, 1, 3}), 3 * sizeof(*ret));
}

static void nothing_and_too_much(void **state)
{
	struct weft_dp_weight w[] = {{1, 0}, {2, 0}};
	uint16_t ret[4] = {7, 7, 7, 7};

	(void)state;
	assert_int_equal(weft_dp_swrr(NULL, 0, ret, 4), 0);
	assert_int_equal(weft_dp_swrr(w, 2, ret, 4), 0);
	w[0].weight = 2;
	w[1].weight = 3;
	assert_int_equal(weft_dp_swrr(w, 2, ret, 4), -E2BIG);
	assert_int_equal(ret[0], 7);
}

/* In every prefix each one's turns differ from its exact share by less than what the smooth order
 * promises: never a whole turn short with two candidates, never n/2 turns with n. */
static void random_weights(void **state)
{
	static uint16_t ret[MAX];

	(void)state;
	srand(20250406);
	for (int round = 0; round < 2000; round++) {
		struct weft_dp_weight w[16];
		unsigned n = 1 + (unsigned)rand() % 16, got[16] = {0};
		uint32_t sum = 0, unit = 0;
		int length;

		for (unsigned i = 0; i < n; i++) {
			w[i].instance = i + 1;
			w[i].weight = (uint32_t)rand() % (round % 3 ? 100 : 1001);
			sum += w[i].weight;
			unit = gcd(unit, w[i].weight);
		}
		length = weft_dp_swrr(w, n, ret, MAX);
		if (!sum) {
			assert_int_equal(length, 0);
			continue;
		}
		if (sum / unit > MAX) {
			assert_int_equal(length, -E2BIG);
			continue;
		}
		assert_int_equal(length, sum / unit);
		for (int turn = 0; turn < length; turn++) {
			assert_in_range(ret[turn], 0, n - 1);
			got[ret[turn]]++;
			for (unsigned i = 0; i < n; i++) {
				double exact = (double)(turn + 1) * w[i].weight / sum;
				double off = (double)got[i] - exact;

				assert_true(off < 1.0);
				assert_true(off > (n <= 2 ? -1.0 : -(double)n / 2));
			}
		}
		for (unsigned i = 0; i < n; i++)
			assert_int_equal(got[i], w[i].weight / unit);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_sequences),
		cmocka_unit_test(nothing_and_too_much),
		cmocka_unit_test(random_weights),
	};

	return cmocka_run_group_tests_name("swrr", tests, NULL, NULL);
}
