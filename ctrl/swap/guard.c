/* SPDX-License-Identifier: Apache-2.0 */
#include "ctrl/swap/guard.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ctrl/base/util.h"

/* Below these a 90th percentile is chance, and so is that nobody was answered. */
#define TIMED_MIN   20
#define UNHEARD_MIN 8

static uint64_t since(uint64_t from, uint64_t to)
{
	return to > from ? to - from : 0;
}

void weft_guard_add(struct weft_guard_sum *sum, const struct weft_guard_count *from,
	const struct weft_guard_count *to)
{
	const struct weft_quality *a = &from->quality, *b = &to->quality;
	uint64_t opened = since(a->opened, b->opened);
	uint64_t asked = since(a->asked, b->asked) * WEFT_SAMPLE;

	sum->requests += asked > opened ? asked : opened;
	sum->refused += since(a->refused, b->refused);
	sum->resets += since(a->resets, b->resets);
	sum->unreachable += since(a->unreachable, b->unreachable);
	sum->timed += since(a->answered, b->answered);
	sum->cpu_ns += since(from->cpu_ns, to->cpu_ns);
	for (unsigned i = 0; i < WEFT_LATENCY_BUCKETS; i++)
		sum->latency[i] += (uint32_t)since(a->latency[i], b->latency[i]);
}

void weft_guard_wait(struct weft_guard_sum *sum, const struct weft_guard_count *from,
	const struct weft_guard_count *then, const struct weft_guard_count *now)
{
	uint64_t opened = since(from->quality.opened, then->quality.opened);
	uint64_t met = since(from->quality.accepted, now->quality.accepted) +
		       since(from->quality.refused, now->quality.refused) +
		       since(from->quality.unreachable, now->quality.unreachable);
	uint64_t asked = since(from->quality.asked, then->quality.asked);

	sum->silent += since(met, opened);
	sum->waited += asked;
	sum->unheard += since(since(from->quality.answered, now->quality.answered), asked);
}

uint64_t weft_guard_failed(const struct weft_guard_sum *sum)
{
	return sum->refused + sum->resets + sum->unreachable + sum->silent;
}

uint64_t weft_guard_latency_ns(const struct weft_guard_sum *sum, double percent)
{
	double all = 0, before = 0, wanted;

	for (unsigned i = 0; i < WEFT_LATENCY_BUCKETS; i++)
		all += sum->latency[i];
	wanted = all * percent / 100;
	for (unsigned i = 0; i < WEFT_LATENCY_BUCKETS; i++) {
		double n = sum->latency[i], from = (double)weft_latency_from(i);

		if (n > 0 && before + n >= wanted)
			return (uint64_t)(from + ((double)weft_latency_from(i + 1) - from) *
							 (wanted - before) / n);
		before += n;
	}
	return 0;
}

static double share(const struct weft_guard_sum *sum, uint64_t of)
{
	return (double)weft_guard_failed(sum) / (double)of;
}

/* Judged as soon as the rest up to min_requests could not make up for it any more. */
static bool fails(const struct weft_sla_guard *guard, const struct weft_guard_sum *old,
	const struct weft_guard_sum *coming, struct weft_err *err)
{
	uint64_t of =
		coming->requests > guard->min_requests ? coming->requests : guard->min_requests;
	uint64_t failed = weft_guard_failed(coming);

	if (!failed || share(coming, of) * 100 <= guard->error_percent ||
		share(coming, of) <= share(old, old->requests ? old->requests : of))
		return false;
	weft_err_set(err, EIO,
		"%lu of %lu requests failed (refused %lu, reset %lu, unreachable %lu, unanswered "
		"%lu), which error_percent %u does not allow; of the old ones' %lu of %lu",
		(unsigned long)failed, (unsigned long)coming->requests,
		(unsigned long)coming->refused, (unsigned long)coming->resets,
		(unsigned long)coming->unreachable, (unsigned long)coming->silent,
		guard->error_percent, (unsigned long)weft_guard_failed(old),
		(unsigned long)old->requests);
	return true;
}

/* Connections are made, but no request is answered: uploads and streams one way are not either, and
 * then the old ones' are not. */
static bool is_mute(
	const struct weft_guard_sum *old, const struct weft_guard_sum *coming, struct weft_err *err)
{
	if (coming->waited < UNHEARD_MIN || coming->unheard < coming->waited || coming->timed ||
		old->timed < UNHEARD_MIN || old->unheard * 2 > old->waited)
		return false;
	weft_err_set(err, ETIMEDOUT, "about %lu requests have had no answer for %u s",
		(unsigned long)coming->waited * WEFT_SAMPLE, WEFT_GUARD_PATIENCE_MS / 1000);
	return true;
}

static bool is_slow(const struct weft_sla_guard *guard, const struct weft_guard_sum *old,
	const struct weft_guard_sum *coming, struct weft_err *err)
{
	double before = (double)weft_guard_latency_ns(old, 90);
	double now = (double)weft_guard_latency_ns(coming, 90);

	if (!guard->latency_percent || coming->timed < TIMED_MIN || old->timed < TIMED_MIN ||
		coming->requests < guard->min_requests ||
		now * 100 <= before * (100.0 + guard->latency_percent))
		return false;
	weft_err_set(err, ETIME,
		"the 90th percentile of their latency is %.0f us, of the old ones' %.0f us: "
		"%.0f %% more, and latency_percent is %u",
		now / 1000, before / 1000, (now / before - 1) * 100, guard->latency_percent);
	return true;
}

bool weft_guard_judge(const struct weft_sla_guard *guard, const struct weft_guard_sum *old,
	const struct weft_guard_sum *coming, struct weft_err *err)
{
	/* 100: nothing that they do is too bad. */
	if (guard->error_percent < 100 &&
		(fails(guard, old, coming, err) || is_mute(old, coming, err)))
		return true;
	return is_slow(guard, old, coming, err);
}

struct weft_guard_effect weft_guard_effect(const struct weft_guard_sum *sum)
{
	return (struct weft_guard_effect){
		.requests = sum->requests,
		.failed = weft_guard_failed(sum),
		.p50_us = (uint32_t)(weft_guard_latency_ns(sum, 50) / 1000),
		.p90_us = (uint32_t)(weft_guard_latency_ns(sum, 90) / 1000),
		.p99_us = (uint32_t)(weft_guard_latency_ns(sum, 99) / 1000),
		.cpu_ms = (uint32_t)(sum->cpu_ns / 1000000),
	};
}

json_t *weft_guard_effect_to_json(const struct weft_guard_effect *e)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "requests", (json_int_t)e->requests,
		"failed", (json_int_t)e->failed, "p50_us", (json_int_t)e->p50_us, "p90_us",
		(json_int_t)e->p90_us, "p99_us", (json_int_t)e->p99_us, "cpu_ms",
		(json_int_t)e->cpu_ms);
}

static uint64_t number(const json_t *o, const char *key)
{
	json_int_t v = json_integer_value(json_object_get(o, key));

	return v < 0 ? 0 : (uint64_t)v;
}

void weft_guard_effect_from_json(const json_t *doc, struct weft_guard_effect *ret)
{
	*ret = (struct weft_guard_effect){
		.requests = number(doc, "requests"),
		.failed = number(doc, "failed"),
		.p50_us = (uint32_t)number(doc, "p50_us"),
		.p90_us = (uint32_t)number(doc, "p90_us"),
		.p99_us = (uint32_t)number(doc, "p99_us"),
		.cpu_ms = (uint32_t)number(doc, "cpu_ms"),
	};
}
