/* SPDX-License-Identifier: Apache-2.0 */
/* A worker: a thread with its own loop, connections, requests and recorder. It shares with the
 * others only what is below and what is read-only. */
#ifndef WEFT_LOADGEN_WORKER_H
#define WEFT_LOADGEN_WORKER_H

#include <stdatomic.h>

#include "loadgen/recorder.h"
#include "loadgen/target.h"

struct load_shared {
	const struct load_options *options;
	const struct load_target *target;
	void *protocol; /* of the driver's setup */
	struct load_phases *phases;
	int report_fd; /* eventfd; written whenever one of the two counters went up */
	atomic_uint ready, finished;

	/* weft_now_ns(), set by the main thread, which wakes the workers afterwards. */
	atomic_uint_fast64_t start; /* 0: not yet */
	atomic_uint_fast64_t end;   /* nothing due from here on is sent */
	atomic_bool abort;          /* do not even wait for answers */
};

struct load_worker;

/* Start thread number index. It opens its connections, reports to be ready, waits for the start,
 * and is finished when all that was due before the end got its answer or timed out. */
int load_worker_new(
	struct load_shared *shared, unsigned index, struct load_worker **ret, struct weft_err *err);

/* Ends the thread at once if it still runs, and waits for it. NULL is allowed. */
void load_worker_free(struct load_worker *w);

void load_worker_wake(struct load_worker *w);
void load_worker_join(struct load_worker *w);
struct load_recorder *load_worker_recorder(struct load_worker *w);

/* After load_worker_join. */
uint64_t load_worker_connects(const struct load_worker *w);   /* connections that were opened */
uint64_t load_worker_unfinished(const struct load_worker *w); /* requests lost to an abort */

#endif
