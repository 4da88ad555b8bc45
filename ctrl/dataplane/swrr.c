/* SPDX-License-Identifier: Apache-2.0 */
/* Smooth weighted round robin, as nginx has it: every turn each candidate gains its weight, the
 * richest is taken and pays the sum. After sum/gcd turns all are back at 0, so this is the whole
 * sequence; among all orders it keeps every prefix within one turn of the exact shares. */
#include <errno.h>
#include <stdlib.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/dataplane/dataplane.h"

static uint32_t gcd(uint32_t a, uint32_t b)
{
	while (b) {
		uint32_t t = a % b;

		a = b;
		b = t;
	}
	return a;
}

/* What it comes to when all weights are alike, without the work of n * n steps. */
static int in_turn(const struct weft_dp_weight *w, unsigned n, uint16_t *ret)
{
	int period = 0;

	for (unsigned i = 0; i < n; i++)
		if (w[i].weight)
			ret[period++] = (uint16_t)i;
	return period;
}

/* Of two candidates, as in a swap, each has what the other lacks: one credit tells both. */
static int by_turns_of_two(const struct weft_dp_weight *w, uint16_t *ret, int period)
{
	int64_t sum = (int64_t)w[0].weight + w[1].weight, credit = 0;

	for (int turn = 0; turn < period; turn++) {
		bool first;

		credit += w[0].weight;
		first = 2 * credit >= sum;
		credit -= first ? sum : 0;
		ret[turn] = !first;
	}
	return period;
}

int weft_dp_swrr(const struct weft_dp_weight *w, unsigned n, uint16_t *ret, unsigned max)
{
	_cleanup_(freep) int64_t *credit = NULL;
	uint64_t sum = 0, period;
	uint32_t unit = 0, most = 0;

	for (unsigned i = 0; i < n; i++) {
		sum += w[i].weight;
		unit = gcd(unit, w[i].weight);
		if (w[i].weight > most)
			most = w[i].weight;
	}
	if (!sum)
		return 0;
	period = sum / unit;
	if (n > UINT16_MAX || period > max)
		return -E2BIG;
	if (most == unit)
		return in_turn(w, n, ret);
	if (n == 2)
		return by_turns_of_two(w, ret, (int)period);
	credit = calloc(n, sizeof(*credit));
	if (!credit)
		return -ENOMEM;

	for (unsigned turn = 0; turn < period; turn++) {
		int64_t top = INT64_MIN;
		unsigned best = 0;

		/* Without branches: nobody could predict them. */
		for (unsigned i = 0; i < n; i++) {
			int64_t c = credit[i] += w[i].weight;
			bool richer = c > top;

			top = richer ? c : top;
			best = richer ? i : best;
		}
		credit[best] -= (int64_t)sum;
		ret[turn] = (uint16_t)best;
	}
	return (int)period;
}
