/* SPDX-License-Identifier: Apache-2.0 */
/* The main thread wakes up a little after an interval has ended, when the worker may already have
 * recorded into the next one. So there are two open intervals, and a time decides which one it
 * goes to; the third is with the main thread. Should the main thread be late by more than a whole
 * interval, the later of the two takes the excess: nothing is lost. */
#include "loadgen/recorder.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

struct load_recorder {
	struct load_phases *phases;
	unsigned thread;
	struct weft_hist *lag;
	atomic_uint_fast64_t in_flight, queued;

	pthread_mutex_t lock; /* of what follows; held for some ten ns */
	uint64_t end;         /* of *current */
	struct load_interval *current, *next, *spare;

	struct load_interval all[3];
};

int load_interval_init(struct load_interval *i)
{
	*i = (struct load_interval){0};
	return weft_hist_new(3, WEFT_HIST_HOUR_NS, &i->latency);
}

void load_interval_done(struct load_interval *i)
{
	weft_hist_free(i->latency);
	*i = (struct load_interval){0};
}

void load_interval_reset(struct load_interval *i)
{
	struct weft_hist *latency = i->latency;

	weft_hist_reset(latency);
	*i = (struct load_interval){.latency = latency};
}

int load_recorder_new(struct load_phases *phases, unsigned thread, struct load_recorder **ret)
{
	_cleanup_(load_recorder_freep) struct load_recorder *r = calloc(1, sizeof(*r));
	int e;

	if (!r)
		return -ENOMEM;
	r->phases = phases;
	r->thread = thread;
	r->current = &r->all[0];
	r->next = &r->all[1];
	r->spare = &r->all[2];
	pthread_mutex_init(&r->lock, NULL);
	e = weft_hist_new(3, WEFT_HIST_HOUR_NS, &r->lag);
	for (int i = 0; e == 0 && i < 3; i++)
		e = load_interval_init(&r->all[i]);
	if (e < 0)
		return e;
	*ret = TAKE_PTR(r);
	return 0;
}

void load_recorder_free(struct load_recorder *r)
{
	if (!r)
		return;
	for (int i = 0; i < 3; i++)
		load_interval_done(&r->all[i]);
	weft_hist_free(r->lag);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

void load_recorder_start(struct load_recorder *r, uint64_t end)
{
	pthread_mutex_lock(&r->lock);
	r->end = end;
	pthread_mutex_unlock(&r->lock);
}

void load_recorder_take(struct load_recorder *r, uint64_t end, struct load_interval *sum)
{
	struct load_interval *taken;

	pthread_mutex_lock(&r->lock);
	taken = r->current;
	r->current = r->next;
	r->next = r->spare;
	r->end = end;
	pthread_mutex_unlock(&r->lock);

	sum->sent += taken->sent;
	sum->ok += taken->ok;
	sum->failed += taken->failed;
	sum->in_flight += atomic_load_explicit(&r->in_flight, memory_order_relaxed);
	sum->queued += atomic_load_explicit(&r->queued, memory_order_relaxed);
	weft_hist_merge(sum->latency, taken->latency);
	load_interval_reset(taken);
	r->spare = taken;
}

/* The interval in which a time lies. The lock is held. */
static struct load_interval *interval_of(struct load_recorder *r, uint64_t time)
{
	return time < r->end ? r->current : r->next;
}

void load_recorder_lag(struct load_recorder *r, uint64_t ns)
{
	weft_hist_record(r->lag, ns);
}

void load_recorder_sent(struct load_recorder *r, uint64_t now)
{
	pthread_mutex_lock(&r->lock);
	interval_of(r, now)->sent++;
	pthread_mutex_unlock(&r->lock);
}

static struct load_stats *stats_of(struct load_recorder *r, uint64_t time)
{
	return load_phases_stats(r->phases, load_phases_find(r->phases, time), r->thread);
}

void load_recorder_ended(struct load_recorder *r, const struct load_sample *s)
{
	struct load_stats *stats = stats_of(r, s->intended);
	uint64_t latency = s->done - s->intended;
	struct load_interval *i;

	stats->requests++;
	stats->by_class[s->class]++;
	stats->bytes += s->bytes;
	if (s->class == LOAD_OK) {
		weft_hist_record(stats->latency, latency);
		weft_hist_record(stats->service, s->done - s->sent);
	}
	pthread_mutex_lock(&r->lock);
	i = interval_of(r, s->done);
	if (s->class == LOAD_OK) {
		i->ok++;
		weft_hist_record(i->latency, latency);
	} else {
		i->failed++;
	}
	pthread_mutex_unlock(&r->lock);
}

void load_recorder_stale(struct load_recorder *r, uint64_t intended, bool retried)
{
	struct load_stats *stats = stats_of(r, intended);

	stats->stale++;
	if (retried)
		stats->retries++;
}

void load_recorder_reconnected(struct load_recorder *r, uint64_t now)
{
	stats_of(r, now)->reconnects++;
}

void load_recorder_gauge(struct load_recorder *r, uint64_t in_flight, uint64_t queued)
{
	atomic_store_explicit(&r->in_flight, in_flight, memory_order_relaxed);
	atomic_store_explicit(&r->queued, queued, memory_order_relaxed);
}

const struct weft_hist *load_recorder_lags(const struct load_recorder *r)
{
	return r->lag;
}
