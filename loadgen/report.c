/* SPDX-License-Identifier: Apache-2.0 */
#include "loadgen/report.h"

#include <errno.h>
#include <time.h>

static const struct {
	const char *latency, *service;
	double percentile;
} percentiles[] = {
	{"p50_us", "service_p50_us", 50},
	{"p90_us", "service_p90_us", 90},
	{"p99_us", "service_p99_us", 99},
	{"p999_us", "service_p999_us", 99.9},
};

json_t *load_us_json(uint64_t ns, bool measured)
{
	return measured ? json_real((double)ns / 1000) : json_null();
}

static json_t *count(uint64_t n)
{
	return json_integer((json_int_t)n);
}

static int put(json_t *o, const char *key, json_t *value)
{
	return json_object_set_new(o, key, value); /* -1 also when value is NULL */
}

static int put_times(json_t *o, const struct load_stats *s)
{
	const struct weft_hist *l = s->latency, *v = s->service;
	bool any = weft_hist_count(l) > 0;
	int r = 0;

	r |= put(o, "mean_us", load_us_json((uint64_t)weft_hist_mean(l), any));
	r |= put(o, "min_us", load_us_json(weft_hist_min(l), any));
	for (size_t i = 0; i < sizeof(percentiles) / sizeof(percentiles[0]); i++) {
		double p = percentiles[i].percentile;

		r |= put(o, percentiles[i].latency, load_us_json(weft_hist_percentile(l, p), any));
		r |= put(o, percentiles[i].service, load_us_json(weft_hist_percentile(v, p), any));
	}
	r |= put(o, "max_us", load_us_json(weft_hist_max(l), any));
	r |= put(o, "service_mean_us", load_us_json((uint64_t)weft_hist_mean(v), any));
	r |= put(o, "service_min_us", load_us_json(weft_hist_min(v), any));
	r |= put(o, "service_max_us", load_us_json(weft_hist_max(v), any));
	return r;
}

static int put_stats(
	json_t *o, const struct load_options *opt, const struct load_stats *s, double seconds)
{
	uint64_t ok = s->by_class[LOAD_OK];
	json_t *errors = json_object();
	int r = 0;

	for (int c = LOAD_OK + 1; c < LOAD_CLASS_COUNT; c++)
		r |= put(errors, load_class_name((enum load_class)c), count(s->by_class[c]));
	r |= put(o, "duration_s", json_real(seconds));
	r |= put(o, "requests", count(s->requests));
	r |= put(o, "ok", count(ok));
	r |= put(o, "failed", count(load_stats_failed(s)));
	r |= put(o, "errors", errors);
	r |= put(o, "retries", count(s->retries));
	r |= put(o, "stale", count(s->stale));
	r |= put(o, "reconnects", count(s->reconnects));
	r |= put(o, "bytes", count(s->bytes));
	r |= put(o, "ok_per_s", json_real(seconds > 0 ? (double)ok / seconds : 0));
	r |= put_times(o, s);
	if (opt->histogram) {
		r |= put(o, "latency_histogram_us", weft_hist_json(s->latency, 0.001));
		r |= put(o, "service_histogram_us", weft_hist_json(s->service, 0.001));
	}
	return r;
}

static double seconds_between(uint64_t from, uint64_t to)
{
	return to > from ? (double)(to - from) / 1e9 : 0;
}

double load_phase_seconds(const struct load_result *r, unsigned phase)
{
	uint64_t end = r->end;

	if (phase + 1 < load_phases_count(r->phases) &&
		load_phases_start(r->phases, phase + 1) < end)
		end = load_phases_start(r->phases, phase + 1);
	return seconds_between(load_phases_start(r->phases, phase), end);
}

double load_total_seconds(const struct load_result *r)
{
	double sum = 0;

	for (unsigned i = 0; i < load_phases_count(r->phases); i++)
		if (!load_phases_warmup(r->phases, i))
			sum += load_phase_seconds(r, i);
	return sum;
}

static json_t *phases(const struct load_options *o, const struct load_result *r)
{
	json_auto_t *list = json_array();

	for (unsigned i = 0; i < load_phases_count(r->phases); i++) {
		uint64_t after = load_phases_start(r->phases, i) - r->start;
		json_t *phase = json_object();
		int e = 0;

		e |= put(phase, "name", json_string(load_phases_name(r->phases, i)));
		e |= put(phase, "warmup", json_boolean(load_phases_warmup(r->phases, i)));
		e |= put(phase, "start_ms", count(r->start_ms + after / 1000000));
		e |= put_stats(phase, o, &r->by_phase[i], load_phase_seconds(r, i));
		if (json_array_append_new(list, phase) < 0 || e)
			return NULL;
	}
	return json_incref(list);
}

static json_t *series(const struct load_result *r)
{
	json_auto_t *list = json_array();

	for (size_t i = 0; i < load_series_count(r->series); i++) {
		const struct load_point *p = load_series_point(r->series, i);
		json_t *o = load_point_json(p, load_phases_name(r->phases, p->phase));

		if (json_array_append_new(list, o) < 0)
			return NULL;
	}
	return json_incref(list);
}

/* How late the generator itself was in dispatching what was due; null in a closed loop. */
static json_t *lag(const struct load_result *r)
{
	const struct weft_hist *h = r->lag;

	if (!weft_hist_count(h))
		return json_null();
	return json_pack("{s:o, s:o, s:o, s:o}", "mean_us",
		load_us_json((uint64_t)weft_hist_mean(h), true), "p50_us",
		load_us_json(weft_hist_percentile(h, 50), true), "p99_us",
		load_us_json(weft_hist_percentile(h, 99), true), "max_us",
		load_us_json(weft_hist_max(h), true));
}

static json_t *when(const struct load_result *r)
{
	time_t t = (time_t)(r->start_ms / 1000);
	char text[32];
	struct tm tm;

	gmtime_r(&t, &tm);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	return json_string(text);
}

static int put_options(json_t *doc, const struct load_options *o)
{
	int r = 0;

	r |= put(doc, "url", json_string(o->url));
	r |= put(doc, "mode", json_string(o->closed_loop ? "closed" : "open"));
	r |= put(doc, "rate", o->closed_loop ? json_null() : json_real(o->rate));
	r |= put(doc, "arrivals",
		o->closed_loop ? json_null() : json_string(load_arrivals_name(o->arrivals)));
	r |= put(doc, "connections", count(o->connections));
	r |= put(doc, "close", json_boolean(o->close));
	r |= put(doc, "threads", count(o->threads));
	r |= put(doc, "timeout_s", json_real((double)o->timeout / 1e9));
	r |= put(doc, "warmup_s", json_real((double)o->warmup / 1e9));
	r |= put(doc, "interval_s", json_real((double)o->interval / 1e9));
	r |= put(doc, "retry_stale", count(o->retry_stale));
	return r;
}

json_t *load_report_json(const struct load_options *o, const struct load_result *r)
{
	json_auto_t *doc = json_object(), *total = json_object();
	double seconds = load_total_seconds(r);
	int e = 0;

	e |= put(doc, "name", json_string(o->name));
	if (o->commit)
		e |= put(doc, "commit", json_string(o->commit));
	e |= put(doc, "when", when(r));
	e |= put_options(doc, o);
	e |= put(doc, "duration_s", json_real(seconds));
	e |= put(doc, "connects", count(r->connects));
	e |= put(doc, "unfinished", count(r->unfinished));
	e |= put(doc, "lag", lag(r));
	e |= put(doc, "phases", phases(o, r));
	e |= put(doc, "series", series(r));
	e |= put_stats(total, o, &r->total, seconds);
	e |= json_object_set(doc, "total", total);
	return e ? NULL : json_incref(doc);
}
