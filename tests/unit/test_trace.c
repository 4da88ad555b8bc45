/* SPDX-License-Identifier: Apache-2.0 */
/* Hops without a kernel: the histograms' arithmetic, what hops are called, a trace as JSON. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ctrl/base/util.h"
#include "ctrl/engine/trace_internal.h"

/* --- histograms --- */

static void buckets_are_in_order(void **state)
{
	(void)state;
	for (uint64_t v = 0; v < 64; v++) {
		assert_int_equal(weft_hop_bucket(v), v);
		assert_int_equal(weft_hop_bucket_top((uint32_t)v), v);
	}
	for (uint32_t b = 0; b < WEFT_HOP_BUCKETS - 1; b++) {
		uint64_t top = weft_hop_bucket_top(b);

		assert_int_equal(weft_hop_bucket(top), b);
		assert_int_equal(weft_hop_bucket(top + 1), b + 1);
	}
	assert_int_equal(weft_hop_bucket_top(WEFT_HOP_BUCKETS - 1), UINT32_MAX);
	assert_int_equal(weft_hop_bucket(UINT32_MAX), WEFT_HOP_BUCKETS - 1);
	assert_int_equal(weft_hop_bucket(UINT64_MAX), WEFT_HOP_BUCKETS - 1);
}

static void buckets_are_narrow(void **state)
{
	(void)state;
	for (uint64_t v = 64; v < UINT32_MAX; v += v / 97 + 1) {
		uint64_t top = weft_hop_bucket_top(weft_hop_bucket(v));

		assert_true(top >= v);
		assert_true(top - v <= v / 32);
	}
}

static void add(struct weft_hop_hist *h, uint64_t v)
{
	h->bucket[weft_hop_bucket(v)]++;
	h->count++;
	h->sum += v;
	if (v > h->max)
		h->max = v;
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void percentiles_are_near(void **state)
{
	static const double ps[] = {0, 1, 25, 50, 90, 99, 99.9, 100};
	enum { N = 5000 };
	static uint64_t values[N];
	static struct weft_hop_hist h;
	uint32_t x = 1;

	(void)state;
	for (int i = 0; i < N; i++) {
		x = x * 1664525 + 1013904223;
		values[i] = (x >> 8) % (i % 10 ? 3000 : 3000000);
		add(&h, values[i]);
	}
	qsort(values, N, sizeof(values[0]), by_value);
	for (size_t i = 0; i < ARRAY_SIZE(ps); i++) {
		size_t rank = (size_t)(ps[i] / 100 * N + 0.999999);
		uint64_t exact = values[rank ? rank - 1 : 0];
		uint64_t got = weft_dp_trace_percentile(&h, ps[i]);

		assert_true(got >= exact);
		assert_true(got - exact <= exact / 32);
	}
	assert_int_equal(weft_dp_trace_percentile(&h, 100), values[N - 1]);
}

static void odd_histograms(void **state)
{
	static struct weft_hop_hist none, one, long_ago;

	(void)state;
	assert_int_equal(weft_dp_trace_percentile(&none, 50), 0);
	add(&one, 777);
	assert_int_equal(weft_dp_trace_percentile(&one, 0), 777);
	assert_int_equal(weft_dp_trace_percentile(&one, 50), 777);
	assert_int_equal(weft_dp_trace_percentile(&one, 100), 777);
	/* above what the buckets reach to, only the largest is known */
	add(&long_ago, 1ULL << 40);
	add(&long_ago, 1ULL << 35);
	assert_int_equal(weft_dp_trace_percentile(&long_ago, 50), 1ULL << 40);
}

/* --- names --- */

static void names(void **state)
{
	(void)state;
	assert_string_equal(weft_dp_trace_hook_name(WEFT_HOOK_HOST), "host-in");
	assert_string_equal(weft_dp_trace_hook_name(WEFT_HOOK_READ), "read");
	assert_null(weft_dp_trace_hook_name((enum weft_hook)WEFT_HOOK_COUNT));
	for (unsigned i = 0; i < WEFT_HOOK_COUNT; i++)
		assert_true(strlen(weft_dp_trace_hook_text((enum weft_hook)i)) > 10);
	assert_string_equal(
		weft_dp_trace_hop(WEFT_HOOK_DEVICE, WEFT_HOOK_UPPER, true).part, "macvtap");
	assert_string_equal(
		weft_dp_trace_hop(WEFT_HOOK_UPPER_TX, WEFT_HOOK_TX, true).part, "macvtap");
	assert_string_equal(
		weft_dp_trace_hop(WEFT_HOOK_HOST, WEFT_HOOK_DEVICE, false).name, "weft");
	assert_string_equal(
		weft_dp_trace_hop(WEFT_HOOK_READ, WEFT_HOOK_TX, false).part, "application");
	assert_string_equal(weft_dp_trace_hop(WEFT_HOOK_READ, WEFT_HOOK_HOST, true).part, "guest");
	assert_string_equal(weft_dp_trace_hop(WEFT_HOOK_TX, WEFT_HOOK_READ, false).part, "other");
}

/* --- JSON --- */

static void hop(struct weft_dp_trace_way *w, enum weft_hook hook, uint64_t ns)
{
	w->hooks |= WEFT_HOOK_BIT(hook);
	if (ns)
		add(&w->hop[hook], ns);
}

/* One exchange with a guest on a macvtap, of 10 ns each but the turn in it. */
static void fill(struct weft_dp_trace_way w[3])
{
	static const enum weft_hook there[] = {WEFT_HOOK_RX, WEFT_HOOK_HOST, WEFT_HOOK_DEVICE,
		WEFT_HOOK_UPPER, WEFT_HOOK_RUNS, WEFT_HOOK_READ};
	static const enum weft_hook back[] = {WEFT_HOOK_TX, WEFT_HOOK_RX, WEFT_HOOK_HOST,
		WEFT_HOOK_DEVICE, WEFT_HOOK_QUEUED, WEFT_HOOK_RUNS, WEFT_HOOK_READ};

	memset(w, 0, 3 * sizeof(*w));
	for (int i = 0; i < 3; i++)
		strcpy(w[i].group, "unikernel macvtap");
	w[0].direction = WEFT_HOP_REQUEST;
	w[0].packets = 1;
	hop(&w[0], WEFT_HOOK_TX, 0);
	for (size_t i = 0; i < ARRAY_SIZE(there); i++)
		hop(&w[0], there[i], 10);
	w[1].direction = w[2].direction = WEFT_HOP_REPLY;
	w[1].packets = 1;
	hop(&w[1], WEFT_HOOK_UPPER_TX, 870);
	for (size_t i = 0; i < ARRAY_SIZE(back); i++)
		hop(&w[1], back[i], 10);
	add(&w[1].round_trip, 1000);
	/* a rarer way, whose packets answer nothing that is known */
	hop(&w[2], WEFT_HOOK_UPPER_TX, 0);
	hop(&w[2], WEFT_HOOK_READ, 5);
}

static json_t *at(json_t *doc, const char *path)
{
	char copy[128], *save = NULL;

	snprintf(copy, sizeof(copy), "%s", path);
	for (char *p = strtok_r(copy, ".", &save); p && doc; p = strtok_r(NULL, ".", &save))
		doc = *p >= '0' && *p <= '9' ? json_array_get(doc, (size_t)atoi(p))
					     : json_object_get(doc, p);
	if (!doc)
		fail_msg("nothing at %s", path);
	return doc;
}

#define TEXT(doc, path)   json_string_value(at(doc, path))
#define NUMBER(doc, path) json_number_value(at(doc, path))

static void a_trace_as_json(void **state)
{
	static struct weft_dp_trace_way ways[3];
	static struct weft_dp_trace_report r = {.ways = ways, .n_ways = 3};
	const struct trace_request q = {"shop.web", 10000, 1000};
	json_auto_t *doc = NULL;

	(void)state;
	fill(ways);
	r.counts = (struct weft_hop_counts){.begun = {2, 1},
		.read = {1, 1},
		.lost = {1, 0},
		.hits = 30,
		.hits_timed = 2,
		.hits_ns = 400};
	r.probes = 11;
	r.samples[0] = (struct weft_dp_trace_sample){.group = "g",
		.direction = WEFT_HOP_REPLY,
		.hooks = 3,
		.at_ns = {150, 170},
		.read_ns = 100};
	r.n_samples = 1;
	doc = trace_view(&q, &r, 4200, NULL);
	assert_non_null(doc);
	assert_string_equal(TEXT(doc, "service"), "shop.web");
	assert_int_equal(NUMBER(doc, "t_ms"), 4200);
	assert_true(json_is_null(at(doc, "ended")));
	assert_int_equal(json_array_size(at(doc, "groups")), 1);
	assert_int_equal(json_array_size(at(doc, "groups.0.ways")), 3);
	assert_int_equal(json_array_size(at(doc, "groups.0.ways.0.hops")), 6);
	assert_string_equal(TEXT(doc, "groups.0.ways.0.hops.0.from"), "veth-tx");
	assert_string_equal(TEXT(doc, "groups.0.ways.0.hops.0.to"), "host-rx");
	assert_true(json_is_null(at(doc, "groups.0.ways.0.round_trip")));
	assert_int_equal(json_array_size(at(doc, "groups.0.ways.1.hops")), 8);
	assert_string_equal(TEXT(doc, "groups.0.ways.1.hops.0.name"), "qemu and guest");
	assert_string_equal(TEXT(doc, "groups.0.ways.1.hops.0.from"), "read");
	assert_int_equal(NUMBER(doc, "groups.0.ways.1.hops.0.max_ns"), 870);
	assert_int_equal(NUMBER(doc, "groups.0.ways.1.round_trip.mean_ns"), 1000);
	assert_int_equal(NUMBER(doc, "groups.0.ways.1.round_trip.buckets.0.1"), 1);
	assert_int_equal(json_array_size(at(doc, "groups.0.ways.2.hops")), 1);
	assert_int_equal(NUMBER(doc, "packets.request.lost"), 1);
	assert_int_equal(NUMBER(doc, "cost.hook_ns"), 200);
	assert_int_equal(NUMBER(doc, "cost.packet_ns"), 3000);
	assert_string_equal(TEXT(doc, "samples.0.hooks.0.0"), "request read");
	assert_int_equal(NUMBER(doc, "samples.0.hooks.2.1"), 70);
}

/* Only of the ways that most packets took, and all of it: the parts are the round trip. */
static void parts_add_up(void **state)
{
	static struct weft_dp_trace_way ways[3];
	static struct weft_dp_trace_report r = {.ways = ways, .n_ways = 3};
	const struct trace_request q = {"shop.web", 10000, 1000};
	double mean = 0, share = 0;
	json_auto_t *doc = NULL;
	const json_t *part;
	size_t i;

	(void)state;
	fill(ways);
	doc = trace_view(&q, &r, 10000, "time");
	assert_string_equal(TEXT(doc, "ended"), "time");
	assert_string_equal(TEXT(doc, "groups.0.parts.0.part"), "guest");
	json_array_foreach (at(doc, "groups.0.parts"), i, part) {
		mean += json_number_value(json_object_get(part, "mean_ns"));
		share += json_number_value(json_object_get(part, "share"));
		if (strcmp(json_string_value(json_object_get(part, "part")), "macvtap") == 0)
			assert_int_equal(json_number_value(json_object_get(part, "mean_ns")), 20);
	}
	assert_int_equal(mean, 1000);
	assert_true(share > 0.999 && share < 1.001);
}

static void nothing_measured(void **state)
{
	static struct weft_dp_trace_report r;
	const struct trace_request q = {"shop.web", 100, 0};
	json_auto_t *doc = trace_view(&q, &r, 0, NULL);

	(void)state;
	assert_non_null(doc);
	assert_int_equal(json_array_size(at(doc, "groups")), 0);
	assert_int_equal(NUMBER(doc, "cost.packet_ns"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(buckets_are_in_order),
		cmocka_unit_test(buckets_are_narrow),
		cmocka_unit_test(percentiles_are_near),
		cmocka_unit_test(odd_histograms),
		cmocka_unit_test(names),
		cmocka_unit_test(a_trace_as_json),
		cmocka_unit_test(parts_add_up),
		cmocka_unit_test(nothing_measured),
	};

	return cmocka_run_group_tests_name("trace", tests, NULL, NULL);
}
