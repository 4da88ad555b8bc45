/* SPDX-License-Identifier: Apache-2.0 */
/* Swaps carried out: observe, ask weft_swap_next(), store the edge, act on it. */
#include <errno.h>
#include <string.h>

#include "ctrl/base/log.h"
#include "ctrl/engine/internal.h"

/* The data plane's slot tables rest for 100 ms between two flips; sooner, a flip has to wait. */
#define SHIFT_EVERY_NS 110000000ULL
#define STORE_AGAIN_NS 1000000000ULL

static uint64_t in_state_ms(const struct service *s, uint64_t now)
{
	return s->swap_base_ms + (now - s->swap_entered_ns) / 1000000ULL;
}

static int swap_store(struct service *s, struct weft_err *err)
{
	json_auto_t *doc = weft_swap_to_json(s->swap);

	return weft_store_put(s->engine->store, "swap", s->swap->id, doc, err);
}

/* Ended swaps stay for people to look at, the newest of them. */
void swap_keep(struct weft_engine *e, struct weft_swap *swap)
{
	if (e->n_swaps == MAX_SWAPS_KEPT) {
		weft_store_del(e->store, "swap", e->swaps[0]->id, NULL);
		weft_swap_free(e->swaps[0]);
		memmove(e->swaps, e->swaps + 1, (MAX_SWAPS_KEPT - 1) * sizeof(e->swaps[0]));
		e->n_swaps--;
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

static void turn_back(struct service *s, const struct weft_err *why)
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
		turn_back(s, err);
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

static bool is_old(const struct weft_swap *swap, const struct instance *inst)
{
	for (unsigned i = 0; i < swap->n_old; i++)
		if (strcmp(swap->old_ids[i], inst->name) == 0)
			return true;
	return false;
}

static void observe(struct service *s, uint64_t now, struct weft_swap_observation *o)
{
	*o = (struct weft_swap_observation){
		.prepared = s->swap_prepared,
		.state_ms = in_state_ms(s, now),
		.failed = s->swap->error.code != 0,
	};
	/* What was counted before the weights had moved says nothing about who is left. */
	if (s->swap->state == WEFT_SWAP_DRAIN)
		weft_dp_flows_count(s->engine->dp, s->engine->flows);
	for (struct instance *i = s->engine->instances; i; i = i->next) {
		if (i->service != s)
			continue;
		if (is_old(s->swap, i)) {
			o->old_left++;
			o->old_flows += s->engine->flows[i->id];
		} else if (instance_is_new(i)) {
			o->new_total++;
			o->new_running += i->phase == PHASE_WARMING || i->phase == PHASE_READY;
			o->new_ready += i->phase == PHASE_READY && !i->adopted;
			if (i->phase == PHASE_FAILED) {
				turn_back(s, &i->error);
				o->failed = true;
			}
		}
	}
	if (s->swap->n_new > o->new_total && weft_swap_can_turn_back(s->swap->state)) {
		struct weft_err gone = {0};

		weft_err_set(&gone, EIO, "service %s: an instance of the swap is gone", s->name);
		turn_back(s, &gone);
		o->failed = true;
	}
}

/* Records for the new instances, stored in the transaction that stores the edge. */
static int make_new(struct service *s, struct weft_err *err)
{
	const struct weft_sla_variant *v = service_variant(s, s->swap->to);
	struct weft_swap *swap = s->swap;

	while (swap->n_new < swap->wanted) {
		struct instance *inst = NULL;
		int r = instance_new(s, v, &inst, err);

		if (r < 0)
			return r;
		swap->new_ids[swap->n_new] = strdup(inst->name);
		if (!swap->new_ids[swap->n_new]) {
			instance_free(inst);
			return weft_err_set(err, ENOMEM, "out of memory");
		}
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
	if (next == WEFT_SWAP_START_NEW)
		r = make_new(s, err);
	if (next == WEFT_SWAP_DRAIN)
		weft_swap_mark(s->swap, 100, weft_realtime_ms());
	if (next == WEFT_SWAP_ROLLBACK)
		weft_swap_mark(s->swap, 0, weft_realtime_ms());
	if (next == WEFT_SWAP_STOP_OLD) {
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
		instance_free(instance_find(s->engine, s->swap->new_ids[i]));
		free(s->swap->new_ids[i]);
	}
	*s->swap = *before;
	s->active = active;
}

/* Connections that the shift had given it already are let end, as those of an old instance are. */
static void take_back(struct instance *inst, unsigned drain_ms)
{
	if (inst->phase != PHASE_DRAINING) /* by an earlier daemon */
		instance_retire(inst, drain_ms);
}

static void act(struct service *s)
{
	struct weft_engine *e = s->engine;
	bool start = s->swap->state == WEFT_SWAP_START_NEW;
	bool drop_new = s->swap->state == WEFT_SWAP_ROLLBACK;
	bool drop_old = s->swap->state == WEFT_SWAP_STOP_OLD;

	service_weigh(s);
	for (struct instance *i = e->instances, *next; i; i = next) {
		next = i->next;
		if (i->service != s)
			continue;
		if (start && instance_is_new(i) && i->phase == PHASE_PREPARING && !i->busy)
			instance_start(i);
		else if (drop_new && instance_is_new(i))
			take_back(i, s->swap->plan.drain_ms);
		else if (drop_old && is_old(s->swap, i))
			instance_destroy(i);
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
	next = weft_swap_next(s->swap->state, &s->swap->plan, s->swap->wanted, &o);
	if (next == s->swap->state)
		return false;
	if (s->swap->state == WEFT_SWAP_DRAIN && s->swap->n_phases > 0)
		snprintf(s->swap->phases[s->swap->n_phases - 1].detail,
			sizeof(s->swap->phases[0].detail),
			o.old_flows ? "deadline: %u flows are reset" : "all flows ended",
			o.old_flows);
	before = *s->swap;
	if (store_edge(s, next, &err) < 0) {
		undo_edge(s, &before, active);
		log_error("swap %s: cannot go on to %s, will try again: %s", before.id,
			weft_swap_state_name(next), err.msg);
		s->swap_retry_ns = now + STORE_AGAIN_NS;
		if (weft_swap_can_turn_back(before.state) && next == WEFT_SWAP_START_NEW)
			turn_back(s, &err);
		return false;
	}
	s->swap_entered_ns = now;
	s->swap_base_ms = 0;
	log_info("swap %s: %s: %s%s%s", s->swap->id, s->name, weft_swap_state_name(next),
		next == WEFT_SWAP_ROLLBACK ? ": " : "",
		next == WEFT_SWAP_ROLLBACK ? s->swap->error.msg : "");
	act(s);
	return s->swap != NULL;
}

static void shift(struct service *s, uint64_t now)
{
	struct weft_swap *swap = s->swap;
	unsigned share = weft_swap_share(&swap->plan, in_state_ms(s, now));
	uint8_t before = swap->new_percent;
	struct weft_err err = {0};

	if (share == swap->new_percent || share == 100 || now < s->shift_ns)
		return; /* 100 is the edge to drain */
	s->shift_ns = now + SHIFT_EVERY_NS;
	swap->state_ms = in_state_ms(s, now);
	weft_swap_mark(swap, share, weft_realtime_ms());
	if (swap_store(s, &err) < 0) {
		log_error("swap %s: stays at %u%%, will try again: %s", swap->id, before, err.msg);
		swap->new_percent = before;
		swap->n_trace--;
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
	/* Drain waits for a turn, and with it for flows counted after the weights have moved. */
	while (s->swap && step(s, now))
		if (s->swap->state == WEFT_SWAP_DRAIN)
			break;
}

void swap_resume(struct service *s)
{
	s->swap_entered_ns = weft_now_ns();
	s->swap_base_ms = s->swap->state_ms;
	log_info("swap %s: %s: going on from %s", s->swap->id, s->name,
		weft_swap_state_name(s->swap->state));
	act(s);
}

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

static int fill_plan(const struct weft_swap_request *q, const struct service *s,
	struct weft_sla_swap *plan, struct weft_err *err)
{
	int strategy;

	*plan = s->spec->swap;
	if (q->strategy) {
		strategy = weft_shift_strategy_parse(q->strategy);
		if (strategy < 0) {
			weft_err_set(err, EINVAL, "\"%s\" is not a strategy", q->strategy);
			return weft_err_hint(err, "linear, exponential or at-once");
		}
		plan->strategy = (enum weft_shift_strategy)strategy;
	}
	if (q->duration_ms > 3600000 || q->drain_ms > 3600000)
		return weft_err_set(err, EINVAL, "duration and drain are at most one hour");
	if (q->duration_ms >= 0)
		plan->duration_ms = (uint32_t)q->duration_ms;
	if (q->drain_ms >= 0)
		plan->drain_ms = (uint32_t)q->drain_ms;
	return 0;
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
		if (i->service == s && swap->n_old < WEFT_SWAP_MAX_INSTANCES)
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
	log_info("swap %s: %s: %s to %s", s->swap->id, s->name, weft_virt_name(s->swap->from),
		weft_virt_name(to));
	engine_kick(e);
	*ret = view_swap(s, s->swap);
	return 0;
}

int weft_engine_swap_abort(
	struct weft_engine *e, const char *id, json_t **ret, struct weft_err *err)
{
	struct weft_err why = {0}, before;
	int r;

	for (struct service *s = e->services; s; s = s->next) {
		if (!s->swap || strcmp(s->swap->id, id) != 0)
			continue;
		if (s->swap->state == WEFT_SWAP_STOP_OLD) {
			weft_err_set(err, EBUSY,
				"swap %s cannot be turned back any more: the old "
				"instances are being removed",
				id);
			return weft_err_hint(err, "when it is done: weft swap start %s --to %s",
				s->name, weft_virt_name(s->swap->from));
		}
		before = s->swap->error;
		weft_err_set(&why, ECANCELED, "aborted by hand");
		turn_back(s, &why);
		r = swap_store(s, err);
		if (r < 0) {
			s->swap->error = before;
			return r;
		}
		engine_kick(e);
		*ret = view_swap(s, s->swap);
		return 0;
	}
	for (unsigned i = 0; i < e->n_swaps; i++)
		if (strcmp(e->swaps[i]->id, id) == 0)
			return weft_err_set(err, EBUSY, "swap %s has ended already (%s)", id,
				weft_swap_state_name(e->swaps[i]->state));
	weft_err_set(err, ENOENT, "swap %s: no such swap", id);
	return weft_err_hint(err, "weft swap list");
}
