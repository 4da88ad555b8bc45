/* SPDX-License-Identifier: Apache-2.0 */
/* What a plan says about a moment: shares, and who is swapped with whom. */
#include <math.h>
#include <string.h>

#include "ctrl/base/util.h"
#include "ctrl/swap/swap.h"

unsigned weft_swap_share(const struct weft_sla_swap *plan, uint64_t elapsed_ms)
{
	double part;

	if (plan->strategy == WEFT_SHIFT_AT_ONCE || plan->strategy == WEFT_SHIFT_BLUE_GREEN)
		return 100;
	if (weft_swap_shifted(plan, elapsed_ms))
		return 100;
	if (plan->strategy == WEFT_SHIFT_CANARY)
		return plan->steps[elapsed_ms / plan->hold_ms];
	part = (double)elapsed_ms / plan->duration_ms;
	if (plan->strategy == WEFT_SHIFT_EXPONENTIAL)
		return (unsigned)(pow(101.0, part) - 1.0);
	return (unsigned)(part * 100.0);
}

uint64_t weft_swap_shift_ms(const struct weft_sla_swap *plan)
{
	switch (plan->strategy) {
	case WEFT_SHIFT_CANARY:
		return (uint64_t)plan->n_steps * plan->hold_ms;
	case WEFT_SHIFT_BLUE_GREEN:
		return plan->hold_ms;
	case WEFT_SHIFT_AT_ONCE:
		return 0;
	default:
		return plan->duration_ms;
	}
}

bool weft_swap_shifted(const struct weft_sla_swap *plan, uint64_t elapsed_ms)
{
	return elapsed_ms >= weft_swap_shift_ms(plan);
}

enum weft_swap_side weft_swap_side(const struct weft_swap *s, const char *instance)
{
	for (unsigned i = 0; i < s->n_new; i++)
		if (strcmp(s->new_ids[i], instance) == 0)
			return i < s->new_first ? WEFT_SWAP_NEW : WEFT_SWAP_COMING;
	for (unsigned i = 0; i < s->n_old; i++)
		if (strcmp(s->old_ids[i], instance) == 0)
			return i >= s->old_first && i < s->old_end ? WEFT_SWAP_LEAVING
								   : WEFT_SWAP_OLD;
	return WEFT_SWAP_NONE;
}

unsigned weft_swap_batch_size(const struct weft_swap *s)
{
	unsigned left = s->wanted > s->new_first ? s->wanted - s->new_first : 0;

	return s->plan.batch && s->plan.batch < left ? s->plan.batch : left;
}

bool weft_swap_has_more(const struct weft_swap *s)
{
	return s->new_first + weft_swap_batch_size(s) < s->wanted;
}

void weft_swap_next_batch(struct weft_swap *s)
{
	unsigned size;

	s->new_first = s->n_new;
	s->old_first = s->old_end;
	size = weft_swap_batch_size(s);
	s->old_end = s->old_first + size;
	if (s->old_end > s->n_old || !weft_swap_has_more(s))
		s->old_end = s->n_old;
}

unsigned weft_swap_overall(const struct weft_swap *s)
{
	unsigned size = weft_swap_batch_size(s);

	return s->wanted ? (s->new_first * 100 + size * s->batch_percent) / s->wanted
			 : s->batch_percent;
}

uint64_t weft_swap_part(enum weft_swap_side side, unsigned percent, uint64_t weight,
	uint64_t leaving, uint64_t coming)
{
	/* A side that has nobody left leaves everything to the other. */
	if (leaving == 0 || coming == 0)
		return weight;
	switch (side) {
	case WEFT_SWAP_LEAVING:
		return weight * (100 - percent) * coming;
	case WEFT_SWAP_COMING:
		return weight * percent * leaving;
	default:
		return weight * 100 * coming;
	}
}
