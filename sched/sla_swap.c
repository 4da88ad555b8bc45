/* SPDX-License-Identifier: Apache-2.0 */
/* How a service is swapped unless a swap says otherwise. */
#include <errno.h>
#include <string.h>

#include "ctrl/base/util.h"
#include "sched/sla_internal.h"

static const char *const strategies[] = {
	[WEFT_SHIFT_LINEAR] = "linear",
	[WEFT_SHIFT_EXPONENTIAL] = "exponential",
	[WEFT_SHIFT_AT_ONCE] = "at-once",
	[WEFT_SHIFT_CANARY] = "canary",
	[WEFT_SHIFT_BLUE_GREEN] = "blue-green",
};
const char weft_shift_strategies[] = "linear, exponential, at-once, canary or blue-green";

const struct weft_sla_swap weft_sla_swap_default = {
	.strategy = WEFT_SHIFT_LINEAR,
	.duration_ms = 5000,
	.drain_ms = 30000,
	.hold_ms = 10000,
	.steps = {5, 25, 50},
	.n_steps = 3,
	.guard = {.min_requests = 50, .error_percent = 5, .probe_failures = 3},
};

const char *weft_shift_strategy_name(enum weft_shift_strategy s)
{
	return s < ARRAY_SIZE(strategies) ? strategies[s] : "unknown";
}

int weft_shift_strategy_parse(const char *s)
{
	for (size_t i = 0; i < ARRAY_SIZE(strategies); i++)
		if (strcmp(s, strategies[i]) == 0)
			return (int)i;
	return -EINVAL;
}

/* "5,25,50": percent, rising, below 100 (which follows by itself). */
int weft_sla_steps_parse(const char *text, struct weft_sla_swap *ret)
{
	uint8_t steps[WEFT_SLA_MAX_STEPS];
	unsigned n = 0, last = 0;

	for (const char *p = text;; p++) {
		char number[4] = "";
		size_t length = strcspn(p, ",");
		uint64_t percent;

		if (length >= sizeof(number) || n == WEFT_SLA_MAX_STEPS)
			return -EINVAL;
		memcpy(number, p, length);
		if (weft_parse_u64(number, last + 1, 99, &percent) < 0)
			return -EINVAL;
		steps[n++] = (uint8_t)(last = (unsigned)percent);
		p += length;
		if (!*p)
			break;
	}
	memset(ret->steps, 0, sizeof(ret->steps));
	memcpy(ret->steps, steps, n);
	ret->n_steps = (uint8_t)n;
	return 0;
}

static int parse_guard(const struct sla_at *swap, struct weft_sla_guard *ret)
{
	struct sla_at guard;
	int r;

	if (!sla_member(swap, "guard", &guard))
		return 0;
	r = sla_check(&guard, &sla_guard_keys);
	if (r == 0)
		r = sla_uint(&guard, "min_requests", 1, 1000000, &ret->min_requests);
	if (r == 0)
		r = sla_uint(&guard, "error_percent", 0, 100, &ret->error_percent);
	if (r == 0)
		r = sla_uint(&guard, "latency_percent", 0, 100000, &ret->latency_percent);
	if (r == 0)
		r = sla_uint(&guard, "probe_failures", 0, 100, &ret->probe_failures);
	return r;
}

static int parse_strategy(const struct sla_at *swap, struct weft_sla_swap *ret)
{
	struct sla_at strategy;
	int r;

	if (!sla_member(swap, "strategy", &strategy))
		return 0;
	r = weft_shift_strategy_parse(json_string_value(strategy.value));
	if (r < 0)
		return sla_fail(&strategy, "must be %s, is \"%s\"", weft_shift_strategies,
			sla_quote(json_string_value(strategy.value)).text);
	ret->strategy = (enum weft_shift_strategy)r;
	return 0;
}

int sla_parse_swap(const struct sla_at *at, struct weft_sla_service *svc)
{
	struct weft_sla_swap *plan = &svc->swap;
	struct sla_at swap, steps;
	int r;

	*plan = weft_sla_swap_default;
	if (!sla_member(at, "swap", &swap))
		return 0;
	r = sla_check(&swap, &sla_swap_keys);
	if (r == 0)
		r = sla_millis(&swap, "duration_s", SLA_SECONDS_MAX, &plan->duration_ms);
	if (r == 0)
		r = sla_millis(&swap, "drain_s", SLA_SECONDS_MAX, &plan->drain_ms);
	if (r == 0)
		r = sla_millis(&swap, "hold_s", SLA_SECONDS_MAX, &plan->hold_ms);
	if (r == 0)
		r = sla_uint(&swap, "at_a_time", 1, 64, &plan->batch);
	if (r == 0 && sla_member(&swap, "steps", &steps) &&
		weft_sla_steps_parse(json_string_value(steps.value), plan) < 0)
		r = sla_fail(&steps,
			"must be rising percentages below 100, as \"5,25,50\", is \"%s\"",
			sla_quote(json_string_value(steps.value)).text);
	if (r == 0)
		r = parse_strategy(&swap, plan);
	return r < 0 ? r : parse_guard(&swap, &plan->guard);
}
