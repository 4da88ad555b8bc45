/* SPDX-License-Identifier: Apache-2.0 */
/* A swap as a JSON document: what is stored is what the API shows. */
#include <errno.h>
#include <string.h>

#include "ctrl/base/util.h"
#include "ctrl/swap/swap.h"

static json_t *ids_to_json(char *const *ids, unsigned n)
{
	json_t *a = json_array();

	for (unsigned i = 0; i < n; i++)
		json_array_append_new(a, json_string(ids[i]));
	return a;
}

static json_t *end_or_null(uint64_t ms)
{
	return ms ? json_integer((json_int_t)ms) : json_null();
}

static json_t *effect_or_null(const struct weft_swap_phase *p, const struct weft_guard_effect *e)
{
	return p->ended_ms ? weft_guard_effect_to_json(e) : json_null();
}

static json_t *phases_to_json(const struct weft_swap *s)
{
	json_t *a = json_array();

	for (unsigned i = 0; i < s->n_phases; i++) {
		const struct weft_swap_phase *p = &s->phases[i];

		json_array_append_new(
			a, json_pack("{s:s, s:I, s:o, s:s, s:o, s:o}", "name",
				   weft_swap_state_name(p->state), "started_ms",
				   (json_int_t)p->started_ms, "ended_ms", end_or_null(p->ended_ms),
				   "detail", p->detail, "old", effect_or_null(p, &p->old), "new",
				   effect_or_null(p, &p->coming)));
	}
	return a;
}

static json_t *trace_to_json(const struct weft_swap *s)
{
	json_t *a = json_array();

	for (unsigned i = 0; i < s->n_trace; i++)
		json_array_append_new(
			a, json_pack("{s:I, s:f}", "t_ms", (json_int_t)s->trace[i].t_ms, "new",
				   s->trace[i].new_percent / 100.0));
	return a;
}

static json_t *error_to_json(const struct weft_err *e)
{
	if (!e->code)
		return json_null();
	return json_pack("{s:s, s:s, s:s, s:i}", "code", weft_err_word(e->code), "message", e->msg,
		"hint", e->hint, "errno", e->code);
}

/* What the strategy and the guard were told, beside strategy, duration and drain. */
static json_t *plan_to_json(const struct weft_sla_swap *p)
{
	json_t *steps = json_array();

	for (unsigned i = 0; i < p->n_steps; i++)
		json_array_append_new(steps, json_integer(p->steps[i]));
	return json_pack("{s:i, s:o, s:i, s:b, s:{s:i, s:i, s:i, s:i}}", "hold_ms", (int)p->hold_ms,
		"steps", steps, "at_a_time", (int)p->batch, "handover", p->handover, "guard",
		"min_requests", (int)p->guard.min_requests, "error_percent",
		(int)p->guard.error_percent, "latency_percent", (int)p->guard.latency_percent,
		"probe_failures", (int)p->guard.probe_failures);
}

static uint32_t number(const json_t *o, const char *key)
{
	json_int_t v = json_integer_value(json_object_get(o, key));

	return v < 0 ? 0 : v > UINT32_MAX ? UINT32_MAX : (uint32_t)v;
}

static void plan_from_json(const json_t *o, struct weft_sla_swap *p)
{
	const json_t *steps = json_object_get(o, "steps"), *guard = json_object_get(o, "guard");

	p->hold_ms = number(o, "hold_ms");
	p->batch = number(o, "at_a_time");
	p->handover = json_is_true(json_object_get(o, "handover"));
	for (size_t i = 0; i < json_array_size(steps) && i < WEFT_SLA_MAX_STEPS; i++)
		p->steps[p->n_steps++] = (uint8_t)json_integer_value(json_array_get(steps, i));
	p->guard.min_requests = number(guard, "min_requests");
	p->guard.error_percent = number(guard, "error_percent");
	p->guard.latency_percent = number(guard, "latency_percent");
	p->guard.probe_failures = number(guard, "probe_failures");
}

json_t *weft_swap_to_json(const struct weft_swap *s)
{
	const char *detail = s->n_phases ? s->phases[s->n_phases - 1].detail : "";

	return json_pack(
		"{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:i, s:i, s:i, s:o, s:o, s:f, s:I, s:o, "
		"s:I, s:o, s:o, s:o, s:b, s:o, s:[i, i, i, i], s:I}",
		"id", s->id, "service", s->service, "from", weft_virt_name(s->from), "to",
		weft_virt_name(s->to), "state", weft_swap_state_name(s->state), "detail", detail,
		"strategy", weft_shift_strategy_name(s->plan.strategy), "duration_ms",
		(int)s->plan.duration_ms, "drain_ms", (int)s->plan.drain_ms, "wanted",
		(int)s->wanted, "old", ids_to_json(s->old_ids, s->n_old), "new",
		ids_to_json(s->new_ids, s->n_new), "weight_new", weft_swap_overall(s) / 100.0,
		"started_ms", (json_int_t)s->started_ms, "ended_ms", end_or_null(s->ended_ms),
		"state_elapsed_ms", (json_int_t)s->state_ms, "phases", phases_to_json(s), "trace",
		trace_to_json(s), "error", error_to_json(&s->error), "paused", s->paused, "plan",
		plan_to_json(&s->plan), "batch", (int)s->old_first, (int)s->old_end,
		(int)s->new_first, (int)s->batch_percent, "shift_ms",
		(json_int_t)weft_swap_shift_ms(&s->plan));
}

static unsigned ids_from_json(const json_t *a, char **ids)
{
	unsigned n = 0;
	const json_t *v;
	size_t i;

	json_array_foreach ((json_t *)a, i, v) {
		if (n == WEFT_SWAP_MAX_INSTANCES || !json_is_string(v))
			break;
		ids[n] = strdup(json_string_value(v));
		if (!ids[n])
			break;
		n++;
	}
	return n;
}

static void batch_from_json(const json_t *a, struct weft_swap *s)
{
	unsigned *const fields[] = {&s->old_first, &s->old_end, &s->new_first};
	const unsigned most[] = {s->n_old, s->n_old, s->n_new};

	s->batch_percent = (uint8_t)json_integer_value(json_array_get(a, ARRAY_SIZE(fields)));
	for (size_t i = 0; i < ARRAY_SIZE(fields) && i < json_array_size(a); i++) {
		json_int_t v = json_integer_value(json_array_get(a, i));

		*fields[i] = v < 0 || v > most[i] ? most[i] : (unsigned)v;
	}
}

static void phases_from_json(const json_t *a, struct weft_swap *s)
{
	const json_t *v;
	size_t i;

	json_array_foreach ((json_t *)a, i, v) {
		const char *name = json_string_value(json_object_get(v, "name"));
		const char *detail = json_string_value(json_object_get(v, "detail"));
		int state = name ? weft_swap_state_parse(name) : -EINVAL;
		struct weft_swap_phase *p = &s->phases[s->n_phases];

		if (state < 0 || s->n_phases == WEFT_SWAP_MAX_PHASES)
			continue;
		p->state = (enum weft_swap_state)state;
		p->started_ms = (uint64_t)json_integer_value(json_object_get(v, "started_ms"));
		p->ended_ms = (uint64_t)json_integer_value(json_object_get(v, "ended_ms"));
		snprintf(p->detail, sizeof(p->detail), "%s", detail ? detail : "");
		weft_guard_effect_from_json(json_object_get(v, "old"), &p->old);
		weft_guard_effect_from_json(json_object_get(v, "new"), &p->coming);
		s->n_phases++;
	}
}

static void trace_from_json(const json_t *a, struct weft_swap *s)
{
	const json_t *v;
	size_t i;

	json_array_foreach ((json_t *)a, i, v) {
		if (s->n_trace == WEFT_SWAP_MAX_TRACE)
			break;
		s->trace[s->n_trace++] = (struct weft_swap_mark){
			(uint64_t)json_integer_value(json_object_get(v, "t_ms")),
			(uint8_t)(json_number_value(json_object_get(v, "new")) * 100.0 + 0.5),
		};
	}
}

static void error_from_json(const json_t *e, struct weft_err *ret)
{
	const char *message = json_string_value(json_object_get(e, "message"));
	const char *hint = json_string_value(json_object_get(e, "hint"));

	if (!json_is_object(e))
		return;
	weft_err_set(ret, (int)json_integer_value(json_object_get(e, "errno")), "%s",
		message ? message : "");
	weft_err_hint(ret, "%s", hint ? hint : "");
}

int weft_swap_from_json(const json_t *doc, struct weft_swap **ret, struct weft_err *err)
{
	_cleanup_(weft_swap_freep) struct weft_swap *s = calloc(1, sizeof(*s));
	const char *id, *service, *from, *to, *state, *strategy;
	int duration, drain, wanted, v_from, v_to, v_state, v_strategy;
	json_int_t started, elapsed;
	json_error_t je;

	if (!s)
		return weft_err_set(err, ENOMEM, "swap: out of memory");
	if (json_unpack_ex((json_t *)doc, &je, 0,
		    "{s:s, s:s, s:s, s:s, s:s, s:s, s:i, s:i, s:i, s:I, s:I}", "id", &id, "service",
		    &service, "from", &from, "to", &to, "state", &state, "strategy", &strategy,
		    "duration_ms", &duration, "drain_ms", &drain, "wanted", &wanted, "started_ms",
		    &started, "state_elapsed_ms", &elapsed) < 0)
		return weft_err_set(err, EBADMSG, "stored swap: %s", je.text);
	v_from = weft_virt_parse(from);
	v_to = weft_virt_parse(to);
	v_state = weft_swap_state_parse(state);
	v_strategy = weft_shift_strategy_parse(strategy);
	if (v_from < 0 || v_to < 0 || v_state < 0 || v_strategy < 0 || wanted < 0 ||
		wanted > WEFT_SWAP_MAX_INSTANCES)
		return weft_err_set(err, EBADMSG, "stored swap %s: unknown word or number", id);
	snprintf(s->id, sizeof(s->id), "%s", id);
	snprintf(s->service, sizeof(s->service), "%s", service);
	s->from = (enum weft_virt)v_from;
	s->to = (enum weft_virt)v_to;
	s->state = (enum weft_swap_state)v_state;
	s->plan = (struct weft_sla_swap){.strategy = (enum weft_shift_strategy)v_strategy,
		.duration_ms = (uint32_t)duration,
		.drain_ms = (uint32_t)drain};
	plan_from_json(json_object_get(doc, "plan"), &s->plan);
	s->paused = json_is_true(json_object_get(doc, "paused"));
	s->wanted = (unsigned)wanted;
	s->started_ms = (uint64_t)started;
	s->ended_ms = (uint64_t)json_integer_value(json_object_get(doc, "ended_ms"));
	s->state_ms = (uint64_t)elapsed;
	s->n_old = ids_from_json(json_object_get(doc, "old"), s->old_ids);
	s->n_new = ids_from_json(json_object_get(doc, "new"), s->new_ids);
	batch_from_json(json_object_get(doc, "batch"), s);
	phases_from_json(json_object_get(doc, "phases"), s);
	trace_from_json(json_object_get(doc, "trace"), s);
	error_from_json(json_object_get(doc, "error"), &s->error);
	*ret = TAKE_PTR(s);
	return 0;
}
