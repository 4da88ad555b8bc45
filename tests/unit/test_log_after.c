/* SPDX-License-Identifier: Apache-2.0 */
/* A log is read on over each way of rotating it, without a byte lost or read twice. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "ctrl/engine/internal.h"
#include "runtimes/log_rotate.h"

static char dir[] = "/tmp/weft-test-log-after-XXXXXX";
static char *path, *old, *tmp;
static struct log_place place;

static void append(const char *file, const char *text)
{
	FILE *f = fopen(file, "a");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void expect(size_t max, const char *text)
{
	char buf[64];
	ssize_t n = engine_log_after(path, &place, buf, max);

	assert_true(n >= 0);
	buf[n] = '\0';
	assert_string_equal(buf, text);
}

static int setup(void **state)
{
	(void)state;
	unlink(path);
	unlink(old);
	unlink(tmp);
	memset(&place, 0, sizeof(place));
	return 0;
}

static void test_grows(void **state)
{
	(void)state;
	expect(10, "");
	append(path, "abc");
	expect(10, "abc");
	expect(10, "");
	append(path, "defghi");
	expect(4, "defg");
	expect(4, "hi");
	expect(4, "");
}

static void test_renamed(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++) {
		append(path, "abc");
		expect(2, "ab");
		append(path, "def");
		assert_int_equal(rename(path, old), 0);
		append(path, "ghi");
		expect(3, "cde");
		expect(10, "f");
		expect(10, "ghi");
		expect(10, "");
	}
}

/* runtimes/log_rotate.c: a copy, then the log is emptied, then the copy has its name. */
static void test_copied(void **state)
{
	(void)state;
	append(path, "abc");
	expect(10, "abc");
	append(path, "def");
	append(tmp, "abcdef");
	expect(10, "def");
	assert_int_equal(truncate(path, 0), 0);
	expect(10, "");
	append(path, "gh");
	expect(10, "");
	assert_int_equal(rename(tmp, old), 0);
	expect(10, "gh");
	append(path, "i");
	expect(10, "i");
}

static uint64_t size_of(const char *file)
{
	struct stat st;

	return stat(file, &st) < 0 ? 0 : (uint64_t)st.st_size;
}

static void rotates(void)
{
	_cleanup_(weft_log_rotate_freep) struct weft_log_rotate *l = NULL;
	sd_event *event = NULL;

	assert_true(sd_event_new(&event) >= 0);
	assert_int_equal(weft_log_rotate_new(event, path, 1000, 0, &l), 0);
	sd_event_unref(event);
}

/* Killed after it has emptied the log: all that was in it is in the copy, and nowhere else. */
static void test_killed_before_the_name(void **state)
{
	(void)state;
	append(path, "abc");
	expect(10, "abc");
	append(tmp, "abcdef");
	assert_int_equal(truncate(path, 0), 0);
	append(path, "gh");
	expect(10, "");
	rotates();
	assert_int_equal(access(tmp, F_OK), -1);
	expect(10, "def");
	expect(10, "gh");
}

/* Killed while it copies: the log has it all. */
static void test_killed_while_it_copies(void **state)
{
	(void)state;
	append(path, "abcdef");
	append(tmp, "abcd");
	append(old, "older");
	rotates();
	assert_int_equal(access(tmp, F_OK), -1);
	assert_int_equal(size_of(path), 6);
	assert_int_equal(size_of(old), 5);
}

/* Emptied by somebody else: there is nothing that the rest could be in. */
static void test_emptied(void **state)
{
	(void)state;
	append(path, "abcdef");
	expect(10, "abcdef");
	assert_int_equal(truncate(path, 0), 0);
	append(path, "gh");
	expect(10, "");
	expect(10, "gh");
}

static void test_tail_and_on(void **state)
{
	char buf[64];
	ssize_t n;

	(void)state;
	append(old, "abc\n");
	append(path, "def\n");
	n = engine_log_tail(path, buf, 6, &place);
	assert_int_equal(n, 6);
	assert_memory_equal(buf, "c\ndef\n", 6);
	expect(10, "");
	append(path, "g");
	assert_int_equal(rename(path, old), 0);
	append(path, "h");
	expect(10, "g");
	expect(10, "h");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_grows, setup),
		cmocka_unit_test_setup(test_renamed, setup),
		cmocka_unit_test_setup(test_copied, setup),
		cmocka_unit_test_setup(test_killed_before_the_name, setup),
		cmocka_unit_test_setup(test_killed_while_it_copies, setup),
		cmocka_unit_test_setup(test_emptied, setup),
		cmocka_unit_test_setup(test_tail_and_on, setup),
	};
	int r;

	if (!mkdtemp(dir))
		return 1;
	path = weft_strf("%s/a.log", dir);
	old = weft_strf("%s/a.log.1", dir);
	tmp = weft_strf("%s/a.log.1.tmp", dir);
	r = cmocka_run_group_tests_name("log_after", tests, NULL, NULL);
	setup(NULL);
	rmdir(dir);
	free(path);
	free(old);
	free(tmp);
	return r;
}
