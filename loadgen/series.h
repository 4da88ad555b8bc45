/* SPDX-License-Identifier: Apache-2.0 */
/* The per-interval series: kept for the result, and written as JSON lines while the run goes on. */
#ifndef WEFT_LOADGEN_SERIES_H
#define WEFT_LOADGEN_SERIES_H

#include <stddef.h>

#include "loadgen/recorder.h"

enum { LOAD_SERIES_MAX = 1000000 }; /* intervals kept; those after it are only written */

struct load_point {
	uint64_t t_ms; /* since the epoch, of the beginning of the interval */
	uint64_t sent, ok, failed, in_flight, queued;
	uint64_t p50, p90, p99, max; /* ns; meaningless when ok is 0 */
	unsigned phase;              /* in which the interval began */
};

struct load_series;

/* path: file of JSON lines, truncated; may be NULL. */
int load_series_open(const char *path, struct load_series **ret, struct weft_err *err);
void load_series_close(struct load_series *s);
WEFT_DEFINE_CLEANUP(struct load_series *, load_series_close);

/* Append an interval. A failure to write or to keep it is remembered for load_series_check. */
void load_series_add(struct load_series *s, uint64_t t_ms, unsigned phase, const char *phase_name,
	const struct load_interval *i);

size_t load_series_count(const struct load_series *s);
const struct load_point *load_series_point(const struct load_series *s, size_t index);
json_t *load_point_json(const struct load_point *p, const char *phase_name); /* NULL: no memory */

/* Was every interval kept and written? 0, or the first error. */
int load_series_check(const struct load_series *s, struct weft_err *err);

#endif
