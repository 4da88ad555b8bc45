/* SPDX-License-Identifier: Apache-2.0 */
/* What differs between two descriptors of one service. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "ctrl/engine/internal.h"

#define ONE(micro) "{\"applications\": [{\"microservices\": [" micro "]}]}"

static void expect(const char *before, const char *after, const char *wanted)
{
	json_auto_t *a = json_loads(before, JSON_DECODE_ANY, NULL);
	json_auto_t *b = json_loads(after, JSON_DECODE_ANY, NULL);
	json_auto_t *list = json_array();
	_cleanup_(freep) char *text = NULL;

	assert_non_null(a);
	assert_non_null(b);
	descriptor_changes(a, b, list);
	text = json_dumps(list, JSON_COMPACT | JSON_SORT_KEYS);
	assert_string_equal(text, wanted);
}

static void test_keys(void **state)
{
	(void)state;
	expect(ONE("{\"memory\": 1}"), ONE("{\"memory\": 1}"), "[]");
	expect(ONE("{\"memory\": 1, \"a\": []}"), ONE("{\"memory\": 2, \"a\": []}"),
		"[{\"from\":1,\"key\":\"memory\",\"to\":2}]");
	expect(ONE("{\"a\": {\"b\": 1}}"), ONE("{\"a\": {\"c\": null}}"),
		"[{\"from\":1,\"key\":\"a.b\"},{\"key\":\"a.c\",\"to\":null}]");
	expect(ONE("{\"v\": [1, {\"x\": 1}]}"), ONE("{\"v\": [1, {\"x\": 2}, 3]}"),
		"[{\"from\":1,\"key\":\"v[1].x\",\"to\":2},{\"key\":\"v[2]\",\"to\":3}]");
	expect(ONE("{\"v\": [1, 2]}"), ONE("{\"v\": {}}"),
		"[{\"from\":[1,2],\"key\":\"v\",\"to\":{}}]");
	expect("{\"customerID\": \"a\", \"applications\": []}",
		"{\"customerID\": \"b\", \"applications\": []}",
		"[{\"from\":\"a\",\"key\":\"customerID\",\"to\":\"b\"}]");
}

/* What is nested deeper than any descriptor is a change as a whole. */
static void test_depth(void **state)
{
	char a[400] = "", b[400] = "";

	(void)state;
	for (int i = 0; i < 100; i++) {
		strcat(a, "[");
		strcat(b, "[");
	}
	strcat(a, "1");
	strcat(b, "2");
	for (int i = 0; i < 100; i++) {
		strcat(a, "]");
		strcat(b, "]");
	}
	json_auto_t *x = json_loads(a, 0, NULL), *y = json_loads(b, 0, NULL), *list = json_array();

	descriptor_changes(x, y, list);
	assert_int_equal(json_array_size(list), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keys),
		cmocka_unit_test(test_depth),
	};

	return cmocka_run_group_tests_name("changes", tests, NULL, NULL);
}
