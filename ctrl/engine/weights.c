/* SPDX-License-Identifier: Apache-2.0 */
/* Every instance's share of new flows under each policy of its service: equal ones, by weight, to
 * the preferred alone, or as set by hand; and across them what a running swap gives to its sides.
 */
#include <errno.h>
#include <string.h>

#include "ctrl/base/log.h"
#include "ctrl/engine/peer.h"

#define SOON_NS 30000000ULL

struct sums {
	enum weft_dp_policy policy;
	uint64_t leaving, coming, all; /* of the weights of those that are ready */
	unsigned percent;              /* of the coming side */
	bool equal;                    /* all are 0: better any of them than nobody */
};

static enum weft_swap_side side_of(const struct instance *inst)
{
	const struct weft_swap *swap = inst->service->swap;

	return swap ? weft_swap_side(swap, inst->name) : WEFT_SWAP_NONE;
}

static uint32_t variant_weight(const struct instance *inst)
{
	const struct weft_sla_variant *v = service_variant(inst->service, inst->virt);

	return v ? v->weight : 1;
}

/* Its weight but for a swap, while which nobody is preferred. */
static uint64_t own_weight(const struct sums *sums, const struct instance *inst)
{
	const struct service *s = inst->service;
	bool remote = inst->borrowed && inst->borrowed->peer;

	if (inst->phase != PHASE_READY || inst->paused || remote_is_cut_off(inst))
		return 0;
	if (sums->equal)
		return 1;
	if (remote && inst->borrowed->weight == 0)
		return 0;
	if (sums->policy == WEFT_DP_CLOSEST || sums->policy == WEFT_DP_LEAST_LOADED)
		return s->swap || inst->preferred[sums->policy];
	if (s->hand)
		return hand_weight(inst);
	if (remote && sums->policy == WEFT_DP_RR)
		return 1;
	if (inst->borrowed)
		return inst->borrowed->weight;
	return sums->policy == WEFT_DP_WRR ? variant_weight(inst) : 1;
}

static void add_up(const struct service *s, struct sums *sums)
{
	for (struct instance *i = s->engine->instances; i; i = i->next) {
		uint64_t w = i->service == s ? own_weight(sums, i) : 0;

		sums->all += w;
		if (w && side_of(i) == WEFT_SWAP_LEAVING)
			sums->leaving += w;
		if (w && side_of(i) == WEFT_SWAP_COMING)
			sums->coming += w;
	}
}

/* Before the shift nobody leaves, and after a rollback nobody does any more. */
static struct sums sum_up(const struct service *s, enum weft_dp_policy policy)
{
	const struct weft_swap *swap = s->swap;
	struct sums sums = {.policy = policy};

	if (swap && swap->state >= WEFT_SWAP_SHIFT && swap->state <= WEFT_SWAP_DONE)
		sums.percent = swap->batch_percent;
	add_up(s, &sums);
	if (sums.all == 0) {
		sums.equal = true;
		add_up(s, &sums);
	}
	return sums;
}

static uint64_t part_of(const struct sums *sums, const struct instance *inst)
{
	return weft_swap_part(
		side_of(inst), sums->percent, own_weight(sums, inst), sums->leaving, sums->coming);
}

static uint64_t gcd(uint64_t a, uint64_t b)
{
	while (b) {
		uint64_t rest = a % b;

		a = b;
		b = rest;
	}
	return a;
}

/* Every instance's weight: as they were said by hand, else in the smallest numbers that have the
 * ratio; where those are too large, scaled down together and rounded up, so that none becomes zero.
 */
static void work_out(struct service *s, enum weft_dp_policy policy)
{
	struct sums sums = sum_up(s, policy);
	uint64_t most = 0, unit = 0;

	for (struct instance *i = s->engine->instances; i; i = i->next) {
		uint64_t part = i->service == s ? part_of(&sums, i) : 0;

		most = part > most ? part : most;
		unit = gcd(part, unit);
	}
	if (unit == 0 || (s->hand && !s->swap))
		unit = 1;
	for (struct instance *i = s->engine->instances; i; i = i->next) {
		uint64_t part = i->service == s ? part_of(&sums, i) : 0;

		if (i->service != s)
			continue;
		if (most / unit <= WEFT_DP_MAX_WEIGHT)
			i->weight[policy] = (uint32_t)(part / unit);
		else
			i->weight[policy] =
				(uint32_t)((part * WEFT_DP_MAX_WEIGHT + most - 1) / most);
	}
}

/* As one text, to tell a change from none. */
static char *as_text(const json_t *weights)
{
	return json_dumps(weights, JSON_COMPACT | JSON_SORT_KEYS);
}

static void say(struct service *s, enum weft_dp_policy policy)
{
	const char *by = s->swap ? "swap" : s->hand ? "hand" : "weft";
	char **said = &s->weights_said[policy];
	json_t *weights = json_object();
	_cleanup_(freep) char *text = NULL;

	for (struct instance *i = s->engine->instances; i; i = i->next)
		if (i->service == s && i->phase == PHASE_READY)
			json_object_set_new(
				weights, i->name, json_integer((json_int_t)i->weight[policy]));
	text = as_text(weights);
	if (!text || (*said && strcmp(*said, text) == 0)) {
		json_decref(weights);
		return;
	}
	free(*said);
	*said = TAKE_PTR(text);
	weft_events_add(s->engine->events, "weights", "set", s->name,
		json_pack("{s:s, s:s, s:o}", "policy", policy_name(policy), "by", by, "weights",
			weights));
}

static void weigh(struct service *s, enum weft_dp_policy policy, struct weft_dp_weight *w)
{
	struct weft_err err = {0};
	unsigned n = 0;

	work_out(s, policy);
	/* Others may not be in the data plane (yet, any more), which then refuses them all. */
	for (struct instance *i = s->engine->instances; i; i = i->next)
		if (i->service == s && i->phase == PHASE_READY)
			w[n++] = (struct weft_dp_weight){i->id, i->weight[policy]};
	if (weft_dp_service_weights(s->engine->dp, s->id, policy, w, n, &err) < 0)
		log_error("service %s: weights: %s", s->name, err.msg);
	else
		say(s, policy);
}

void service_weigh(struct service *s)
{
	_cleanup_(freep) struct weft_dp_weight *w = NULL;
	unsigned n = 0;

	/* After a start the data plane has the weights of before, until it knows every instance. */
	if (s->engine->restoring)
		return;
	s->weigh_ns = 0;
	if (s->engine->weights_held) {
		s->weigh_ns = 1;
		return;
	}
	for (struct instance *i = s->engine->instances; i; i = i->next)
		n += i->service == s && i->phase == PHASE_READY;
	w = calloc(n + 1, sizeof(*w));
	if (!w) {
		log_error("service %s: weights: out of memory", s->name);
		return;
	}
	for (int policy = 0; policy < WEFT_DP_POLICIES; policy++)
		if (service_called_by(s, policy))
			weigh(s, (enum weft_dp_policy)policy, w);
}

void service_weigh_soon(struct service *s)
{
	if (!s->weigh_ns)
		s->weigh_ns = weft_now_ns() + SOON_NS;
}

void weights_tick(struct weft_engine *e, uint64_t now)
{
	for (struct service *s = e->services; s; s = s->next)
		if (s->weigh_ns && now >= s->weigh_ns)
			service_weigh(s);
}

void weights_hold(struct weft_engine *e)
{
	e->weights_held = true;
}

void weights_release(struct weft_engine *e)
{
	e->weights_held = false;
	for (struct service *s = e->services; s; s = s->next)
		if (s->weigh_ns == 1)
			service_weigh(s);
}

static void recall(struct weft_engine *e, const char *line)
{
	json_auto_t *doc = strstr(line, "\"weights\"") ? json_loads(line, 0, NULL) : NULL;
	const json_t *data = json_object_get(doc, "data"), *weights;
	const char *name = json_string_value(json_object_get(doc, "object"));
	const char *policy = json_string_value(json_object_get(data, "policy"));
	struct service *s;

	weights = json_object_get(data, "weights");
	s = weights && policy && name ? service_find(e, name) : NULL;
	for (int p = 0; s && p < WEFT_DP_POLICIES; p++)
		if (!s->weights_said[p] && strcmp(policy_name(p), policy) == 0)
			s->weights_said[p] = as_text(weights);
}

void weights_recall(struct weft_engine *e)
{
	for (uint64_t seq = weft_events_last(e->events); seq >= weft_events_first(e->events);
		seq--) {
		const char *line = weft_events_line(e->events, seq);

		if (line)
			recall(e, line);
	}
}
