/* SPDX-License-Identifier: Apache-2.0 */
#include "ctrl/swap/swap.h"

#include <errno.h>
#include <string.h>

#include "ctrl/base/util.h"

static const char *const state_names[] = {
	[WEFT_SWAP_PREPARE] = "prepare",
	[WEFT_SWAP_START_NEW] = "start-new",
	[WEFT_SWAP_WARM] = "warm",
	[WEFT_SWAP_SHIFT] = "shift",
	[WEFT_SWAP_DRAIN] = "drain",
	[WEFT_SWAP_STOP_OLD] = "stop-old",
	[WEFT_SWAP_DONE] = "done",
	[WEFT_SWAP_ROLLBACK] = "rollback",
	[WEFT_SWAP_ROLLED_BACK] = "rolled-back",
};
_Static_assert(ARRAY_SIZE(state_names) == WEFT_SWAP_STATE_COUNT, "a name for every state");

const char *weft_swap_state_name(enum weft_swap_state s)
{
	return s < ARRAY_SIZE(state_names) ? state_names[s] : "unknown";
}

int weft_swap_state_parse(const char *s)
{
	for (size_t i = 0; i < ARRAY_SIZE(state_names); i++)
		if (strcmp(s, state_names[i]) == 0)
			return (int)i;
	return -EINVAL;
}

bool weft_swap_ended(enum weft_swap_state s)
{
	return s == WEFT_SWAP_DONE || s == WEFT_SWAP_ROLLED_BACK;
}

bool weft_swap_can_turn_back(enum weft_swap_state s, const struct weft_sla_swap *plan)
{
	return s <= (plan->handover ? WEFT_SWAP_WARM : WEFT_SWAP_DRAIN);
}

enum weft_swap_state weft_swap_next(enum weft_swap_state state, const struct weft_sla_swap *plan,
	unsigned wanted, const struct weft_swap_observation *o)
{
	if (o->failed && weft_swap_can_turn_back(state, plan))
		return WEFT_SWAP_ROLLBACK;
	if (o->paused && weft_swap_can_turn_back(state, plan))
		return state;
	switch (state) {
	case WEFT_SWAP_PREPARE:
		return o->prepared ? WEFT_SWAP_START_NEW : state;
	case WEFT_SWAP_START_NEW:
		return o->new_running >= wanted ? WEFT_SWAP_WARM : state;
	case WEFT_SWAP_WARM:
		return o->new_ready >= wanted && (!plan->handover || o->handed_over)
			       ? WEFT_SWAP_SHIFT
			       : state;
	case WEFT_SWAP_SHIFT:
		return weft_swap_shifted(plan, o->state_ms) ? WEFT_SWAP_DRAIN : state;
	case WEFT_SWAP_DRAIN:
		return o->old_flows == 0 || o->state_ms >= plan->drain_ms ? WEFT_SWAP_STOP_OLD
									  : state;
	case WEFT_SWAP_STOP_OLD:
		if (o->old_left)
			return state;
		return o->more ? WEFT_SWAP_START_NEW : WEFT_SWAP_DONE;
	case WEFT_SWAP_ROLLBACK:
		return o->new_total == 0 ? WEFT_SWAP_ROLLED_BACK : state;
	case WEFT_SWAP_DONE:
	case WEFT_SWAP_ROLLED_BACK:
	case WEFT_SWAP_STATE_COUNT:
		break;
	}
	return state;
}

void weft_swap_free(struct weft_swap *s)
{
	if (!s)
		return;
	for (unsigned i = 0; i < s->n_old; i++)
		free(s->old_ids[i]);
	for (unsigned i = 0; i < s->n_new; i++)
		free(s->new_ids[i]);
	free(s);
}

void weft_swap_enter(struct weft_swap *s, enum weft_swap_state state, uint64_t now_ms)
{
	if (s->n_phases > 0 && s->phases[s->n_phases - 1].ended_ms == 0)
		s->phases[s->n_phases - 1].ended_ms = now_ms;
	s->state = state;
	s->state_ms = 0;
	if (weft_swap_ended(state)) {
		s->ended_ms = now_ms;
		return;
	}
	if (s->n_phases == WEFT_SWAP_MAX_PHASES) {
		memmove(s->phases, s->phases + 1,
			(WEFT_SWAP_MAX_PHASES - 1) * sizeof(s->phases[0]));
		s->n_phases--;
	}
	s->phases[s->n_phases++] = (struct weft_swap_phase){.state = state, .started_ms = now_ms};
}

void weft_swap_mark(struct weft_swap *s, unsigned percent, uint64_t now_ms)
{
	unsigned overall;

	s->batch_percent = (uint8_t)percent;
	overall = weft_swap_overall(s);
	if (s->n_trace > 0 && s->trace[s->n_trace - 1].new_percent == overall)
		return;
	if (s->n_trace == WEFT_SWAP_MAX_TRACE) {
		for (unsigned i = 0; i < WEFT_SWAP_MAX_TRACE / 2; i++)
			s->trace[i] = s->trace[2 * i];
		s->n_trace = WEFT_SWAP_MAX_TRACE / 2;
	}
	s->trace[s->n_trace++] = (struct weft_swap_mark){now_ms, (uint8_t)overall};
}
