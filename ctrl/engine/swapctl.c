/* SPDX-License-Identifier: Apache-2.0 */
/* Swaps carried out: observe, ask weft_swap_next(), store the edge, act on it. */
#include <errno.h>
#include <string.h>

#include "ctrl/base/log.h"
#include "ctrl/engine/internal.h"

/* The data plane's slot tables rest for 100 ms between two flips; sooner, a flip has to wait. */
#define SHIFT_EVERY_NS 110000000ULL
#define STORE_AGAIN_NS 1000000000ULL

/* Time stands still while a swap is paused. */
uint64_t swap_in_state_ms(const struct service *s, uint64_t now)
{
	if (s->swap->paused)
		return s->swap_base_ms;
	return s->swap_base_ms + (now - s->swap_entered_ns) / 1000000ULL;
}

int swap_store(struct service *s, struct weft_err *err)
{
	json_auto_t *doc = weft_swap_to_json(s->swap);

	return weft_store_put(s->engine->store, "swap", s->swap->id, doc, err);
}

void swap_say(const struct service *s)
{
	const struct weft_swap *swap = s->swap;
	const char *error = swap->error.code ? swap->error.msg : NULL;

	weft_events_add(s->engine->events, "swap", weft_swap_state_name(swap->state), swap->id,
		json_pack("{s:s, s:s, s:s, s:s*}", "service", s->name, "from",
			weft_virt_name(swap->from), "to", weft_virt_name(swap->to), "error",
			error));
}

/* Ended swaps stay for people to look at, the newest of them. */
void swap_keep(struct weft_engine *e, struct weft_swap *swap)
{
	if (e->n_swaps == MAX_SWAPS_KEPT) {
		struct weft_swap *oldest = e->swaps[0];

		memmove(e->swaps, e->swaps + 1, (MAX_SWAPS_KEPT - 1) * sizeof(e->swaps[0]));
		e->n_swaps--;
		weft_store_del(e->store, "swap", oldest->id, NULL);
		weft_events_add(e->events, "swap", "removed", oldest->id, NULL);
		weft_swap_free(oldest);
	}
	e->swaps[e->n_swaps++] = swap;
}

int swap_restore(void *engine, const char *name, const json_t *doc)
{
	struct weft_engine *e = engine;
	struct weft_swap *swap = NULL;
	struct weft_err err = {0};
	struct service *s;

	if (weft_swap_from_json(doc, &swap, &err) < 0) {
		log_error("stored swap %s cannot be read: %s", name, err.msg);
		return -EBADMSG;
	}
	s = service_find(e, swap->service);
	if (weft_swap_ended(swap->state) || !s) {
		swap_keep(e, swap);
		return 0;
	}
	s->swap = swap;
	return 0;
}

void swap_turn_back(struct service *s, const struct weft_err *why)
{
	if (!s->swap->error.code)
		s->swap->error = *why;
}

static void on_prepared(
	void *userdata, int r, const struct weft_err *err, const char *ref, uint64_t size)
{
	struct service *s = userdata;
	struct weft_swap *swap = s->swap;

	s->swap_preparing = false;
	engine_kick(s->engine);
	if (s->swap_stale || !swap || swap->state != WEFT_SWAP_PREPARE) {
		s->swap_stale = false;
		return;
	}
	if (r < 0) {
		swap_turn_back(s, err);
		return;
	}
	s->swap_prepared = true;
	if (swap->n_phases > 0 && ref && ref[0]) {
		char *detail = swap->phases[swap->n_phases - 1].detail;

		/* A digest is told by its beginning, as people know it from other tools. */
		const char *hex = strstr(ref, "sha256:");
		int shown = hex ? (int)(hex - ref) + 19 : 60;
		bool big = size >= 1 << 20;

		snprintf(detail, sizeof(swap->phases[0].detail), "image %.*s, %.1f %s", shown, ref,
			(double)size / (big ? 1 << 20 : 1 << 10), big ? "MiB" : "KiB");
		weft_text_clean_line(detail);
	}
}

static void prepare(struct service *s)
{
	const struct weft_sla_variant *v = service_variant(s, s->swap->to);
	struct runtime_slot *slot = engine_runtime(s->engine, s->swap->to);
	enum weft_arch arch = weft_arch_host();
	struct weft_err err = {0};
	int r;

	r = v ? engine_place(s->engine, s, v, &arch, &err)
	      : weft_err_set(&err, ENOENT, "service %s has no variant %s any more", s->name,
			weft_virt_name(s->swap->to));
	s->swap_preparing = true;
	if (r == 0)
		r = slot->ops->prepare(slot->rt, v->image[arch], arch, on_prepared, s, &err);
	if (r < 0) {
		if (!err.code)
			weft_err_set(&err, r, "service %s: %s", s->name, strerror(-r));
		on_prepared(s, r, &err, NULL, 0);
	}
}

static void observe_instance(struct instance *inst, struct weft_swap_observation *o)
{
	struct service *s = inst->service;
	enum weft_swap_side side = weft_swap_side(s->swap, inst->name);

	if (side == WEFT_SWAP_LEAVING) {
		o->old_left++;
		o->old_flows += s->engine->flows[inst->id];
	}
	if (side == WEFT_SWAP_COMING) {
		o->new_total++;
		o->new_running += inst->phase == PHASE_WARMING || inst->phase == PHASE_READY;
		o->new_ready += inst->phase == PHASE_READY && !inst->adopted;
	}
	if ((side == WEFT_SWAP_COMING || side == WEFT_SWAP_NEW) && inst->phase == PHASE_FAILED) {
		swap_turn_back(s, &inst->error);
		o->failed = true;
	}
}

static void observe(struct service *s, uint64_t now, struct weft_swap_observation *o)
{
	*o = (struct weft_swap_observation){
		.prepared = s->swap_prepared,
		.state_ms = swap_in_state_ms(s, now),
		.failed = s->swap->error.code != 0,
		.paused = s->swap->paused,
		.more = weft_swap_has_more(s->swap),
		.handed_over = handover_done(s),
	};
	/* What was counted before the weights had moved says nothing about who is left. */
	if (s->swap->state == WEFT_SWAP_DRAIN)
		engine_count_flows(s->engine);
	for (struct instance *i = s->engine->instances; i; i = i->next)
		if (i->service == s)
			observe_instance(i, o);
	/* The old one must not be left refusing writes. */
	o->new_total += s->swap->state == WEFT_SWAP_ROLLBACK && handover_fenced(s);
	/* Its connections are being closed. */
	o->old_flows += s->swap->state == WEFT_SWAP_DRAIN && handover_busy(s);
	if (s->swap->n_new - s->swap->new_first > o->new_total &&
		weft_swap_can_turn_back(s->swap->state, &s->swap->plan)) {
		struct weft_err gone = {0};

		weft_err_set(&gone, EIO, "service %s: an instance of the swap is gone", s->name);
		swap_turn_back(s, &gone);
		o->failed = true;
	}
}

/* Records for the new instances, stored in the transaction that stores the edge. */
static int make_new(struct service *s, struct weft_err *err)
{
	const struct weft_sla_variant *v = service_variant(s, s->swap->to);
	struct weft_swap *swap = s->swap;
	unsigned old;

	weft_swap_next_batch(swap);
	old = swap->old_first;
	for (unsigned left = weft_swap_batch_size(swap); left > 0; left--) {
		struct instance *inst = NULL;
		int r = instance_new(s, v, &inst, err);

		if (r < 0)
			return r;
		swap->new_ids[swap->n_new] = strdup(inst->name);
		if (!swap->new_ids[swap->n_new]) {
			instance_free(inst);
			return weft_err_set(err, ENOMEM, "out of memory");
		}
		hand_inherit(s, inst, old < swap->old_end ? swap->old_ids[old++] : NULL);
		swap->n_new++;
		r = instance_store(inst, err);
		if (r < 0)
			return r;
	}
	return service_store(s, err);
}

static int store_edge(struct service *s, enum weft_swap_state next, struct weft_err *err)
{
	int r = weft_store_begin(s->engine->store, err);
	bool ok;

	if (r < 0)
		return r;
	weft_swap_enter(s->swap, next, weft_realtime_ms());
	if (next == WEFT_SWAP_START_NEW) {
		r = make_new(s, err);
		weft_swap_mark(s->swap, 0, weft_realtime_ms());
	}
	if (next == WEFT_SWAP_DRAIN)
		weft_swap_mark(s->swap, 100, weft_realtime_ms());
	if (next == WEFT_SWAP_ROLLBACK)
		weft_swap_mark(s->swap, 0, weft_realtime_ms());
	if (next == WEFT_SWAP_STOP_OLD && !weft_swap_has_more(s->swap)) {
		s->active = s->swap->to;
		r = service_store(s, err);
	}
	if (r == 0)
		r = swap_store(s, err);
	ok = r == 0;
	r = weft_store_end(s->engine->store, ok, ok ? err : NULL);
	return ok ? r : -EIO;
}

/* The edge could not be stored: be as we were, and try again soon. */
static void undo_edge(struct service *s, const struct weft_swap *before, enum weft_virt active)
{
	for (unsigned i = before->n_new; i < s->swap->n_new; i++) {
		struct instance *inst = instance_find(s->engine, s->swap->new_ids[i]);

		if (inst)
			hand_drop(s, inst);
		instance_free(inst);
		free(s->swap->new_ids[i]);
	}
	*s->swap = *before;
	s->active = active;
}

/* Connections that the shift had given it already are let end, as those of an old instance are. */
static void take_back(struct service *s, struct instance *inst)
{
	hand_drop(s, inst);
	if (inst->phase != PHASE_DRAINING) /* by an earlier daemon */
		instance_retire(inst, s->swap->plan.drain_ms);
}

static void drop(struct instance *inst)
{
	hand_drop(inst->service, inst);
	instance_destroy(inst);
}

static void act(struct service *s)
{
	struct weft_engine *e = s->engine;
	bool start = s->swap->state == WEFT_SWAP_START_NEW;
	bool drop_new = s->swap->state == WEFT_SWAP_ROLLBACK;
	bool drop_old = s->swap->state == WEFT_SWAP_STOP_OLD;
	enum weft_swap_side side;

	service_weigh(s);
	if (s->swap->plan.handover && s->swap->state == WEFT_SWAP_DRAIN)
		handover_flipped(s);
	if (drop_new)
		handover_turned_back(s);
	for (struct instance *i = e->instances, *next; i; i = next) {
		next = i->next;
		if (i->service != s)
			continue;
		side = weft_swap_side(s->swap, i->name);
		if (start && side == WEFT_SWAP_COMING && i->phase == PHASE_PREPARING && !i->busy)
			instance_start(i);
		else if (drop_new && side == WEFT_SWAP_COMING)
			take_back(s, i);
		else if (drop_old && side == WEFT_SWAP_LEAVING)
			drop(i);
	}
	if (weft_swap_ended(s->swap->state)) {
		s->swap_stale = s->swap_preparing;
		swap_keep(e, TAKE_PTR(s->swap));
		service_weigh(s);
	}
}

static bool step(struct service *s, uint64_t now)
{
	struct weft_swap_observation o;
	enum weft_swap_state next;
	enum weft_virt active = s->active;
	struct weft_swap before;
	struct weft_err err = {0};

	observe(s, now, &o);
	next = weft_swap_next(s->swap->state, &s->swap->plan, weft_swap_batch_size(s->swap), &o);
	if (next == s->swap->state)
		return false;
	if (s->swap->state == WEFT_SWAP_DRAIN && s->swap->n_phases > 0)
		snprintf(s->swap->phases[s->swap->n_phases - 1].detail,
			sizeof(s->swap->phases[0].detail),
			o.old_flows ? "deadline: %u flows are reset" : "all flows ended",
			o.old_flows);
	before = *s->swap;
	if (s->swap->n_phases > 0)
		guard_phase_ends(s, &s->swap->phases[s->swap->n_phases - 1]);
	if (store_edge(s, next, &err) < 0) {
		undo_edge(s, &before, active);
		log_error("swap %s: cannot go on to %s, will try again: %s", before.id,
			weft_swap_state_name(next), err.msg);
		s->swap_retry_ns = now + STORE_AGAIN_NS;
		if (weft_swap_can_turn_back(before.state, &before.plan) &&
			next == WEFT_SWAP_START_NEW)
			swap_turn_back(s, &err);
		return false;
	}
	engine_step(s->engine, "swap", weft_swap_state_name(next));
	s->swap_entered_ns = now;
	s->swap_base_ms = 0;
	log_info("swap %s: %s: %s%s%s", s->swap->id, s->name, weft_swap_state_name(next),
		next == WEFT_SWAP_ROLLBACK ? ": " : "",
		next == WEFT_SWAP_ROLLBACK ? s->swap->error.msg : "");
	swap_say(s);
	act(s);
	return s->swap != NULL;
}

static void shift(struct service *s, uint64_t now)
{
	struct weft_swap *swap = s->swap;
	uint64_t elapsed_ms = swap_in_state_ms(s, now);
	unsigned share = weft_swap_share(&swap->plan, elapsed_ms);
	uint8_t before = swap->batch_percent;
	unsigned noted = swap->n_trace;
	struct weft_err err = {0};

	if (share == swap->batch_percent || now < s->shift_ns ||
		weft_swap_shifted(&swap->plan, elapsed_ms))
		return; /* the end is the edge to drain */
	s->shift_ns = now + SHIFT_EVERY_NS;
	swap->state_ms = elapsed_ms;
	weft_swap_mark(swap, share, weft_realtime_ms());
	if (swap_store(s, &err) < 0) {
		log_error("swap %s: stays at %u%%, will try again: %s", swap->id, before, err.msg);
		swap->batch_percent = before;
		swap->n_trace -= swap->n_trace > noted;
		s->shift_ns = now + STORE_AGAIN_NS;
		return;
	}
	service_weigh(s);
}

void swap_tick(struct service *s, uint64_t now)
{
	if (now < s->swap_retry_ns)
		return;
	/* What the runtime can do is not known until its probe has answered; and one answer at a
	 * time is waited for, be it for a swap that was aborted. */
	if (s->swap->state == WEFT_SWAP_PREPARE && !s->swap->error.code && !s->swap_prepared &&
		!s->swap_preparing && engine_runtime(s->engine, s->swap->to)->probed)
		prepare(s);
	if (s->swap->state == WEFT_SWAP_SHIFT)
		shift(s, now);
	guard_tick(s, now);
	handover_tick(s, now);
	/* Drain waits for a turn, and with it for flows counted after the weights have moved. */
	while (s->swap && step(s, now))
		if (s->swap->state == WEFT_SWAP_DRAIN)
			break;
}

void swap_resume(struct service *s)
{
	s->swap_entered_ns = weft_now_ns();
	s->swap_base_ms = s->swap->state_ms;
	guard_begin(s);
	log_info("swap %s: %s: going on from %s", s->swap->id, s->name,
		weft_swap_state_name(s->swap->state));
	act(s);
	if (s->swap)
		handover_resume(s);
}
