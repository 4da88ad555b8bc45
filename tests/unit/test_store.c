/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "ctrl/base/util.h"
#include "ctrl/state/store.h"

static char dir[64];
static char path[96];

static int setup(void **state)
{
	(void)state;
	strcpy(dir, "/tmp/weft-test-store.XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/weft.db", dir);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	return weft_remove_tree(dir);
}

static struct weft_store *opened(void)
{
	struct weft_store *s = NULL;
	struct weft_err err = {0};

	if (weft_store_open(path, &s, &err) < 0)
		fail_msg("%s", err.msg);
	return s;
}

static int put(struct weft_store *s, const char *kind, const char *name, int value)
{
	json_auto_t *doc = json_pack("{s:i}", "value", value);

	return weft_store_put(s, kind, name, doc, NULL);
}

struct seen {
	char names[256];
	int sum, n;
};

static int look(void *userdata, const char *name, const json_t *doc)
{
	struct seen *seen = userdata;

	strcat(strcat(seen->names, name), " ");
	seen->sum += (int)json_integer_value(json_object_get(doc, "value"));
	seen->n++;
	return 0;
}

static struct seen all(struct weft_store *s, const char *kind)
{
	struct seen seen = {0};
	struct weft_err err = {0};

	assert_int_equal(weft_store_each(s, kind, look, &seen, &err), 0);
	return seen;
}

static void documents_come_back_in_order(void **state)
{
	_cleanup_(weft_store_freep) struct weft_store *s = opened();

	(void)state;
	assert_int_equal(put(s, "service", "b", 1), 0);
	assert_int_equal(put(s, "service", "a", 2), 0);
	assert_int_equal(put(s, "instance", "a", 100), 0);
	assert_int_equal(put(s, "service", "b", 10), 0); /* replaced, keeps its place */
	assert_string_equal(all(s, "service").names, "b a ");
	assert_int_equal(all(s, "service").sum, 12);
	assert_int_equal(weft_store_del(s, "service", "b", NULL), 0);
	assert_int_equal(weft_store_del(s, "service", "never", NULL), 0);
	assert_string_equal(all(s, "service").names, "a ");
	assert_string_equal(weft_store_state(s), "ok");
}

static void a_transaction_happens_whole_or_not_at_all(void **state)
{
	_cleanup_(weft_store_freep) struct weft_store *s = opened();

	(void)state;
	assert_int_equal(weft_store_begin(s, NULL), 0);
	put(s, "swap", "x", 1);
	put(s, "swap", "y", 2);
	assert_int_equal(weft_store_end(s, 0, NULL), 0);
	assert_int_equal(all(s, "swap").n, 0);
	assert_int_equal(weft_store_begin(s, NULL), 0);
	put(s, "swap", "x", 1);
	put(s, "swap", "y", 2);
	assert_int_equal(weft_store_end(s, 1, NULL), 0);
	assert_int_equal(all(s, "swap").n, 2);
}

static void what_put_returned_survives_kill_9(void **state)
{
	int pipefd[2], status, last = 0, n;
	pid_t pid;

	(void)state;
	assert_int_equal(pipe(pipefd), 0);
	pid = fork();
	if (pid == 0) {
		struct weft_store *s = NULL;

		if (weft_store_open(path, &s, NULL) < 0)
			_exit(1);
		for (int i = 1;; i++)
			if (put(s, "swap", "only", i) < 0 || write(pipefd[1], &i, sizeof(i)) < 0)
				_exit(2);
	}
	close(pipefd[1]);
	while (last < 200 && (n = (int)read(pipefd[0], &last, sizeof(last))) == sizeof(last))
		;
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	while (read(pipefd[0], &last, sizeof(last)) == sizeof(last))
		;
	close(pipefd[0]);
	assert_true(last >= 200);
	_cleanup_(weft_store_freep) struct weft_store *s = opened();
	/* one more may have been stored than was told */
	assert_in_range(all(s, "swap").sum, last, last + 1);
}

static void a_newer_layout_is_refused(void **state)
{
	struct weft_store *s = opened();
	struct weft_err err = {0};
	sqlite3 *db = NULL;

	(void)state;
	weft_store_free(s);
	s = NULL;
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "PRAGMA user_version = 99", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
	assert_int_equal(weft_store_open(path, &s, &err), -ENOTSUP);
	assert_null(s);
	assert_non_null(strstr(err.msg, path));
	assert_true(err.hint[0]);
}

/* By SQLite itself, beside the store, which must be closed. */
static void sql(const char *text)
{
	sqlite3 *db = NULL;

	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static void assert_damaged(const char *says)
{
	struct weft_store *s = NULL;
	struct weft_err err = {0};

	assert_int_equal(weft_store_open(path, &s, &err), -EBADMSG);
	assert_null(s);
	if (!strstr(err.msg, path) || !strstr(err.msg, says))
		fail_msg("%s", err.msg);
	assert_true(err.hint[0]);
}

static void a_migration_that_fails_changes_nothing(void **state)
{
	struct weft_store *s = NULL;
	struct weft_err err = {0};

	(void)state;
	/* The first step makes this table, so that it cannot be made. */
	sql("CREATE TABLE object (other TEXT); INSERT INTO object VALUES ('kept')");
	for (int i = 0; i < 2; i++) {
		assert_true(weft_store_open(path, &s, &err) < 0);
		assert_null(s);
		assert_non_null(strstr(err.msg, path));
		assert_non_null(strstr(err.msg, "migrating"));
	}
	/* Fails unless all is as it was. */
	sql("CREATE TABLE was (n INTEGER CHECK (n = 1));"
	    "INSERT INTO was SELECT COUNT(*) FROM object WHERE other = 'kept';"
	    "INSERT INTO was SELECT user_version + 1 FROM pragma_user_version");
}

static void what_is_not_of_its_layout_is_refused(void **state)
{
	(void)state;
	weft_store_free(opened());
	sql("ALTER TABLE object RENAME COLUMN doc TO document");
	assert_damaged("no such column: doc");
	sql("DROP TABLE object");
	assert_damaged("no such table: object");
}

static void a_damaged_file_is_refused(void **state)
{
	struct weft_store *s = opened();
	int fd;

	(void)state;
	for (int i = 0; i < 200; i++) {
		char name[16];

		snprintf(name, sizeof(name), "n%d", i);
		assert_int_equal(put(s, "service", name, i), 0);
	}
	weft_store_free(s);
	sql("PRAGMA wal_checkpoint(TRUNCATE)");
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_true(lseek(fd, 0, SEEK_END) > 3 * 4096);
	for (int page = 1; page < 4; page++) /* their headers; the first page is the schema's */
		assert_int_equal(pwrite(fd, "\xff\xff\xff\xff\xff\xff\xff\xff", 8, page * 4096), 8);
	close(fd);
	assert_damaged("damaged");
}

static void it_writes_ahead(void **state)
{
	_cleanup_(weft_store_freep) struct weft_store *s = opened();
	_cleanup_(freep) char *log = weft_strf("%s-wal", path), *data = NULL;
	struct stat st;
	size_t size = 0;

	(void)state;
	assert_int_equal(put(s, "service", "a", 1), 0);
	assert_int_equal(stat(log, &st), 0);
	assert_true(st.st_size > 0);
	assert_int_equal(weft_read_file(path, 1 << 20, &data, &size), 0);
	assert_true(size >= 20);
	assert_int_equal(data[18], 2); /* "2 for WAL", by the file format */
	assert_int_equal(data[19], 2);
}

static void a_file_that_is_no_database_is_refused(void **state)
{
	struct weft_store *s = NULL;
	struct weft_err err = {0};
	char text[4096];

	(void)state;
	memset(text, 'x', sizeof(text));
	assert_int_equal(weft_write_file(path, text, sizeof(text), 0600), 0);
	assert_int_equal(weft_store_open(path, &s, &err), -EBADMSG);
	assert_non_null(strstr(err.msg, path));
}

/* A full disk: a put fails with ENOSPC and the old document stays; with room it works again. */
static void a_full_disk_loses_nothing(void **state)
{
	_cleanup_(weft_store_freep) struct weft_store *s = NULL;
	_cleanup_(freep) char *ballast = weft_strf("%s/ballast", dir);
	_cleanup_(freep) char *big = malloc(200000);
	struct weft_err err = {0};
	int fd, r = 0;

	(void)state;
	if (mount("tmpfs", dir, "tmpfs", 0, "size=1m") < 0) {
		print_message("# SKIP no mount: %s\n", strerror(errno));
		skip();
	}
	s = opened();
	assert_int_equal(put(s, "service", "a", 1), 0);
	fd = open(ballast, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	memset(big, 'b', 200000);
	while (write(fd, big, 4096) > 0)
		;
	close(fd);
	big[199999] = '\0';
	json_auto_t *doc = json_pack("{s:i, s:s}", "value", 2, "big", big);
	r = weft_store_put(s, "service", "a", doc, &err);
	assert_int_equal(r, -ENOSPC);
	assert_true(err.hint[0]);
	assert_string_not_equal(weft_store_state(s), "ok");
	assert_int_equal(all(s, "service").sum, 1);
	unlink(ballast);
	assert_int_equal(put(s, "service", "a", 3), 0);
	assert_int_equal(all(s, "service").sum, 3);
	assert_string_equal(weft_store_state(s), "ok");
}

static int unmount_and_teardown(void **state)
{
	umount2(dir, MNT_DETACH);
	return teardown(state);
}

static int stored_by_who_was_killed(void)
{
	struct weft_store *s;
	pid_t pid = fork();
	int status = 0;

	if (pid == 0) {
		s = opened();
		if (put(s, "service", "a", 4) == 0 && put(s, "service", "b", 8) == 0)
			raise(SIGKILL);
		_exit(1);
	}
	waitpid(pid, &status, 0);
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL ? 0 : -1;
}

/* What its log (the WAL) has must not be missing, though nobody can work it up there. */
static void a_read_only_disk_is_read(void **state)
{
	_cleanup_(weft_store_freep) struct weft_store *s = NULL;
	struct weft_err err = {0};
	char copy[128];
	struct stat st;

	(void)state;
	if (mount("tmpfs", dir, "tmpfs", 0, "size=4m") < 0) {
		print_message("# SKIP no mount: %s\n", strerror(errno));
		skip();
	}
	assert_int_equal(stored_by_who_was_killed(), 0);
	assert_int_equal(stat(path, &st), 0);
	snprintf(copy, sizeof(copy), "%s/weft-store.%llx.%llx/half",
		access("/run/weft", F_OK) == 0 ? "/run/weft" : "/run",
		(unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
	assert_int_equal(weft_mkdir_p(copy, 0700), 0); /* left by who was killed copying */
	assert_int_equal(mount(NULL, dir, NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
	s = opened();
	*strrchr(copy, '/') = '\0';
	assert_int_equal(access(copy, F_OK), -1);
	assert_int_equal(all(s, "service").sum, 12);
	assert_string_equal(weft_store_state(s), "read-only file system");
	assert_int_equal(weft_store_writable(s, &err), -EROFS);
	assert_int_equal(put(s, "service", "a", 1), -EROFS);
	assert_int_equal(weft_store_del(s, "service", "a", &err), -EROFS);
	assert_int_equal(weft_store_begin(s, &err), -EROFS);
	assert_non_null(strstr(err.msg, path));
	assert_true(err.hint[0]);
	assert_int_equal(all(s, "service").sum, 12);
	assert_int_equal(weft_store_check(s), 0);

	assert_int_equal(mount(NULL, dir, NULL, MS_REMOUNT, NULL), 0);
	assert_int_equal(weft_store_check(s), 1);
	weft_store_free(s);
	assert_int_equal(weft_mkdir_p(copy, 0700), 0); /* no matter how the next finds the disk */
	s = opened();
	assert_int_equal(access(copy, F_OK), -1);
	assert_string_equal(weft_store_state(s), "ok");
	assert_int_equal(put(s, "service", "a", 1), 0);
	assert_int_equal(all(s, "service").sum, 9);
}

/* Seen without that anything is to be written, and so is its end. */
static void a_disk_becomes_read_only_and_is_not_any_more(void **state)
{
	_cleanup_(weft_store_freep) struct weft_store *s = NULL;
	struct weft_err err = {0};

	(void)state;
	if (mount("tmpfs", dir, "tmpfs", 0, "size=4m") < 0) {
		print_message("# SKIP no mount: %s\n", strerror(errno));
		skip();
	}
	s = opened();
	assert_int_equal(put(s, "service", "a", 1), 0);
	assert_int_equal(weft_store_check(s), 0);
	assert_int_equal(weft_store_writable(s, &err), 0);
	/* Seen by its path: one that is mounted over it. */
	assert_int_equal(mount(dir, dir, NULL, MS_BIND, NULL), 0);
	assert_int_equal(mount(NULL, dir, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL), 0);
	assert_int_equal(weft_store_check(s), 0);
	assert_int_equal(weft_store_writable(s, &err), -EROFS);
	assert_string_equal(weft_store_state(s), "read-only file system");
	assert_int_equal(umount2(dir, MNT_DETACH), 0);
	assert_int_equal(weft_store_check(s), 0);
	assert_int_equal(weft_store_writable(s, &err), 0);
	assert_string_equal(weft_store_state(s), "ok");
	assert_int_equal(put(s, "service", "a", 2), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(documents_come_back_in_order),
		TEST(a_transaction_happens_whole_or_not_at_all),
		TEST(what_put_returned_survives_kill_9),
		TEST(a_newer_layout_is_refused),
		TEST(a_migration_that_fails_changes_nothing),
		TEST(what_is_not_of_its_layout_is_refused),
		TEST(a_damaged_file_is_refused),
		TEST(it_writes_ahead),
		TEST(a_file_that_is_no_database_is_refused),
		cmocka_unit_test_setup_teardown(
			a_full_disk_loses_nothing, setup, unmount_and_teardown),
		cmocka_unit_test_setup_teardown(
			a_read_only_disk_is_read, setup, unmount_and_teardown),
		cmocka_unit_test_setup_teardown(
			a_disk_becomes_read_only_and_is_not_any_more, setup, unmount_and_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
