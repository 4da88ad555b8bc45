/* SPDX-License-Identifier: Apache-2.0 */
#include "loadgen/phase.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

struct phase {
	uint64_t start;
	bool warmup;
	char name[LOAD_NAME_MAX + 1];
	struct load_stats *stats; /* one for each thread */
};

struct load_phases {
	unsigned threads;
	atomic_uint count;
	struct phase all[LOAD_PHASES_MAX];
};

uint64_t load_stats_failed(const struct load_stats *s)
{
	return s->requests - s->by_class[LOAD_OK];
}

void load_stats_done(struct load_stats *s)
{
	weft_hist_free(s->latency);
	weft_hist_free(s->service);
	*s = (struct load_stats){0};
}

int load_stats_init(struct load_stats *s)
{
	int r;

	*s = (struct load_stats){0};
	r = weft_hist_new(3, WEFT_HIST_HOUR_NS, &s->latency);
	if (r == 0)
		r = weft_hist_new(3, WEFT_HIST_HOUR_NS, &s->service);
	if (r < 0)
		load_stats_done(s);
	return r;
}

int load_stats_merge(struct load_stats *to, const struct load_stats *from)
{
	int r;

	to->requests += from->requests;
	for (int c = 0; c < LOAD_CLASS_COUNT; c++)
		to->by_class[c] += from->by_class[c];
	to->retries += from->retries;
	to->stale += from->stale;
	to->reconnects += from->reconnects;
	to->bytes += from->bytes;
	r = weft_hist_merge(to->latency, from->latency);
	return r < 0 ? r : weft_hist_merge(to->service, from->service);
}

int load_phases_new(unsigned threads, struct load_phases **ret)
{
	struct load_phases *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	p->threads = threads;
	*ret = p;
	return 0;
}

static void free_stats(struct load_stats *stats, unsigned threads)
{
	for (unsigned i = 0; stats && i < threads; i++)
		load_stats_done(&stats[i]);
	free(stats);
}

void load_phases_free(struct load_phases *p)
{
	if (!p)
		return;
	for (unsigned i = 0; i < load_phases_count(p); i++)
		free_stats(p->all[i].stats, p->threads);
	free(p);
}

int load_phases_add(struct load_phases *p, const char *name, uint64_t start, bool warmup)
{
	unsigned count = load_phases_count(p);
	struct load_stats *stats;
	struct phase *phase = &p->all[count];
	int r = 0;

	if (count == LOAD_PHASES_MAX)
		return -ENOSPC;
	stats = calloc(p->threads, sizeof(*stats));
	if (!stats)
		return -ENOMEM;
	for (unsigned i = 0; r == 0 && i < p->threads; i++)
		r = load_stats_init(&stats[i]);
	if (r < 0) {
		free_stats(stats, p->threads);
		return r;
	}
	phase->start = start;
	phase->warmup = warmup;
	phase->stats = stats;
	load_phases_rename(p, count, name);
	atomic_store_explicit(&p->count, count + 1, memory_order_release);
	return 0;
}

void load_phases_rename(struct load_phases *p, unsigned phase, const char *name)
{
	char *to = p->all[phase].name;

	strncpy(to, name, LOAD_NAME_MAX);
	to[LOAD_NAME_MAX] = '\0';
}

unsigned load_phases_count(const struct load_phases *p)
{
	return atomic_load_explicit(&p->count, memory_order_acquire);
}

const char *load_phases_name(const struct load_phases *p, unsigned phase)
{
	return p->all[phase].name;
}

bool load_phases_warmup(const struct load_phases *p, unsigned phase)
{
	return p->all[phase].warmup;
}

uint64_t load_phases_start(const struct load_phases *p, unsigned phase)
{
	return p->all[phase].start;
}

unsigned load_phases_find(const struct load_phases *p, uint64_t time)
{
	unsigned i = load_phases_count(p);

	/* Backwards: nearly always it is the last one. */
	while (i > 1 && p->all[i - 1].start > time)
		i--;
	return i ? i - 1 : 0;
}

struct load_stats *load_phases_stats(struct load_phases *p, unsigned phase, unsigned thread)
{
	return &p->all[phase].stats[thread];
}
