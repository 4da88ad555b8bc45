/* SPDX-License-Identifier: Apache-2.0 */
/* Histogram of values with a bounded relative error (HDR, log-linear): every power of two is cut
 * into equally many linear buckets, so that a recorded value is known to `digits` significant
 * decimal digits whatever its size, in memory fixed at creation. Pure: no clock, no locks.
 *
 * Values are plain numbers; weft records nanoseconds. 3 digits up to one hour take 261 KiB, of
 * which only the pages that were recorded into are ever touched. */
#ifndef WEFT_BASE_HIST_H
#define WEFT_BASE_HIST_H

#include <stdint.h>

#include <jansson.h>

#include "ctrl/base/cleanup.h"

#define WEFT_HIST_HOUR_NS 3600000000000ULL

struct weft_hist;

/* digits 1..5, highest at least 2 * 10^digits and below 2^62. -EINVAL, -ENOMEM. */
int weft_hist_new(unsigned digits, uint64_t highest, struct weft_hist **ret);
void weft_hist_free(struct weft_hist *h); /* NULL is allowed */
WEFT_DEFINE_CLEANUP(struct weft_hist *, weft_hist_free);

/* A value above `highest` is recorded as highest and counted as saturated too. */
void weft_hist_record(struct weft_hist *h, uint64_t value);
void weft_hist_record_n(struct weft_hist *h, uint64_t value, uint64_t times);

/* Add all of from to to. -EINVAL when they were not created with the same arguments. */
int weft_hist_merge(struct weft_hist *to, const struct weft_hist *from);
void weft_hist_reset(struct weft_hist *h);

/* Of an empty histogram all of these are 0. min, max, sum and therefore mean are exact. */
uint64_t weft_hist_count(const struct weft_hist *h);
uint64_t weft_hist_saturated(const struct weft_hist *h);
uint64_t weft_hist_min(const struct weft_hist *h);
uint64_t weft_hist_max(const struct weft_hist *h);
double weft_hist_mean(const struct weft_hist *h);

/* The smallest value v so that at least p percent of the values are <= v. v is the upper edge of
 * its bucket: never below the exact percentile, and above it by less than one part in 10^digits.
 * p is clamped to 0..100; 0 gives the bucket of the minimum, 100 the exact maximum. */
uint64_t weft_hist_percentile(const struct weft_hist *h, double p);

/* {"digits","highest","count","saturated","min","max","mean","buckets":[[lowest value, count]...]}
 * with only the buckets that hold something, values multiplied by scale (0.001: ns to us). NULL
 * when out of memory. */
json_t *weft_hist_json(const struct weft_hist *h, double scale);

#endif
