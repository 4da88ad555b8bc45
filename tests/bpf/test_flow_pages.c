/* SPDX-License-Identifier: Apache-2.0 */
/* Pages of a flow table that is larger than what one page may go over: each costs so much at most,
 * together they have every entry once, and the number of all comes from the sweep. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ctrl/base/util.h"
#include "ctrl/engine/internal.h"
#include "tests/lib/dp_lab.h"

#define TABLE   (4U << 20)
#define AT_ONCE (1U << 20) /* as ctrl/schema/api.md says */
#define CLIENT  4
#define SERVICE 1
#define VIP     "10.30.0.1"
#define FLOWS   64

/* As much of an engine as pages ask for. */
static struct weft_engine *engine;
static char web_name[] = "shop.web", one_name[] = "shop.web.1", two_name[] = "shop.web.2";
static struct service web = {.id = SERVICE, .name = web_name};
static struct instance one = {.id = 1, .name = one_name, .service = &web};
static struct instance two = {.id = 2, .name = two_name, .service = &web};

static int setup(void **state)
{
	struct weft_dp_config config = {.bpffs_dir = LAB_PINS, .max_flows = TABLE};
	const struct weft_dp_weight w[] = {{1, 1}, {2, 1}};
	struct weft_err err = {0};

	(void)state;
	engine = calloc(1, sizeof(*engine));
	assert_non_null(engine);
	if (weft_dp_open(&config, &engine->dp, &err) < 0)
		fail_msg("%s", err.msg);
	engine->services = &web;
	engine->instances = &one;
	one.next = &two;
	lab_service(engine->dp, SERVICE, VIP);
	lab_add(engine->dp, 1, SERVICE);
	lab_add(engine->dp, 2, SERVICE);
	lab_add(engine->dp, CLIENT, 0);
	lab_weights(engine->dp, SERVICE, w, ARRAY_SIZE(w));
	return 0;
}

static int teardown(void **state)
{
	struct weft_err err = {0};

	(void)state;
	weft_dp_free(engine->dp);
	free(engine);
	return weft_dp_destroy(LAB_PINS, &err);
}

static void open_flows(uint16_t first, unsigned n)
{
	struct lab_frame f;

	for (unsigned i = 0; i < n; i++) {
		lab_udp(&f, (struct lab_tuple){CLIENT, VIP, (uint16_t)(first + i), 53}, 8);
		assert_int_equal(lab_run(engine->dp, &f), LAB_REDIRECT);
	}
}

static json_t *page(const struct weft_flow_query *q)
{
	struct weft_err err = {0};
	json_t *doc = NULL;

	if (weft_engine_dp_flows(engine, q, &doc, &err) < 0)
		fail_msg("%s", err.msg);
	assert_non_null(doc);
	return doc;
}

static uint64_t number(const json_t *doc, const char *key)
{
	const json_t *n = json_object_get(doc, key);

	assert_true(json_is_integer(n));
	return (uint64_t)json_integer_value(n);
}

/* All pages, each within its bound: so many items they have, and so many pages there are. */
static uint64_t go_over(struct weft_flow_query q, unsigned *ret_pages)
{
	uint64_t items = 0;
	bool more = true;

	for (*ret_pages = 0; more; ++*ret_pages) {
		json_auto_t *doc = page(&q);
		size_t n = json_array_size(json_object_get(doc, "items"));

		assert_true(n <= q.limit);
		items += n;
		more = !json_is_null(json_object_get(doc, "next"));
		if (!more)
			break;
		assert_true(number(doc, "next") > q.after);
		assert_true(number(doc, "next") <= q.after + AT_ONCE);
		q.after = number(doc, "next");
	}
	++*ret_pages;
	return items;
}

static void pages_are_bounded(void **state)
{
	const struct weft_flow_query all = {.limit = 10000}, few = {.limit = 7};
	const struct weft_flow_query first = {.instance = "shop.web.1", .limit = 10000};
	unsigned pages;

	(void)state;
	assert_int_equal(weft_dp_flow_capacity(engine->dp), TABLE);
	open_flows(2000, FLOWS);
	/* One entry to a flow and one to its answers. */
	assert_int_equal(go_over(all, &pages), 2 * FLOWS);
	assert_int_equal(pages, TABLE / AT_ONCE);
	assert_int_equal(go_over(first, &pages), FLOWS);
	assert_int_equal(pages, TABLE / AT_ONCE);
	assert_int_equal(go_over(few, &pages), 2 * FLOWS);
	assert_true(pages >= 2 * FLOWS / 7);
}

static uint64_t total(const char *service, const char *instance)
{
	const struct weft_flow_query q = {.service = service, .instance = instance, .limit = 1};
	json_auto_t *doc = page(&q);

	assert_int_equal(number(doc, "counted_ms"), engine->flows_ms);
	return number(doc, "total");
}

static void total_is_the_sweeps(void **state)
{
	(void)state;
	engine_count_flows(engine);
	assert_true(engine->flows_ms > 0);
	assert_int_equal(total(NULL, NULL), 2 * FLOWS);
	assert_int_equal(total("shop.web", NULL), 2 * FLOWS);
	assert_int_equal(total(NULL, "shop.web.2"), FLOWS);
	assert_int_equal(total("shop.web", "host"), 0);
	/* No page counts the whole of such a table for itself. */
	open_flows(3000, 2);
	assert_int_equal(total(NULL, NULL), 2 * FLOWS);
	engine_count_flows(engine);
	assert_int_equal(total(NULL, NULL), 2 * FLOWS + 4);
}

static void behind_the_end(void **state)
{
	const struct weft_flow_query last = {.after = TABLE - 1, .limit = 10};
	const struct weft_flow_query far = {.after = INT64_MAX, .limit = 10};

	(void)state;
	for (const struct weft_flow_query *q = &last; q; q = q == &last ? &far : NULL) {
		json_auto_t *doc = page(q);

		assert_true(json_is_null(json_object_get(doc, "next")));
		assert_true(number(doc, "total") > 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pages_are_bounded),
		cmocka_unit_test(total_is_the_sweeps),
		cmocka_unit_test(behind_the_end),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	if (!lab_enter())
		return 0;
	return cmocka_run_group_tests_name("flow-pages", tests, setup, teardown);
}
