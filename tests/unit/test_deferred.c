/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "runtimes/deferred.h"

static char told[256];

static void on_done(void *userdata, int r, const struct weft_err *err)
{
	char *at = told + strlen(told);

	snprintf(at, sizeof(told) - (size_t)(at - told), "[%s %d %.80s]", (char *)userdata, r,
		err->msg);
}

static void on_prepared(
	void *userdata, int r, const struct weft_err *err, const char *ref, uint64_t size)
{
	(void)err;
	snprintf(
		told, sizeof(told), "%s %d %s %d", (char *)userdata, r, ref ? ref : "-", (int)size);
}

static void on_probed(void *userdata, const struct weft_runtime_cap *caps, unsigned n)
{
	snprintf(told, sizeof(told), "%s %u %s", (char *)userdata, n, caps[0].version);
}

static void turn(sd_event *event)
{
	while (sd_event_run(event, 0) > 0)
		;
}

static void test_answers_come_from_the_loop(void **state)
{
	struct weft_deferred *a, *b, *c, *d;
	struct weft_deferred_set set = {};
	struct weft_err err = {};
	sd_event *event = NULL;

	(void)state;
	told[0] = '\0';
	assert_true(sd_event_new(&event) >= 0);
	assert_int_equal(weft_deferred_done(&set, event, on_done, (void *)"a", &a), 0);
	assert_int_equal(weft_deferred_done(&set, event, on_done, (void *)"b", &b), 0);
	assert_int_equal(weft_deferred_done(&set, event, on_done, (void *)"c", &c), 0);
	assert_int_equal(weft_deferred_done(&set, event, NULL, NULL, &d), 0);
	turn(event);
	assert_string_equal(told, ""); /* owed, not yet posted */
	weft_err_set(&err, EBUSY, "text");
	weft_deferred_post(a, -EBUSY, &err);
	err.msg[0] = '\0'; /* it was copied */
	weft_deferred_post(d, 0, NULL);
	assert_string_equal(told, "");
	turn(event);
	assert_string_equal(told, "[a -16 text]");
	weft_deferred_drop(b);
	weft_deferred_post(c, -ENOENT, NULL);
	turn(event);
	assert_string_equal(told, "[a -16 text][c -2 No such file or directory]");
	assert_null(set.first);
	sd_event_unref(event);
}

static void test_dropped_set_is_silent(void **state)
{
	struct weft_deferred_set set = {};
	struct weft_deferred *a, *b;
	sd_event *event = NULL;

	(void)state;
	told[0] = '\0';
	assert_true(sd_event_new(&event) >= 0);
	assert_int_equal(weft_deferred_done(&set, event, on_done, (void *)"a", &a), 0);
	assert_int_equal(weft_deferred_prepared(&set, event, on_prepared, (void *)"b", &b), 0);
	weft_deferred_post(a, 0, NULL);
	weft_deferred_post_prepared(b, 0, NULL, "ref", 1);
	weft_deferred_drop_all(&set);
	weft_deferred_drop_all(&set);
	weft_deferred_drop(NULL);
	turn(event);
	assert_string_equal(told, "");
	sd_event_unref(event);
}

static void test_prepared_and_probed(void **state)
{
	struct weft_runtime_cap caps[WEFT_RUNTIME_MAX_CAPS + 1] = {{.version = "v1"}};
	struct weft_deferred_set set = {};
	struct weft_deferred *d;
	sd_event *event = NULL;

	(void)state;
	assert_true(sd_event_new(&event) >= 0);
	assert_int_equal(weft_deferred_prepared(&set, event, on_prepared, (void *)"p", &d), 0);
	weft_deferred_post_prepared(d, 0, NULL, "ref", 7);
	turn(event);
	assert_string_equal(told, "p 0 ref 7");
	assert_int_equal(weft_deferred_probed(&set, event, on_probed, (void *)"q", &d), 0);
	weft_deferred_post_probed(d, caps, WEFT_RUNTIME_MAX_CAPS + 1);
	turn(event);
	assert_string_equal(told, "q 4 v1");
	sd_event_unref(event);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_answers_come_from_the_loop),
		cmocka_unit_test(test_dropped_set_is_silent),
		cmocka_unit_test(test_prepared_and_probed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
