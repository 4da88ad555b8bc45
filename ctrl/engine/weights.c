/* SPDX-License-Identifier: Apache-2.0 */
/* Every instance's share of new flows: equal ones, or those set by hand, and across them what a
 * running swap gives to its two sides. */
#include <errno.h>
#include <string.h>

#include "ctrl/base/log.h"
#include "ctrl/engine/internal.h"

struct sums {
	uint64_t leaving, coming, all; /* of the weights of those that are ready */
	unsigned percent;              /* of the coming side */
	bool equal;                    /* all are 0: better any of them than nobody */
};

static enum weft_swap_side side_of(const struct instance *inst)
{
	const struct weft_swap *swap = inst->service->swap;

	return swap ? weft_swap_side(swap, inst->name) : WEFT_SWAP_NONE;
}

/* Its weight but for a swap. */
static uint64_t own_weight(const struct sums *sums, const struct instance *inst)
{
	if (inst->phase != PHASE_READY)
		return 0;
	if (sums->equal)
		return 1;
	if (inst->service->hand)
		return hand_weight(inst);
	return inst->borrowed ? inst->borrowed->weight : 1;
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
static struct sums sum_up(const struct service *s)
{
	const struct weft_swap *swap = s->swap;
	struct sums sums = {0};

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
static void work_out(struct service *s)
{
	struct sums sums = sum_up(s);
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
			i->weight = (uint32_t)(part / unit);
		else
			i->weight = (uint32_t)((part * WEFT_DP_MAX_WEIGHT + most - 1) / most);
	}
}

/* As one text, to tell a change from none. */
static char *as_text(const json_t *weights)
{
	return json_dumps(weights, JSON_COMPACT | JSON_SORT_KEYS);
}

static void say(struct service *s)
{
	const char *by = s->swap ? "swap" : s->hand ? "hand" : "weft";
	json_t *weights = json_object();
	_cleanup_(freep) char *text = NULL;

	for (struct instance *i = s->engine->instances; i; i = i->next)
		if (i->service == s && i->phase == PHASE_READY)
			json_object_set_new(weights, i->name, json_integer((json_int_t)i->weight));
	text = as_text(weights);
	if (!text || (s->weights_said && strcmp(s->weights_said, text) == 0)) {
		json_decref(weights);
		return;
	}
	free(s->weights_said);
	s->weights_said = TAKE_PTR(text);
	weft_events_add(s->engine->events, "weights", "set", s->name,
		json_pack("{s:s, s:o}", "by", by, "weights", weights));
}

void service_weigh(struct service *s)
{
	_cleanup_(freep) struct weft_dp_weight *w = NULL;
	struct weft_err err = {0};
	unsigned n = 0;

	/* After a start the data plane has the weights of before, until it knows every instance. */
	if (s->engine->restoring)
		return;
	work_out(s);
	/* Others may not be in the data plane (yet, any more), which then refuses them all. */
	for (struct instance *i = s->engine->instances; i; i = i->next)
		n += i->service == s && i->phase == PHASE_READY;
	w = calloc(n + 1, sizeof(*w));
	if (!w) {
		log_error("service %s: weights: out of memory", s->name);
		return;
	}
	n = 0;
	for (struct instance *i = s->engine->instances; i; i = i->next)
		if (i->service == s && i->phase == PHASE_READY)
			w[n++] = (struct weft_dp_weight){i->id, i->weight};
	if (weft_dp_service_weights(s->engine->dp, s->id, WEFT_DP_RR, w, n, &err) < 0)
		log_error("service %s: weights: %s", s->name, err.msg);
	else
		say(s);
}

static void recall(struct weft_engine *e, const char *line)
{
	json_auto_t *doc = strstr(line, "\"weights\"") ? json_loads(line, 0, NULL) : NULL;
	const json_t *weights = json_object_get(json_object_get(doc, "data"), "weights");
	const char *name = json_string_value(json_object_get(doc, "object"));
	struct service *s = weights && name ? service_find(e, name) : NULL;

	if (s && !s->weights_said)
		s->weights_said = as_text(weights);
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
