/* SPDX-License-Identifier: Apache-2.0 */
/* One run from the options to its result. */
#ifndef WEFT_LOADGEN_RUN_H
#define WEFT_LOADGEN_RUN_H

#include "loadgen/phase.h"
#include "loadgen/series.h"

struct load_result {
	uint64_t start_ms;   /* since the epoch */
	uint64_t start, end; /* weft_now_ns(): what was due in [start, end) was sent */
	uint64_t connects;   /* connections that were opened */
	uint64_t unfinished; /* requests without an outcome: the run was aborted */
	struct load_phases *phases;
	struct load_stats by_phase[LOAD_PHASES_MAX];
	struct load_stats total; /* without warm-up */
	struct weft_hist *lag;   /* how late the generator itself was */
	struct load_series *series;
};

/* Run until the duration is over, a command or a signal (SIGINT, SIGTERM: blocked in the calling
 * thread meanwhile, and taken from a signalfd) stops it; a second signal aborts it. -ECONNREFUSED:
 * not a single connection could be made. */
int load_run(const struct load_options *o, struct load_result **ret, struct weft_err *err);

void load_result_free(struct load_result *r);
WEFT_DEFINE_CLEANUP(struct load_result *, load_result_free);

#endif
