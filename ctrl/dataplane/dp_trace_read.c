/* SPDX-License-Identifier: Apache-2.0 */
/* What the probes have measured: histograms summed over the processors. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "bpf/hop_abi.h"

#include "bpf/hop_probe.skel.h"
#include "ctrl/base/util.h"
#include "ctrl/dataplane/dp_trace_internal.h"

static void set_group(const struct weft_dp_trace *t, uint32_t word, char ret[WEFT_DP_TRACE_GROUP])
{
	uint32_t group = WEFT_HOP_WAY_GROUP(word);

	snprintf(ret, WEFT_DP_TRACE_GROUP, "%s", group < t->n_groups ? t->groups[group] : "");
}

/* --- histograms --- */

uint64_t weft_dp_trace_percentile(const struct weft_hop_hist *h, double p)
{
	double rank = ceil(p / 100 * (double)h->count * (1 - 1e-12));
	uint64_t seen = 0;

	if (rank < 1)
		rank = 1;
	for (uint32_t b = 0; b < WEFT_HOP_BUCKETS; b++) {
		seen += h->bucket[b];
		if (seen && (double)seen >= rank) {
			uint64_t top = weft_hop_bucket_top(b);

			/* the last one has no top */
			return top < h->max && b < WEFT_HOP_BUCKETS - 1 ? top : h->max;
		}
	}
	return 0;
}

/* A value is in one processor's histogram before it is counted in another's, so no sum is wrong by
 * more than the packets that pass meanwhile. */
static void add(struct weft_hop_hist *to, const struct weft_hop_hist *from)
{
	to->count += from->count;
	to->sum += from->sum;
	if (from->max > to->max)
		to->max = from->max;
	for (unsigned b = 0; b < WEFT_HOP_BUCKETS; b++)
		to->bucket[b] += from->bucket[b];
}

struct values {
	struct weft_hop_hist *hist; /* one per processor */
	unsigned cpus;
};

static int read_hist(
	struct weft_dp_trace *t, const struct values *v, uint32_t key, struct weft_hop_hist *ret)
{
	int r = bpf_map_lookup_elem(bpf_map__fd(t->skel->maps.hists), &key, v->hist);

	if (r < 0)
		return r;
	memset(ret, 0, sizeof(*ret));
	for (unsigned cpu = 0; cpu < v->cpus; cpu++)
		add(ret, &v->hist[cpu]);
	return 0;
}

static int read_way(struct weft_dp_trace *t, const struct values *v, uint32_t place, uint32_t word,
	struct weft_dp_trace_way *ret)
{
	uint32_t last =
		WEFT_HOP_WAY_HOOKS(word) & WEFT_HOOK_BIT(WEFT_HOOK_READ) ? WEFT_HOOK_READ : 0;
	int r = 0;

	set_group(t, word, ret->group);
	ret->direction = WEFT_HOP_WAY_DIRECTION(word) ? WEFT_HOP_REPLY : WEFT_HOP_REQUEST;
	ret->hooks = WEFT_HOP_WAY_HOOKS(word);
	for (uint32_t hook = 0; hook < WEFT_HOOK_COUNT && r == 0; hook++)
		if (ret->hooks & WEFT_HOOK_BIT(hook))
			r = read_hist(t, v, place * WEFT_HOP_HISTS + hook, &ret->hop[hook]);
	if (r == 0)
		r = read_hist(t, v, place * WEFT_HOP_HISTS + WEFT_HOP_ROUND_TRIP, &ret->round_trip);
	ret->packets = ret->hop[last].count;
	return r;
}

static int by_use(const void *a, const void *b)
{
	const struct weft_dp_trace_way *x = a, *y = b;
	int r = strcmp(x->group, y->group);

	if (r == 0)
		r = (int)x->direction - (int)y->direction;
	return r ? r : (x->packets < y->packets) - (x->packets > y->packets);
}

static int read_ways(struct weft_dp_trace *t, struct weft_dp_trace_report *report)
{
	int cpus = libbpf_num_possible_cpus(), r = 0;
	_cleanup_(freep) struct weft_hop_hist *buffer = NULL;
	struct values v;

	if (cpus < 0)
		return cpus;
	buffer = calloc((size_t)cpus, sizeof(*buffer));
	if (!buffer)
		return -ENOMEM;
	v = (struct values){buffer, (unsigned)cpus};
	for (uint32_t place = 0; place < WEFT_HOP_WAYS && r == 0; place++) {
		uint32_t word = __atomic_load_n(&t->skel->bss->ways[place], __ATOMIC_RELAXED);

		if (word)
			r = read_way(t, &v, place, word, &report->ways[report->n_ways++]);
	}
	qsort(report->ways, report->n_ways, sizeof(*report->ways), by_use);
	return r;
}

/* --- counters --- */

static int read_counts(struct weft_dp_trace *t, struct weft_hop_counts *ret)
{
	int cpus = libbpf_num_possible_cpus(), r;
	_cleanup_(freep) struct hop_cpu *values = NULL;
	uint32_t key = 0;

	if (cpus < 0)
		return cpus;
	values = calloc((size_t)cpus, sizeof(*values));
	if (!values)
		return -ENOMEM;
	r = bpf_map_lookup_elem(bpf_map__fd(t->skel->maps.cpus), &key, values);
	if (r < 0)
		return r;
	memset(ret, 0, sizeof(*ret));
	for (int cpu = 0; cpu < cpus; cpu++) {
		const uint64_t *from = (const uint64_t *)&values[cpu].counts;
		uint64_t *to = (uint64_t *)ret;

		for (size_t i = 0; i < sizeof(*ret) / sizeof(*to); i++)
			to[i] += from[i];
	}
	return 0;
}

/* --- samples --- */

static int on_sample(void *userdata, void *data, size_t size)
{
	const struct weft_hop_sample *from = data;
	struct weft_dp_trace *t = userdata;
	struct weft_dp_trace_sample *s = &t->samples[t->n_samples % WEFT_DP_TRACE_SAMPLES];

	if (size < sizeof(*from) || WEFT_HOP_WAY_GROUP(from->way) >= t->n_groups)
		return 0;
	*s = (struct weft_dp_trace_sample){
		.direction = WEFT_HOP_WAY_DIRECTION(from->way) ? WEFT_HOP_REPLY : WEFT_HOP_REQUEST,
		.hooks = WEFT_HOP_WAY_HOOKS(from->way),
		.slowest = from->slowest,
		.read_ns = from->read_ns,
	};
	set_group(t, from->way, s->group);
	if (s->direction == WEFT_HOP_REQUEST)
		s->read_ns = 0;
	memcpy(s->at_ns, from->at_ns, sizeof(s->at_ns));
	t->n_samples++;
	return 0;
}

int trace_samples_open(struct weft_dp_trace *t)
{
	t->ring = ring_buffer__new(bpf_map__fd(t->skel->maps.samples), on_sample, t, NULL);
	return t->ring ? 0 : -errno;
}

static int read_samples(struct weft_dp_trace *t, struct weft_dp_trace_report *report)
{
	int r = ring_buffer__consume(t->ring);
	unsigned long first =
		t->n_samples > WEFT_DP_TRACE_SAMPLES ? t->n_samples - WEFT_DP_TRACE_SAMPLES : 0;

	for (unsigned long i = first; i < t->n_samples; i++)
		report->samples[report->n_samples++] = t->samples[i % WEFT_DP_TRACE_SAMPLES];
	return r < 0 ? r : 0;
}

/* --- all of it --- */

void weft_dp_trace_report_free(struct weft_dp_trace_report *report)
{
	if (report)
		free(report->ways);
	free(report);
}

int weft_dp_trace_read(struct weft_dp_trace *t, struct weft_dp_trace_report **ret)
{
	_cleanup_(weft_dp_trace_report_freep) struct weft_dp_trace_report *report =
		calloc(1, sizeof(*report));
	int r;

	if (report)
		report->ways = calloc(WEFT_HOP_WAYS, sizeof(*report->ways));
	if (!report || !report->ways)
		return -ENOMEM;
	r = read_counts(t, &report->counts);
	if (r == 0)
		r = read_ways(t, report);
	if (r == 0)
		r = read_samples(t, report);
	if (r < 0)
		return r;
	report->probes = t->n_links + t->n_devices;
	*ret = TAKE_PTR(report);
	return 0;
}
