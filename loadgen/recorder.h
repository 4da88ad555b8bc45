/* SPDX-License-Identifier: Apache-2.0 */
/* What a thread measures: totals of each phase, and the current interval of the series. A worker
 * thread writes; the main thread takes finished intervals out while it runs. */
#ifndef WEFT_LOADGEN_RECORDER_H
#define WEFT_LOADGEN_RECORDER_H

#include "loadgen/phase.h"

/* All times are weft_now_ns(). */
struct load_sample {
	uint64_t intended, sent, done; /* sent 0: it never was */
	uint64_t bytes;                /* of the response */
	enum load_class class;
};

/* One interval, of one thread or of all. */
struct load_interval {
	uint64_t sent, ok, failed; /* by the time they were sent, and by the time they ended */
	uint64_t in_flight;        /* sent and not answered, at the end of the interval */
	uint64_t queued;           /* due and not sent, at the end of the interval */
	struct weft_hist *latency; /* of those that are ok */
};

int load_interval_init(struct load_interval *i); /* -ENOMEM */
void load_interval_done(struct load_interval *i);
void load_interval_reset(struct load_interval *i);

struct load_recorder;

/* The phases outlive the recorder. */
int load_recorder_new(struct load_phases *phases, unsigned thread, struct load_recorder **ret);
void load_recorder_free(struct load_recorder *r);
WEFT_DEFINE_CLEANUP(struct load_recorder *, load_recorder_free);

/* The main thread. The first interval ends at end; call before the worker records anything. */
void load_recorder_start(struct load_recorder *r, uint64_t end);

/* The main thread. Add the interval whose end was set last to sum, and let the next end at end. */
void load_recorder_take(struct load_recorder *r, uint64_t end, struct load_interval *sum);

/* The worker. */
void load_recorder_lag(struct load_recorder *r, uint64_t ns); /* intended time → being dispatched */
void load_recorder_sent(struct load_recorder *r, uint64_t now);
void load_recorder_ended(struct load_recorder *r, const struct load_sample *s);
void load_recorder_stale(struct load_recorder *r, uint64_t intended, bool retried);
void load_recorder_reconnected(struct load_recorder *r, uint64_t now);
void load_recorder_gauge(struct load_recorder *r, uint64_t in_flight, uint64_t queued);

/* How late the worker was itself, as far as it is not the server's doing. After the run. */
const struct weft_hist *load_recorder_lags(const struct load_recorder *r);

#endif
