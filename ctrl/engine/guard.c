/* SPDX-License-Identifier: Apache-2.0 */
/* The guard of a swap: some times a second, what the data plane has counted for the new instances
 * since they began and for the old ones since the swap did. And what each phase did to them. */
#include <errno.h>
#include <string.h>

#include "ctrl/engine/internal.h"

#define LOOK_NS (WEFT_GUARD_PATIENCE_MS * 1000000ULL / GUARD_PAST)

void guard_count(const struct instance *inst, struct weft_guard_count *ret)
{
	struct weft_runtime_stats stats;

	memset(ret, 0, sizeof(*ret));
	if (inst->ifindex) /* else these are still who had the id before */
		weft_dp_instance_quality(inst->engine->dp, inst->id, &ret->quality);
	instance_stats(inst, &stats);
	ret->cpu_ns = stats.cpu_ns + stats.helper_cpu_ns;
}

static bool is_coming(enum weft_swap_side side)
{
	return side == WEFT_SWAP_COMING || side == WEFT_SWAP_NEW;
}

/* New ones are judged by all that they ever did, also when we have not seen it ourselves. */
void guard_begin(struct service *s)
{
	for (struct instance *i = s->engine->instances; i; i = i->next) {
		if (i->service != s)
			continue;
		guard_count(i, &i->guard.phase);
		memset(&i->guard.base, 0, sizeof(i->guard.base));
		if (!is_coming(weft_swap_side(s->swap, i->name)))
			i->guard.base = i->guard.phase;
		i->guard.looks = 0;
	}
	s->guard_ns = 0;
}

static bool counts(const struct instance *inst)
{
	return inst->phase == PHASE_READY || inst->phase == PHASE_DRAINING;
}

/* What the phase under way has done to both sides so far; next: the count for the one after it. */
static void phase_sums(const struct service *s, struct weft_guard_sum *old,
	struct weft_guard_sum *coming, bool next)
{
	for (struct instance *i = s->engine->instances; i; i = i->next) {
		enum weft_swap_side side = weft_swap_side(s->swap, i->name);
		struct weft_guard_count now;

		if (i->service != s || side == WEFT_SWAP_NONE)
			continue;
		guard_count(i, &now);
		weft_guard_add(is_coming(side) ? coming : old, &i->guard.phase, &now);
		if (next)
			i->guard.phase = now;
	}
}

void guard_phase_ends(struct service *s, struct weft_swap_phase *phase)
{
	struct weft_guard_sum old = {0}, coming = {0};

	phase_sums(s, &old, &coming, true);
	phase->old = weft_guard_effect(&old);
	phase->coming = weft_guard_effect(&coming);
}

void guard_phase_so_far(
	const struct service *s, struct weft_guard_effect *old, struct weft_guard_effect *coming)
{
	struct weft_guard_sum olds = {0}, comings = {0};

	phase_sums(s, &olds, &comings, false);
	*old = weft_guard_effect(&olds);
	*coming = weft_guard_effect(&comings);
}

static void look_at(struct instance *inst, struct weft_guard_sum *sum)
{
	struct guard *g = &inst->guard;
	struct weft_guard_count now, *past = &g->past[g->looks % GUARD_PAST];

	guard_count(inst, &now);
	weft_guard_add(sum, &g->base, &now);
	if (g->looks >= GUARD_PAST)
		weft_guard_wait(sum, &g->base, past, &now);
	*past = now;
	g->looks++;
}

void guard_tick(struct service *s, uint64_t now)
{
	struct weft_guard_sum old = {0}, coming = {0};
	struct weft_swap *swap = s->swap;
	struct weft_err why = {0};

	if ((swap->state != WEFT_SWAP_SHIFT && swap->state != WEFT_SWAP_DRAIN) ||
		swap->error.code || swap->plan.handover || now < s->guard_ns)
		return;
	s->guard_ns = now + LOOK_NS;
	for (struct instance *i = s->engine->instances; i; i = i->next) {
		enum weft_swap_side side = weft_swap_side(swap, i->name);

		if (i->service == s && side != WEFT_SWAP_NONE && counts(i))
			look_at(i, is_coming(side) ? &coming : &old);
	}
	if (!weft_guard_judge(&swap->plan.guard, &old, &coming, &why))
		return;
	weft_err_prefix(&why, "service %s as %s", s->name, weft_virt_name(swap->to));
	weft_err_hint(&why, "weft swap show %s; a guard that allows more: weft swap start --guard",
		swap->id);
	swap_turn_back(s, &why);
}
