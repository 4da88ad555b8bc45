/* SPDX-License-Identifier: Apache-2.0 */
#include "ctrl/base/jsonpos.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ctrl/base/util.h"

static const char text[] = "{\n"
			   "  \"a\": [ 1, {\"b\": \"x,]}\\\"\"}, [] , [[{}]]],\n"
			   "\t\"caf\xc3\xa9\": {\"k.l\": null},\n"
			   "  \"e\\u0073c\\\"\": true, \"\": 7,\n"
			   "  \"\\ud83d\\ude00\": -1.5e3, \"last\": {}\n"
			   "}\n";

static void assert_value(const char *path, unsigned line, unsigned column)
{
	struct weft_jsonpos pos = {0};

	assert_int_equal(weft_jsonpos_value(text, strlen(text), path, &pos), 0);
	assert_int_equal(pos.line, line);
	assert_int_equal(pos.column, column);
}

static void test_values(void **state)
{
	(void)state;
	assert_value("", 1, 1);
	assert_value("a", 2, 8);
	assert_value("a[0]", 2, 10);
	assert_value("a[1]", 2, 13);
	assert_value("a[1].b", 2, 19);
	assert_value("a[2]", 2, 30);
	assert_value("a[3][0][0]", 2, 37);
	assert_value("last", 5, 35);
}

static void test_odd_names(void **state)
{
	(void)state;
	assert_value("[\"caf\xc3\xa9\"]", 3, 10); /* the e with its accent is one column */
	assert_value("[\"caf\xc3\xa9\"][\"k.l\"]", 3, 18);
	assert_value("[\"esc\\\"\"]", 4, 17);
	assert_value("[\"\"]", 4, 27);
	assert_value("[\"\xf0\x9f\x98\x80\"]", 5, 19);
	assert_value("[\"\\ud83d\\ude00\"]", 5, 19);
}

static void test_names(void **state)
{
	struct weft_jsonpos pos;

	(void)state;
	assert_int_equal(weft_jsonpos_name(text, strlen(text), "a[1].b", &pos), 0);
	assert_int_equal(pos.line, 2);
	assert_int_equal(pos.column, 14);
	assert_int_equal(text[pos.offset], '"');
	assert_int_equal(weft_jsonpos_name(text, strlen(text), "a[1]", &pos), 0);
	assert_int_equal(pos.column, 13); /* an element has no name: its value */
	assert_int_equal(weft_jsonpos_name(text, strlen(text), "", &pos), 0);
	assert_int_equal(pos.offset, 0);
}

static void test_absent(void **state)
{
	static const char *const paths[] = {
		"x", "a.b", "a[4]", "a[0].b", "a[2][0]", "last[0]", "a[1][0]", "a[1].b.c"};
	static const char *const malformed[] = {".a", "a.", "a[", "a[]", "a[x]", "a[1", "a[\"b\"",
		"a[99999999999999999999999]", "a b"};
	struct weft_jsonpos pos = {.line = 77};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++)
		assert_int_equal(weft_jsonpos_value(text, strlen(text), paths[i], &pos), -ENOENT);
	for (size_t i = 0; i < ARRAY_SIZE(malformed); i++)
		assert_int_equal(
			weft_jsonpos_value(text, strlen(text), malformed[i], &pos), -EINVAL);
	assert_int_equal(pos.line, 77);
}

/* Cut anywhere, the text is no JSON any more; the scanner must still stay inside it. */
static void test_truncated(void **state)
{
	struct weft_jsonpos pos;

	(void)state;
	for (size_t n = 0; n < strlen(text); n++) {
		char *copy = malloc(n + 1); /* of this size, so that ASAN sees one byte too many */

		assert_non_null(copy);
		memcpy(copy, text, n);
		weft_jsonpos_value(copy, n, "last.x", &pos);
		weft_jsonpos_value(copy, n, "[\"esc\\\"\"]", &pos);
		weft_jsonpos_value(copy, n, "a[3][0][0]", &pos);
		free(copy);
	}
}

static void test_deep(void **state)
{
	static char deep[200001];
	struct weft_jsonpos pos;

	(void)state;
	memset(deep, '[', 100000);
	memset(deep + 100000, ']', 100000);
	assert_int_equal(weft_jsonpos_value(deep, 200000, "[1]", &pos), -ENOENT);
	assert_int_equal(weft_jsonpos_value(deep, 200000, "[0][0]", &pos), 0);
	assert_int_equal(pos.column, 3);
}

static void test_paths(void **state)
{
	char path[24] = "";

	(void)state;
	assert_int_equal(weft_jsonpath_member(path, sizeof(path), "ab"), 0);
	assert_int_equal(weft_jsonpath_element(path, sizeof(path), 12), 0);
	assert_int_equal(weft_jsonpath_member(path, sizeof(path), "c"), 0);
	assert_string_equal(path, "ab[12].c");
	assert_int_equal(weft_jsonpath_member(path, sizeof(path), "d.\n\""), 0);
	assert_string_equal(path, "ab[12].c[\"d.\\u000a\\\"\"]");
	assert_int_equal(weft_jsonpath_member(path, sizeof(path), "e"), -ENAMETOOLONG);
	assert_int_equal(weft_jsonpath_member(path, sizeof(path), "f g"), -ENAMETOOLONG);
	assert_int_equal(weft_jsonpath_element(path, sizeof(path), 0), -ENAMETOOLONG);
	assert_string_equal(path, "ab[12].c[\"d.\\u000a\\\"\"]");
}

static void test_offsets(void **state)
{
	struct weft_jsonpos pos;

	(void)state;
	weft_jsonpos_at("ab\ncd", 5, 4, &pos);
	assert_int_equal(pos.line, 2);
	assert_int_equal(pos.column, 2);
	weft_jsonpos_at("ab\n", 3, 99, &pos);
	assert_int_equal(pos.offset, 3);
	assert_int_equal(pos.line, 2);
	assert_int_equal(pos.column, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_odd_names),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_absent),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_deep),
		cmocka_unit_test(test_paths),
		cmocka_unit_test(test_offsets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
