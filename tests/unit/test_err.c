/* SPDX-License-Identifier: Apache-2.0 */
#include "ctrl/base/err.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "ctrl/base/util.h"

static void test_set(void **state)
{
	struct weft_err err = {.hint = "old"};

	(void)state;
	assert_int_equal(weft_err_set(&err, ENOENT, "image %s: gone", "web"), -ENOENT);
	assert_int_equal(err.code, ENOENT);
	assert_string_equal(err.msg, "image web: gone");
	assert_string_equal(err.hint, ""); /* another error's hint would mislead */

	assert_int_equal(weft_err_set(&err, -EBUSY, "x"), -EBUSY);
	assert_int_equal(err.code, EBUSY);
	assert_int_equal(weft_err_set(&err, 0, "x"), -EIO); /* an error is never success */

	errno = EACCES;
	weft_err_set(&err, EINVAL, "open: %m");
	assert_string_equal(err.msg, "open: Permission denied");
}

static void test_nobody_listens(void **state)
{
	(void)state;
	assert_int_equal(weft_err_set(NULL, ENOENT, "x"), -ENOENT);
	assert_true(weft_err_hint(NULL, "x") < 0);
	assert_true(weft_err_prefix(NULL, "x") < 0);
}

static void test_hint_and_prefix(void **state)
{
	struct weft_err err;

	(void)state;
	weft_err_set(&err, EINVAL, "no such key");
	assert_int_equal(weft_err_hint(&err, "try %d", 1), -EINVAL);
	assert_int_equal(weft_err_prefix(&err, "f:%d", 3), -EINVAL);
	assert_string_equal(err.msg, "f:3: no such key");
	assert_string_equal(err.hint, "try 1");
}

static void test_long_texts(void **state)
{
	char text[2000];
	struct weft_err err;

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	weft_err_set(&err, EINVAL, "%s", text);
	assert_int_equal(strlen(err.msg), sizeof(err.msg) - 1);
	weft_err_prefix(&err, "front");
	assert_int_equal(strlen(err.msg), sizeof(err.msg) - 1);
	assert_int_equal(strncmp(err.msg, "front: xxx", 10), 0);
	weft_err_prefix(&err, "%s", text);
	assert_int_equal(strlen(err.msg), sizeof(err.msg) - 1);
	weft_err_hint(&err, "%s", text);
	assert_int_equal(strlen(err.hint), sizeof(err.hint) - 1);
}

/* What scripts and the API's users rely on. */
static void test_table(void **state)
{
	static const struct {
		int code;
		const char *word;
		int http, exit;
	} rows[] = {
		{EINVAL, "invalid", 400, 2},
		{EBADMSG, "malformed", 400, 2},
		{ENOENT, "not_found", 404, 3},
		{EEXIST, "conflict", 409, 4},
		{EBUSY, "conflict", 409, 4},
		{EADDRINUSE, "conflict", 409, 4},
		{ETIMEDOUT, "timeout", 504, 5},
		{ECONNREFUSED, "unreachable", 503, 6},
		{E2BIG, "too_large", 413, 2},
		{ENODEV, "no_capacity", 422, 1},
		{ENOTSUP, "unsupported", 422, 1},
		{ENOSPC, "no_space", 507, 1},
		{EXDEV, "failed", 500, 1},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		for (int sign = -1; sign <= 1; sign += 2) {
			assert_string_equal(weft_err_word(sign * rows[i].code), rows[i].word);
			assert_int_equal(weft_err_http(sign * rows[i].code), rows[i].http);
			assert_int_equal(weft_err_exit(sign * rows[i].code), rows[i].exit);
		}
		if (strcmp(rows[i].word, "failed") != 0)
			assert_string_equal(
				weft_err_word(weft_err_from_word(rows[i].word)), rows[i].word);
	}
	assert_int_equal(weft_err_from_word("nonsense"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_set),
		cmocka_unit_test(test_nobody_listens),
		cmocka_unit_test(test_hint_and_prefix),
		cmocka_unit_test(test_long_texts),
		cmocka_unit_test(test_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
