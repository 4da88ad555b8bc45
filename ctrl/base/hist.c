/* SPDX-License-Identifier: Apache-2.0 */
/* Layout. With half = 2^k linear buckets to a power of two, the values below 2 * half have a bucket
 * each; above, a value is shifted right until it lies in [half, 2 * half), which costs it its low
 * bits, and the number of shifts picks the group of half buckets. Index and value are
 *   index = shift * half + (value >> shift)      lowest value = (index - shift * half) << shift
 * and the width of a bucket is 2^shift <= value / half. */
#include "ctrl/base/hist.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

struct weft_hist {
	unsigned digits, half_bits;
	uint64_t highest;
	uint64_t count, saturated, min, max;
	unsigned __int128 sum;
	size_t first,
		end; /* the used buckets lie in [first, end), so that reset and walks are short */
	size_t buckets;
	uint64_t counts[];
};

static size_t bucket_of(const struct weft_hist *h, uint64_t value)
{
	unsigned bits = 64 - (unsigned)__builtin_clzll(value | 1);
	unsigned shift = bits > h->half_bits + 1 ? bits - h->half_bits - 1 : 0;

	return ((size_t)shift << h->half_bits) + (size_t)(value >> shift);
}

static unsigned shift_of(const struct weft_hist *h, size_t bucket)
{
	size_t group = bucket >> h->half_bits;

	return group > 1 ? (unsigned)group - 1 : 0;
}

static uint64_t lowest_in(const struct weft_hist *h, size_t bucket)
{
	unsigned shift = shift_of(h, bucket);

	return (uint64_t)(bucket - ((size_t)shift << h->half_bits)) << shift;
}

static uint64_t highest_in(const struct weft_hist *h, size_t bucket)
{
	return lowest_in(h, bucket) + (1ULL << shift_of(h, bucket)) - 1;
}

int weft_hist_new(unsigned digits, uint64_t highest, struct weft_hist **ret)
{
	struct weft_hist shape = {.digits = digits, .highest = highest}, *h;
	uint64_t resolution = 1;

	if (digits < 1 || digits > 5 || highest >= 1ULL << 62)
		return -EINVAL;
	for (unsigned i = 0; i < digits; i++)
		resolution *= 10;
	if (highest < 2 * resolution)
		return -EINVAL;
	while (1ULL << shape.half_bits < resolution)
		shape.half_bits++;
	shape.buckets = bucket_of(&shape, highest) + 1;
	shape.first = shape.buckets;

	h = calloc(1, sizeof(*h) + shape.buckets * sizeof(h->counts[0]));
	if (!h)
		return -ENOMEM;
	*h = shape;
	*ret = h;
	return 0;
}

void weft_hist_free(struct weft_hist *h)
{
	free(h);
}

static void widen(struct weft_hist *h, size_t first, size_t end)
{
	if (first < h->first)
		h->first = first;
	if (end > h->end)
		h->end = end;
}

void weft_hist_record_n(struct weft_hist *h, uint64_t value, uint64_t times)
{
	size_t bucket;

	if (!times)
		return;
	if (value > h->highest) {
		value = h->highest;
		h->saturated += times;
	}
	bucket = bucket_of(h, value);
	h->counts[bucket] += times;
	widen(h, bucket, bucket + 1);
	if (!h->count || value < h->min)
		h->min = value;
	if (value > h->max)
		h->max = value;
	h->count += times;
	h->sum += (unsigned __int128)value * times;
}

void weft_hist_record(struct weft_hist *h, uint64_t value)
{
	weft_hist_record_n(h, value, 1);
}

int weft_hist_merge(struct weft_hist *to, const struct weft_hist *from)
{
	if (to->digits != from->digits || to->highest != from->highest)
		return -EINVAL;
	if (!from->count)
		return 0;
	for (size_t i = from->first; i < from->end; i++)
		to->counts[i] += from->counts[i];
	widen(to, from->first, from->end);
	if (!to->count || from->min < to->min)
		to->min = from->min;
	if (from->max > to->max)
		to->max = from->max;
	to->count += from->count;
	to->saturated += from->saturated;
	to->sum += from->sum;
	return 0;
}

void weft_hist_reset(struct weft_hist *h)
{
	if (h->first < h->end)
		memset(h->counts + h->first, 0, (h->end - h->first) * sizeof(h->counts[0]));
	h->first = h->buckets;
	h->end = 0;
	h->count = h->saturated = h->min = h->max = 0;
	h->sum = 0;
}

uint64_t weft_hist_count(const struct weft_hist *h)
{
	return h->count;
}

uint64_t weft_hist_saturated(const struct weft_hist *h)
{
	return h->saturated;
}

uint64_t weft_hist_min(const struct weft_hist *h)
{
	return h->min;
}

uint64_t weft_hist_max(const struct weft_hist *h)
{
	return h->max;
}

double weft_hist_mean(const struct weft_hist *h)
{
	return h->count ? (double)h->sum / (double)h->count : 0;
}

/* 1-based position, in sorted order, of the value asked for. The factor takes back what the
 * multiplication may have added: 99.9 % of 1000 is the 999th value, not the 1000th. */
static uint64_t rank_of(const struct weft_hist *h, double p)
{
	double rank;

	if (!(p > 0))
		return 1;
	if (p >= 100)
		return h->count;
	rank = ceil(p / 100 * (double)h->count * (1 - 1e-12));
	if (rank < 1)
		return 1;
	return rank < (double)h->count ? (uint64_t)rank : h->count;
}

uint64_t weft_hist_percentile(const struct weft_hist *h, double p)
{
	uint64_t rank = rank_of(h, p), seen = 0;

	for (size_t i = h->first; i < h->end; i++) {
		seen += h->counts[i];
		if (seen >= rank && seen) {
			uint64_t value = highest_in(h, i);

			return value < h->max ? value : h->max;
		}
	}
	return 0;
}

json_t *weft_hist_json(const struct weft_hist *h, double scale)
{
	json_auto_t *buckets = json_array();

	for (size_t i = h->first; i < h->end; i++) {
		json_t *pair;

		if (!h->counts[i])
			continue;
		pair = json_pack(
			"[f, I]", (double)lowest_in(h, i) * scale, (json_int_t)h->counts[i]);
		if (!pair || json_array_append_new(buckets, pair) < 0)
			return NULL;
	}
	return json_pack("{s:i, s:f, s:I, s:I, s:f, s:f, s:f, s:O}", "digits", (int)h->digits,
		"highest", (double)h->highest * scale, "count", (json_int_t)h->count, "saturated",
		(json_int_t)h->saturated, "min", (double)h->min * scale, "max",
		(double)h->max * scale, "mean", weft_hist_mean(h) * scale, "buckets", buckets);
}
