/* SPDX-License-Identifier: Apache-2.0 */
/* What people ask of swaps: begin, pause, go on, turn back. */
#include <errno.h>
#include <string.h>

#include "ctrl/base/log.h"
#include "ctrl/engine/internal.h"

static int check_start(struct weft_engine *e, const struct weft_swap_request *q,
	struct service **ret_s, enum weft_virt *ret_to, struct weft_err *err)
{
	struct service *s = service_find(e, q->service);
	int to = weft_virt_parse(q->to);
	const struct weft_sla_variant *v;
	enum weft_arch arch;

	if (!s) {
		weft_err_set(err, ENOENT, "service %s: no such service", q->service);
		return weft_err_hint(err, "weft service list");
	}
	if (s->deleting)
		return weft_err_set(err, EBUSY, "service %s is being deleted", s->name);
	if (s->swap) {
		weft_err_set(err, EBUSY, "service %s: swap %s is running already (%s → %s, %s)",
			s->name, s->swap->id, weft_virt_name(s->swap->from),
			weft_virt_name(s->swap->to), weft_swap_state_name(s->swap->state));
		return weft_err_hint(
			err, "weft swap watch %s, or weft swap abort %s", s->swap->id, s->swap->id);
	}
	if (to < 0) {
		weft_err_set(err, EINVAL, "\"%s\" is not a virtualization", q->to);
		return weft_err_hint(err, "container, gvisor, unikernel or native");
	}
	v = service_variant(s, (enum weft_virt)to);
	if (!v) {
		char have[128] = "";

		for (size_t i = 0; i < s->spec->n_variants; i++)
			snprintf(have + strlen(have), sizeof(have) - strlen(have), "%s%s",
				i ? ", " : "", weft_virt_name(s->spec->variants[i].virt));
		weft_err_set(err, ENOENT, "service %s has no variant %s (it has: %s)", s->name,
			weft_virt_name((enum weft_virt)to), have);
		return weft_err_hint(
			err, "add it under \"variants\" and apply the descriptor again");
	}
	if (s->spec->swap.handover && s->spec->replicas != 1) {
		weft_err_set(err, ENOTSUP,
			"service %s has %u replicas: what one of them keeps can be handed over to "
			"one other only",
			s->name, s->spec->replicas);
		return weft_err_hint(err, "weft service scale %s 1", s->name);
	}
	if (s->handover)
		return weft_err_set(
			err, EBUSY, "service %s: its last handover is being undone", s->name);
	if (s->active == v->virt) {
		weft_err_set(err, EEXIST, "service %s runs as %s already", s->name,
			weft_virt_name(v->virt));
		return weft_err_hint(err, "weft service show %s", s->name);
	}
	*ret_s = s;
	*ret_to = v->virt;
	if (!engine_runtime(e, v->virt)->probed)
		return 0; /* just started: prepare will tell */
	return engine_place(e, s, v, &arch, err);
}

/* What the request says in the place of what the service says. */
static int override(
	int64_t given, uint32_t max, const char *what, uint32_t *ret, struct weft_err *err)
{
	if (given > (int64_t)max)
		return weft_err_set(err, EINVAL, "swap: %s is at most %u, is %lld", what, max,
			(long long)given);
	if (given >= 0)
		*ret = (uint32_t)given;
	return 0;
}

static int fill_numbers(
	const struct weft_swap_request *q, struct weft_sla_swap *plan, struct weft_err *err)
{
	const struct {
		int64_t given;
		uint32_t max;
		const char *what;
		uint32_t *field;
	} all[] = {
		{q->duration_ms, 3600000, "duration_ms", &plan->duration_ms},
		{q->drain_ms, 3600000, "drain_ms", &plan->drain_ms},
		{q->hold_ms, 3600000, "hold_ms", &plan->hold_ms},
		{q->at_a_time, WEFT_SWAP_MAX_INSTANCES, "at_a_time", &plan->batch},
		{q->guard_requests, 1000000, "guard.min_requests", &plan->guard.min_requests},
		{q->guard_errors, 100, "guard.error_percent", &plan->guard.error_percent},
		{q->guard_latency, 100000, "guard.latency_percent", &plan->guard.latency_percent},
		{q->guard_probes, 100, "guard.probe_failures", &plan->guard.probe_failures},
	};
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(all) && r == 0; i++)
		r = override(all[i].given, all[i].max, all[i].what, all[i].field, err);
	return r;
}

static int fill_plan(const struct weft_swap_request *q, const struct service *s,
	struct weft_sla_swap *plan, struct weft_err *err)
{
	int strategy;

	*plan = s->spec->swap;
	if (q->strategy) {
		strategy = weft_shift_strategy_parse(q->strategy);
		if (strategy < 0) {
			weft_err_set(err, EINVAL, "\"%s\" is not a strategy", q->strategy);
			return weft_err_hint(err, "%s", weft_shift_strategies);
		}
		plan->strategy = (enum weft_shift_strategy)strategy;
	}
	if (q->steps && weft_sla_steps_parse(q->steps, plan) < 0) {
		weft_err_set(err, EINVAL, "\"%s\" are no canary steps", q->steps);
		return weft_err_hint(err, "rising percentages below 100: 5,25,50");
	}
	if (plan->handover) {
		plan->strategy = WEFT_SHIFT_AT_ONCE;
		plan->batch = 0;
	}
	return fill_numbers(q, plan, err);
}

int weft_engine_swap_start(struct weft_engine *e, const struct weft_swap_request *q, json_t **ret,
	struct weft_err *err)
{
	_cleanup_(weft_swap_freep) struct weft_swap *swap = calloc(1, sizeof(*swap));
	struct service *s = NULL;
	enum weft_virt to = 0;
	int r;

	if (!swap)
		return weft_err_set(err, ENOMEM, "out of memory");
	r = check_start(e, q, &s, &to, err);
	if (r == 0)
		r = fill_plan(q, s, &swap->plan, err);
	if (r < 0)
		return r;
	swap->started_ms = weft_realtime_ms();
	snprintf(swap->id, sizeof(swap->id), "%08lx",
		(unsigned long)((swap->started_ms ^ (uint64_t)s->id << 20) & 0xffffffff));
	snprintf(swap->service, sizeof(swap->service), "%s", s->name);
	swap->from = s->active;
	swap->to = to;
	swap->wanted = s->spec->replicas;
	for (struct instance *i = e->instances; i; i = i->next)
		if (i->service == s && !i->borrowed && swap->n_old < WEFT_SWAP_MAX_INSTANCES)
			swap->old_ids[swap->n_old++] = strdup(i->name);
	weft_swap_enter(swap, WEFT_SWAP_PREPARE, swap->started_ms);
	weft_swap_mark(swap, 0, swap->started_ms);
	s->swap = TAKE_PTR(swap);
	r = swap_store(s, err);
	if (r < 0) {
		weft_swap_free(TAKE_PTR(s->swap));
		return r;
	}
	s->swap_entered_ns = weft_now_ns();
	s->swap_base_ms = 0;
	s->swap_prepared = false;
	s->swap_retry_ns = 0;
	guard_begin(s);
	log_info("swap %s: %s: %s to %s", s->swap->id, s->name, weft_virt_name(s->swap->from),
		weft_virt_name(to));
	swap_say(s);
	engine_kick(e);
	*ret = view_swap(s, s->swap);
	return 0;
}

/* The service that runs this swap; or NULL with why not. */
static struct service *running(struct weft_engine *e, const char *id, struct weft_err *err)
{
	for (struct service *s = e->services; s; s = s->next)
		if (s->swap && strcmp(s->swap->id, id) == 0)
			return s;
	for (unsigned i = 0; i < e->n_swaps; i++)
		if (strcmp(e->swaps[i]->id, id) == 0) {
			weft_err_set(err, EBUSY, "swap %s has ended already (%s)", id,
				weft_swap_state_name(e->swaps[i]->state));
			return NULL;
		}
	weft_err_set(err, ENOENT, "swap %s: no such swap", id);
	weft_err_hint(err, "weft swap list");
	return NULL;
}

int weft_engine_swap_abort(
	struct weft_engine *e, const char *id, json_t **ret, struct weft_err *err)
{
	struct service *s = running(e, id, err);
	struct weft_err why = {0}, before;
	int r;

	if (!s)
		return -err->code;
	if (!weft_swap_can_turn_back(s->swap->state, &s->swap->plan) &&
		s->swap->state <= WEFT_SWAP_STOP_OLD) {
		weft_err_set(err, EBUSY, "swap %s cannot be turned back any more: %s", id,
			s->swap->plan.handover ? "the new instance has taken over what it keeps"
					       : "the old instances are being removed");
		return weft_err_hint(err, "when it is done: weft swap rollback %s", id);
	}
	before = s->swap->error;
	weft_err_set(&why, ECANCELED, "aborted by hand");
	swap_turn_back(s, &why);
	r = swap_store(s, err);
	if (r < 0) {
		s->swap->error = before;
		return r;
	}
	engine_kick(e);
	*ret = view_swap(s, s->swap);
	return 0;
}

static int set_paused(
	struct weft_engine *e, const char *id, bool paused, json_t **ret, struct weft_err *err)
{
	struct service *s = running(e, id, err);
	uint64_t now = weft_now_ns();
	int r;

	if (!s)
		return -err->code;
	if (paused && !weft_swap_can_turn_back(s->swap->state, &s->swap->plan))
		return weft_err_set(err, EBUSY, "swap %s cannot be paused any more (%s)", id,
			weft_swap_state_name(s->swap->state));
	if (s->swap->paused != paused) {
		/* The clock stops where it is, and goes on from there. */
		s->swap_base_ms = swap_in_state_ms(s, now);
		s->swap_entered_ns = now;
		s->swap->state_ms = s->swap_base_ms;
		s->swap->paused = paused;
		r = swap_store(s, err);
		if (r < 0) {
			s->swap->paused = !paused;
			return r;
		}
		log_info("swap %s: %s", id, paused ? "paused" : "goes on");
		weft_events_add(e->events, "swap", paused ? "paused" : "resumed", id,
			json_pack("{s:s}", "service", s->name));
		engine_kick(e);
	}
	*ret = view_swap(s, s->swap);
	return 0;
}

int weft_engine_swap_pause(
	struct weft_engine *e, const char *id, json_t **ret, struct weft_err *err)
{
	return set_paused(e, id, true, ret, err);
}

int weft_engine_swap_resume(
	struct weft_engine *e, const char *id, json_t **ret, struct weft_err *err)
{
	return set_paused(e, id, false, ret, err);
}

/* A running one is turned back; one that is done is followed by one the other way, at once. */
int weft_engine_swap_rollback(
	struct weft_engine *e, const char *id, json_t **ret, struct weft_err *err)
{
	struct weft_swap_request back = WEFT_SWAP_REQUEST_DEFAULT;
	const struct weft_swap *done = NULL;
	struct service *s;

	for (unsigned i = 0; i < e->n_swaps; i++)
		if (strcmp(e->swaps[i]->id, id) == 0)
			done = e->swaps[i];
	if (!done)
		return weft_engine_swap_abort(e, id, ret, err);
	if (done->state != WEFT_SWAP_DONE)
		return weft_err_set(err, EBUSY, "swap %s was turned back already", id);
	s = service_find(e, done->service);
	if (s && s->active != done->to)
		return weft_err_set(err, EBUSY, "swap %s: %s does not run as %s any more", id,
			s->name, weft_virt_name(done->to));
	back.service = done->service;
	back.to = weft_virt_name(done->from);
	back.strategy = weft_shift_strategy_name(WEFT_SHIFT_AT_ONCE);
	return weft_engine_swap_start(e, &back, ret, err);
}
