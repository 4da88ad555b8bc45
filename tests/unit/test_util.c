/* SPDX-License-Identifier: Apache-2.0 */
#include "ctrl/base/util.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/log.h"
#include "ctrl/base/virt.h"
#include "tests/lib/doomed.h"

/* A directory of the test's own, removed by the code under test. */
static int make_dir(void **state)
{
	char *dir = strdup("/tmp/weft-test-util.XXXXXX");

	*state = dir;
	return dir && mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
	int r = weft_remove_tree(*state);

	free(*state);
	return r;
}

static char *in(void **state, const char *name)
{
	char *path = weft_strf("%s/%s", (char *)*state, name);

	assert_non_null(path);
	return path;
}

static void test_read_write(void **state)
{
	_cleanup_(freep) char *path = in(state, "file"), *text = NULL;
	size_t size = 0;
	struct stat st;

	assert_int_equal(weft_read_file(path, 100, &text, &size), -ENOENT);
	assert_null(text);
	assert_int_equal(weft_write_file(path, "a\0b", 3, 0640), 0);
	assert_int_equal(weft_read_file(path, 3, &text, &size), 0);
	assert_int_equal(size, 3);
	assert_memory_equal(text, "a\0b\0", 4); /* ends with a NUL that does not count */
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	free(TAKE_PTR(text));

	assert_int_equal(weft_read_file(path, 2, &text, NULL), -E2BIG);
	assert_int_equal(weft_read_file("/dev/zero", 10000, &text, NULL), -E2BIG);
	assert_int_equal(weft_read_file(*state, 100, &text, NULL), -EISDIR);
	assert_null(text);

	assert_int_equal(weft_write_file(path, "", 0, 0600), 0);
	assert_int_equal(weft_read_file(path, 0, &text, &size), 0);
	assert_string_equal(text, "");
}

static void test_large_file(void **state)
{
	_cleanup_(freep) char *path = in(state, "large"), *text = NULL;
	_cleanup_(freep) char *data = malloc(300001);
	size_t size;

	assert_non_null(data);
	for (size_t i = 0; i < 300001; i++)
		data[i] = (char)(i * 7);
	assert_int_equal(weft_write_file(path, data, 300001, 0600), 0);
	assert_int_equal(weft_read_file(path, 300001, &text, &size), 0);
	assert_int_equal(size, 300001);
	assert_memory_equal(text, data, size);
}

static unsigned entries(const char *path)
{
	DIR *dir = opendir(path);
	const struct dirent *e;
	unsigned n = 0;

	assert_non_null(dir);
	while ((e = readdir(dir)))
		n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
	closedir(dir);
	return n;
}

/* A write that fails leaves the old file and nothing beside it. */
static void test_write_fails(void **state)
{
	_cleanup_(freep) char *dir = in(state, "target"), *inside = in(state, "target/keep");
	_cleanup_(freep) char *nowhere = in(state, "no/such/file");
	struct stat st;

	assert_int_equal(weft_write_file(nowhere, "x", 1, 0600), -ENOENT);
	assert_int_equal(weft_mkdir_p(dir, 0700), 0);
	assert_int_equal(weft_write_file(inside, "x", 1, 0600), 0);
	assert_int_equal(weft_write_file(dir, "x", 1, 0600), -EISDIR); /* rename refuses */
	assert_int_equal(stat(inside, &st), 0);
	assert_int_equal(weft_remove_tree(dir), 0);
	assert_int_equal(rmdir(*state), 0); /* empty: no temporary file was left */
	assert_int_equal(mkdir(*state, 0700), 0);
}

/* Killed before the new file has its name, a writer leaves the old one, and what else it leaves is
 * taken away without it. */
static void test_write_killed(void **state)
{
	_cleanup_(freep) char *dir = in(state, "written"), *path = in(state, "written/file");
	_cleanup_(freep) char *tree = in(state, "written/" WEFT_TMP_PREFIX "tree"), *text = NULL;
	pid_t pid;

	assert_int_equal(weft_mkdir_p(dir, 0700), 0);
	assert_int_equal(weft_write_file(path, "old", 3, 0600), 0);
	pid = fork();
	if (pid == 0) {
		test_die_at_fchmod();
		(void)weft_write_file(path, "new", 3, 0600);
		_exit(0);
	}
	assert_int_equal(test_await_doomed(pid), 0);
	assert_int_equal(weft_read_file(path, 3, &text, NULL), 0);
	assert_string_equal(text, "old");
	assert_int_equal(entries(dir), 2);
	assert_int_equal(weft_mkdir_p(tree, 0700), 0);
	weft_remove_leftovers(dir);
	assert_int_equal(entries(dir), 1);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rmdir(dir), 0);
	weft_remove_leftovers(dir); /* missing: no matter */
}

static void test_write_all(void **state)
{
	int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(weft_write_all(fd, "x", 1), -ENOSPC);
	assert_int_equal(weft_write_all(fd, "x", 0), 0);
	close(fd);
	assert_int_equal(weft_write_all(-1, "x", 1), -EBADF);
}

static void test_mkdir(void **state)
{
	_cleanup_(freep) char *deep = in(state, "a//b/c/"), *file = in(state, "a/file");
	_cleanup_(freep) char *below = in(state, "a/file/x");

	assert_int_equal(weft_mkdir_p(deep, 0700), 0);
	assert_int_equal(weft_mkdir_p(deep, 0700), 0);
	assert_int_equal(access(deep, X_OK), 0);
	assert_int_equal(weft_write_file(file, "", 0, 0600), 0);
	assert_int_equal(weft_mkdir_p(file, 0700), -ENOTDIR);
	assert_int_equal(weft_mkdir_p(below, 0700), -ENOTDIR);
	assert_int_equal(weft_mkdir_p("/", 0700), 0);
	assert_int_equal(weft_mkdir_p("", 0700), -ENOENT);
}

static void test_remove(void **state)
{
	_cleanup_(freep) char *tree = in(state, "tree"), *deep = in(state, "tree/a/b");
	_cleanup_(freep) char *kept = in(state, "kept"), *link = in(state, "tree/a/link");
	_cleanup_(freep) char *inside = in(state, "kept/file"), *top = in(state, "top");
	struct stat st;

	assert_int_equal(weft_mkdir_p(deep, 0700), 0);
	assert_int_equal(weft_mkdir_p(kept, 0700), 0);
	assert_int_equal(weft_write_file(inside, "x", 1, 0400), 0);
	assert_int_equal(symlink(kept, link), 0);
	assert_int_equal(symlink(kept, top), 0);

	assert_int_equal(weft_remove_tree(tree), 0);
	assert_int_equal(lstat(tree, &st), -1);
	assert_int_equal(weft_remove_tree(top), 0); /* the link, not what it points at */
	assert_int_equal(lstat(top, &st), -1);
	assert_int_equal(stat(inside, &st), 0);
	assert_int_equal(weft_remove_tree(tree), 0); /* already gone */
	assert_int_equal(weft_remove_tree(inside), 0);
	assert_int_equal(stat(inside, &st), -1);
}

static void test_parse_u64(void **state)
{
	static const char *const bad[] = {"", " 1", "1 ", "+1", "-1", "0x1", "1.0", "1e3", "a"};
	uint64_t v = 77;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(weft_parse_u64(bad[i], 0, UINT64_MAX, &v), -EINVAL);
	assert_int_equal(weft_parse_u64(NULL, 0, 1, &v), -EINVAL);
	assert_int_equal(weft_parse_u64("18446744073709551616", 0, UINT64_MAX, &v), -ERANGE);
	assert_int_equal(weft_parse_u64("4", 5, 6, &v), -ERANGE);
	assert_int_equal(weft_parse_u64("7", 5, 6, &v), -ERANGE);
	assert_int_equal(v, 77);
	assert_int_equal(weft_parse_u64("18446744073709551615", 0, UINT64_MAX, &v), 0);
	assert_true(v == UINT64_MAX);
	assert_int_equal(weft_parse_u64("005", 5, 6, &v), 0);
	assert_int_equal(v, 5);
}

static void test_names(void **state)
{
	(void)state;
	assert_true(weft_name_valid("shop.web.1", 10));
	assert_false(weft_name_valid("shop.web.1", 9));
	assert_true(weft_name_valid("a", 1) && weft_name_valid("0-_.", 4));
	assert_false(weft_name_valid("", 4) || weft_name_valid(NULL, 4));
	assert_false(weft_name_valid("..", 4) || weft_name_valid(".a", 4));
	assert_false(weft_name_valid("-a", 4) || weft_name_valid("a/b", 4));
	assert_false(weft_name_valid("a b", 4) || weft_name_valid("a\n", 4));
}

static void test_text_clean(void **state)
{
	static const struct {
		const char *in, *text, *line;
	} rows[] = {
		{"", "", ""},
		{"shop.web → ünïkernel 🙂", "shop.web → ünïkernel 🙂",
			"shop.web → ünïkernel 🙂"},
		{"a\tb\nc\r\x1b[31md\x7f", "a\tb\nc??[31md?", "a b c??[31md?"},
		{"\xff\xfe\x80x", "???x", "???x"},
		{"\xc0\xaf \xe0\x80\xaf \xed\xa0\x80 \xf4\x90\x80\x80", "?? ??? ??? ????",
			"?? ??? ??? ????"}, /* overlong, surrogate, too large */
		{"\xe2\x86x", "??x", "??x"},
		{"cut \xe2\x86", "cut ", "cut "},
		{"cut \xf0\x9f\x99", "cut ", "cut "},
		{"cut \xc3", "cut ", "cut "},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char text[64], line[64];

		strcpy(text, rows[i].in);
		strcpy(line, rows[i].in);
		assert_string_equal(weft_text_clean(text), rows[i].text);
		assert_string_equal(weft_text_clean_line(line), rows[i].line);
	}
}

static void test_clocks(void **state)
{
	uint64_t a = weft_now_ns(), b = weft_now_ns();

	(void)state;
	assert_true(b >= a);
	assert_true(weft_realtime_ms() > 1700000000000ULL);
}

static void test_virt(void **state)
{
	(void)state;
	for (int v = 0; v < WEFT_VIRT_COUNT; v++)
		assert_int_equal(weft_virt_parse(weft_virt_name((enum weft_virt)v)), v);
	for (int a = 0; a < WEFT_ARCH_COUNT; a++)
		assert_int_equal(weft_arch_parse(weft_arch_name((enum weft_arch)a)), a);
	assert_int_equal(weft_virt_parse("docker"), WEFT_VIRT_CONTAINER);
	assert_int_equal(weft_virt_parse("runsc"), WEFT_VIRT_GVISOR);
	assert_int_equal(weft_virt_parse("Container"), -EINVAL);
	assert_int_equal(weft_arch_parse("x86_64"), WEFT_ARCH_AMD64);
	assert_int_equal(weft_arch_parse("aarch64"), WEFT_ARCH_ARM64);
	assert_int_equal(weft_arch_parse(""), -EINVAL);
	assert_string_equal(weft_virt_name(WEFT_VIRT_COUNT), "unknown");
	assert_string_equal(weft_arch_name(WEFT_ARCH_COUNT), "unknown");
}

/* What weft_log() writes to stderr at a level. */
static char *logged(int level, bool journal)
{
	_cleanup_(closep) int saved = dup(STDERR_FILENO);
	FILE *f = tmpfile();
	char *text = NULL;

	assert_non_null(f);
	if (journal)
		setenv("JOURNAL_STREAM", "1:2", 1);
	else
		unsetenv("JOURNAL_STREAM");
	fflush(stderr);
	dup2(fileno(f), STDERR_FILENO);
	weft_log_level(level);
	errno = ENOENT;
	log_warning("disk %d: %m", 7);
	log_debug("chatter");
	assert_int_equal(errno, ENOENT);
	fflush(stderr);
	dup2(saved, STDERR_FILENO);
	weft_log_level(LOG_INFO);
	unsetenv("JOURNAL_STREAM");
	text = calloc(1, 4096);
	assert_non_null(text);
	rewind(f);
	(void)!fread(text, 1, 4095, f);
	fclose(f);
	return text;
}

static void test_log(void **state)
{
	_cleanup_(freep) char *plain = logged(LOG_INFO, false), *journal = logged(LOG_DEBUG, true);
	_cleanup_(freep) char *quiet = logged(LOG_ERR, false);

	(void)state;
	assert_non_null(strstr(plain, "Z warning disk 7: No such file or directory\n"));
	assert_null(strstr(plain, "chatter"));
	assert_string_equal(journal, "<4>disk 7: No such file or directory\n<7>chatter\n");
	assert_string_equal(quiet, "");
	assert_int_equal(weft_log_parse_level("debug"), LOG_DEBUG);
	assert_int_equal(weft_log_parse_level("loud"), -EINVAL);
}

static void hardware_addresses(void **state)
{
	static const char *const bad[] = {"", "52:54:00:12:34", "52:54:00:12:34:5",
		"52:54:00:12:34:567", "52-54-00-12-34-56", "52:54:00:12:34:5g", "01:00:5e:00:00:01",
		"ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00", " 2:54:00:12:34:56", "+2:54:00:12:34:56",
		"525:4:00:12:34:56", "0x:54:00:12:34:56", "5:254:00:12:34:56"};
	uint8_t mac[6] = {9};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(weft_mac_parse(bad[i], mac), -EINVAL);
		assert_int_equal(mac[0], 9);
	}
	assert_int_equal(weft_mac_parse("52:54:00:aB:Cd:ef", mac), 0);
	assert_memory_equal(mac, "\x52\x54\x00\xab\xcd\xef", 6);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_read_write, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(test_large_file, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(test_write_fails, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(test_write_killed, make_dir, remove_dir),
		cmocka_unit_test(test_write_all),
		cmocka_unit_test_setup_teardown(test_mkdir, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(test_remove, make_dir, remove_dir),
		cmocka_unit_test(test_parse_u64),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_text_clean),
		cmocka_unit_test(test_clocks),
		cmocka_unit_test(test_virt),
		cmocka_unit_test(test_log),
		cmocka_unit_test(hardware_addresses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
