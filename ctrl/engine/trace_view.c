/* SPDX-License-Identifier: Apache-2.0 */
/* A trace as JSON. Times are in nanoseconds. */
#include <string.h>

#include "ctrl/base/util.h"
#include "ctrl/engine/trace_internal.h"

#define MAX_PARTS 16

static const char *direction_name(enum weft_hop_direction d)
{
	return d == WEFT_HOP_REQUEST ? "request" : "reply";
}

/* --- histograms --- */

static double mean(const struct weft_hop_hist *h)
{
	return h->count ? (double)h->sum / (double)h->count : 0;
}

static json_int_t percentile(const struct weft_hop_hist *h, double p)
{
	return (json_int_t)weft_dp_trace_percentile(h, p);
}

static json_t *view_hist(const struct weft_hop_hist *h)
{
	json_t *buckets = json_array();

	for (uint32_t b = 0; b < WEFT_HOP_BUCKETS; b++)
		if (h->bucket[b])
			json_array_append_new(
				buckets, json_pack("[I, I]", (json_int_t)weft_hop_bucket_top(b),
						 (json_int_t)h->bucket[b]));
	return json_pack("{s:I, s:f, s:I, s:I, s:I, s:I, s:o}", "count", (json_int_t)h->count,
		"mean_ns", mean(h), "p50_ns", percentile(h, 50), "p90_ns", percentile(h, 90),
		"p99_ns", percentile(h, 99), "max_ns", (json_int_t)h->max, "buckets", buckets);
}

/* --- ways: one hop after the other --- */

struct step {
	enum weft_hook from, to;
	const struct weft_hop_hist *hist;
	struct weft_dp_trace_hop hop;
};

/* A guest is read from and written to through its device's queue, not through a socket. */
static bool through_queue(const struct weft_dp_trace_way *w)
{
	const uint32_t device = WEFT_HOOK_BIT(WEFT_HOOK_DEVICE);

	if (w->hooks & (WEFT_HOOK_BIT(WEFT_HOOK_UPPER) | WEFT_HOOK_BIT(WEFT_HOOK_UPPER_TX)))
		return true;
	if (w->direction == WEFT_HOP_REPLY)
		return !(w->hooks & (WEFT_HOOK_BIT(WEFT_HOOK_TX) | WEFT_HOOK_BIT(WEFT_HOOK_RX)));
	return w->hooks & WEFT_HOOK_BIT(WEFT_HOOK_REDIRECT) && !(w->hooks & device);
}

static unsigned steps_of(const struct weft_dp_trace_way *w, struct step ret[WEFT_HOOK_COUNT])
{
	bool reply = w->direction == WEFT_HOP_REPLY, first = true;
	enum weft_hook from = WEFT_HOOK_READ;
	unsigned n = 0;

	for (unsigned i = 0; i < WEFT_HOOK_COUNT; i++) {
		enum weft_hook to = (enum weft_hook)i;

		if (!(w->hooks & WEFT_HOOK_BIT(to)))
			continue;
		if (!first || (reply && w->hop[to].count))
			ret[n++] = (struct step){from, to, &w->hop[to],
				weft_dp_trace_hop(from, to, through_queue(w))};
		from = to;
		first = false;
	}
	return n;
}

static json_t *view_step(const struct step *s)
{
	json_t *hop = view_hist(s->hist);

	json_object_set_new(hop, "name", json_string(s->hop.name));
	json_object_set_new(hop, "part", json_string(s->hop.part));
	json_object_set_new(hop, "from", json_string(weft_dp_trace_hook_name(s->from)));
	json_object_set_new(hop, "to", json_string(weft_dp_trace_hook_name(s->to)));
	return hop;
}

static json_t *view_way(const struct weft_dp_trace_way *w)
{
	struct step steps[WEFT_HOOK_COUNT];
	unsigned n = steps_of(w, steps);
	json_t *hops = json_array();

	for (unsigned i = 0; i < n; i++)
		json_array_append_new(hops, view_step(&steps[i]));
	return json_pack("{s:s, s:I, s:o, s:o}", "direction", direction_name(w->direction),
		"packets", (json_int_t)w->packets, "hops", hops, "round_trip",
		w->direction == WEFT_HOP_REPLY ? view_hist(&w->round_trip) : json_null());
}

/* --- parts: what each costs of a round trip, on the ways that most packets took --- */

struct part {
	const char *name;
	double mean_ns, p50_ns;
};

static void add_parts(const struct weft_dp_trace_way *w, struct part parts[MAX_PARTS], unsigned *n)
{
	struct step steps[WEFT_HOOK_COUNT];
	unsigned n_steps = steps_of(w, steps);

	for (unsigned i = 0; i < n_steps; i++) {
		unsigned k = 0;

		while (k < *n && strcmp(parts[k].name, steps[i].hop.part) != 0)
			k++;
		if (k == MAX_PARTS)
			continue;
		if (k == *n)
			parts[(*n)++] = (struct part){.name = steps[i].hop.part};
		parts[k].mean_ns += mean(steps[i].hist);
		parts[k].p50_ns += (double)percentile(steps[i].hist, 50);
	}
}

static int dearest_first(const void *a, const void *b)
{
	const struct part *x = a, *y = b;

	return (x->p50_ns < y->p50_ns) - (x->p50_ns > y->p50_ns);
}

static json_t *view_parts(struct part *parts, unsigned n)
{
	json_t *list = json_array();
	double total = 0;

	qsort(parts, n, sizeof(*parts), dearest_first);
	for (unsigned i = 0; i < n; i++)
		total += parts[i].p50_ns;
	for (unsigned i = 0; i < n; i++)
		json_array_append_new(
			list, json_pack("{s:s, s:f, s:f, s:f}", "part", parts[i].name, "mean_ns",
				      parts[i].mean_ns, "p50_ns", parts[i].p50_ns, "share",
				      total > 0 ? parts[i].p50_ns / total : 0.0));
	return list;
}

/* --- groups --- */

/* report->ways are sorted: a group's are together, and of each direction the most used first. */
static json_t *view_groups(const struct weft_dp_trace_report *r)
{
	json_t *groups = json_array();

	for (unsigned i = 0; i < r->n_ways;) {
		const char *group = r->ways[i].group;
		struct part parts[MAX_PARTS] = {0};
		json_t *ways = json_array();
		unsigned n_parts = 0, first = i;

		for (; i < r->n_ways && strcmp(r->ways[i].group, group) == 0; i++) {
			if (i == first || r->ways[i].direction != r->ways[i - 1].direction)
				add_parts(&r->ways[i], parts, &n_parts);
			json_array_append_new(ways, view_way(&r->ways[i]));
		}
		json_array_append_new(groups, json_pack("{s:s, s:o, s:o}", "name", group, "ways",
						      ways, "parts", view_parts(parts, n_parts)));
	}
	return groups;
}

/* --- counters --- */

static json_t *view_packets(const struct weft_hop_counts *c, enum weft_hop_direction d)
{
	return json_pack("{s:I, s:I, s:I}", "begun", (json_int_t)c->begun[d], "read",
		(json_int_t)c->read[d], "lost", (json_int_t)c->lost[d]);
}

static double per(uint64_t sum, uint64_t n)
{
	return n ? (double)sum / (double)n : 0;
}

static json_t *view_cost(const struct weft_dp_trace_report *r)
{
	const struct weft_hop_counts *c = &r->counts;
	double run = per(c->hits_ns, c->hits_timed);

	return json_pack("{s:i, s:f, s:f, s:f}", "probes", (int)r->probes, "hook_ns", run,
		"packet_ns", run * per(c->hits, c->read[0] + c->read[1]), "other_ns",
		per(c->misses_ns, c->misses_timed));
}

static json_t *view_sample(const struct weft_dp_trace_sample *s)
{
	json_t *hooks = json_array();
	uint64_t first = s->read_ns;

	if (first)
		json_array_append_new(hooks, json_pack("[s, i]", "request read", 0));
	for (unsigned hook = 0; hook < WEFT_HOOK_COUNT; hook++) {
		if (!(s->hooks & WEFT_HOOK_BIT(hook)))
			continue;
		if (!first)
			first = s->at_ns[hook];
		json_array_append_new(
			hooks, json_pack("[s, I]", weft_dp_trace_hook_name((enum weft_hook)hook),
				       (json_int_t)(s->at_ns[hook] - first)));
	}
	return json_pack("{s:s, s:s, s:b, s:o}", "group", s->group, "direction",
		direction_name(s->direction), "slowest", s->slowest, "hooks", hooks);
}

json_t *trace_view(const struct trace_request *q, const struct weft_dp_trace_report *r,
	uint64_t t_ms, const char *ended)
{
	const struct weft_hop_counts *c = &r->counts;
	json_t *samples = json_array();

	for (unsigned i = 0; i < r->n_samples; i++)
		json_array_append_new(samples, view_sample(&r->samples[i]));
	return json_pack("{s:s, s:I, s:I, s:s?, s:o, s:{s:o, s:o, s:I, s:I, s:I}, s:o, s:o}",
		"service", q->service, "t_ms", (json_int_t)t_ms, "duration_ms",
		(json_int_t)q->duration_ms, "ended", ended, "groups", view_groups(r), "packets",
		"request", view_packets(c, WEFT_HOP_REQUEST), "reply",
		view_packets(c, WEFT_HOP_REPLY), "odd", (json_int_t)c->odd, "crowded",
		(json_int_t)c->crowded, "unpaired", (json_int_t)c->unpaired, "cost", view_cost(r),
		"samples", samples);
}
