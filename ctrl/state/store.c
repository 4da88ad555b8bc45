/* SPDX-License-Identifier: Apache-2.0 */
#include "ctrl/state/store.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "ctrl/base/log.h"
#include "ctrl/base/util.h"

#define READ_ONLY "read-only file system"
#define ROOM      (256U << 10) /* on a disk that was full, before it is tried again */
#define COPY_MAX  (1U << 30)

struct weft_store {
	sqlite3 *db;
	char *path;
	bool copy;      /* what is open is a copy, for the file is on a read-only file system */
	bool read_only; /* the file system was so when it was looked at last */
	bool full;
	int fd; /* of the file: is it still one that can be written? -1: a copy */
	char state[160];
};

/* migrations[i] takes a file from PRAGMA user_version i to i + 1. */
static const char *const migrations[] = {
	"CREATE TABLE object ("
	"  seq INTEGER PRIMARY KEY AUTOINCREMENT,"
	"  kind TEXT NOT NULL, name TEXT NOT NULL, doc TEXT NOT NULL,"
	"  UNIQUE (kind, name))",
};

static void stmt_finalizep(sqlite3_stmt **s)
{
	sqlite3_finalize(*s);
}

static int to_errno(int rc)
{
	switch (rc & 0xff) {
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_READONLY:
		return -EROFS;
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return -EBUSY;
	case SQLITE_CANTOPEN:
	case SQLITE_PERM:
		return -EACCES;
	case SQLITE_NOTADB:
	case SQLITE_CORRUPT:
		return -EBADMSG;
	default:
		return -EIO;
	}
}

static int refuse(const struct weft_store *s, struct weft_err *err)
{
	weft_err_set(err, EROFS, "store %s: " READ_ONLY ": nothing can be changed", s->path);
	weft_err_hint(err, "look at dmesg, and make it writable again; running instances and "
			   "traffic are not affected");
	return -EROFS;
}

static void say_read_only(struct weft_store *s)
{
	if (!s->read_only)
		log_error("store %s: " READ_ONLY ": nothing can be changed", s->path);
	s->read_only = true;
	strcpy(s->state, READ_ONLY);
}

static void say_ok(struct weft_store *s)
{
	if (s->read_only)
		log_info("store %s: it can be written again", s->path);
	s->read_only = s->full = false;
	strcpy(s->state, "ok");
}

static int fail(struct weft_store *s, int rc, const char *doing, struct weft_err *err)
{
	int r = to_errno(rc);

	/* SQLite knows it as an I/O error where the file was opened before it became so. */
	if (r == -EROFS || (r == -EIO && sqlite3_system_errno(s->db) == EROFS)) {
		say_read_only(s);
		return refuse(s, err);
	}
	s->full = r == -ENOSPC;
	snprintf(s->state, sizeof(s->state), "%s: %s", doing, sqlite3_errmsg(s->db));
	weft_err_set(err, r, "store %s: %s: %s", s->path, doing, sqlite3_errmsg(s->db));
	if (r == -ENOSPC)
		weft_err_hint(err, "free some disk space and try again; running instances and "
				   "traffic are not affected");
	return r;
}

static int exec(struct weft_store *s, const char *sql, const char *doing, struct weft_err *err)
{
	int rc = sqlite3_exec(s->db, sql, NULL, NULL, NULL);

	return rc == SQLITE_OK ? 0 : fail(s, rc, doing, err);
}

static int user_version(struct weft_store *s, int *ret, struct weft_err *err)
{
	_cleanup_(stmt_finalizep) sqlite3_stmt *q = NULL;
	int rc = sqlite3_prepare_v2(s->db, "PRAGMA user_version", -1, &q, NULL);

	if (rc != SQLITE_OK || (rc = sqlite3_step(q)) != SQLITE_ROW)
		return fail(s, rc, "reading its version", err);
	*ret = sqlite3_column_int(q, 0);
	return 0;
}

static int migrate(struct weft_store *s, struct weft_err *err)
{
	int version = 0, r;

	r = user_version(s, &version, err);
	if (r < 0)
		return r;
	if (version < 0 || (size_t)version > ARRAY_SIZE(migrations)) {
		weft_err_set(err, ENOTSUP,
			"store %s: layout %d is newer than this weftd knows (%zu)", s->path,
			version, ARRAY_SIZE(migrations));
		return weft_err_hint(err, "run the weftd that wrote it, or a newer one");
	}
	for (size_t i = (size_t)version; i < ARRAY_SIZE(migrations); i++) {
		_cleanup_(freep) char *sql =
			weft_strf("BEGIN IMMEDIATE; %s; PRAGMA user_version = %zu; COMMIT",
				migrations[i], i + 1);

		if (!sql)
			return -ENOMEM;
		r = exec(s, sql, "migrating", err);
		if (r < 0) {
			sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
			return r;
		}
	}
	return 0;
}

/* The number that it bears is not enough: what is in it has to be of that layout, and whole. */
static int check_layout(struct weft_store *s, struct weft_err *err)
{
	_cleanup_(stmt_finalizep) sqlite3_stmt *columns = NULL, *whole = NULL;
	const char *said = NULL;
	int rc = sqlite3_prepare_v2(
		s->db, "SELECT seq, kind, name, doc FROM object LIMIT 0", -1, &columns, NULL);

	if (rc != SQLITE_OK && (rc & 0xff) != SQLITE_ERROR)
		return fail(s, rc, "reading its layout", err);
	if (rc == SQLITE_OK) {
		rc = sqlite3_prepare_v2(s->db, "PRAGMA quick_check(1)", -1, &whole, NULL);
		if (rc != SQLITE_OK || (rc = sqlite3_step(whole)) != SQLITE_ROW)
			return fail(s, rc, "checking it", err);
		said = (const char *)sqlite3_column_text(whole, 0);
		if (said && strcmp(said, "ok") == 0)
			return 0;
	}
	weft_err_set(err, EBADMSG, "store %s: damaged, or not of layout %zu: %s", s->path,
		ARRAY_SIZE(migrations), said ? said : sqlite3_errmsg(s->db));
	return weft_err_hint(err, "put a copy of it back, or move it away and apply the "
				  "descriptors again");
}

/* The locks are held as long as it is open, so that the index of the log is in memory and not in a
 * file: writing to a mapped file of a disk that has become read-only kills who does it. */
static int open_at(struct weft_store *s, const char *path, struct weft_err *err)
{
	int rc = sqlite3_open_v2(path, &s->db,
		SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);
	int r;

	if (rc != SQLITE_OK)
		return fail(s, rc, "opening", err);
	sqlite3_extended_result_codes(s->db, 1);
	sqlite3_busy_timeout(s->db, 1000);
	r = exec(s,
		"PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; "
		"PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON",
		"opening", err);
	if (r == 0)
		r = migrate(s, err);
	return r < 0 ? r : check_layout(s, err);
}

static int copy_file(const char *from, const char *to)
{
	_cleanup_(freep) char *data = NULL;
	size_t size = 0;
	int r = weft_read_file(from, COPY_MAX, &data, &size);

	return r < 0 ? r : weft_write_file(to, data, size, 0600);
}

/* The file and its log, which SQLite would have to work up first. */
static int copy_to(const char *path, const char *to)
{
	_cleanup_(freep) char *log = weft_strf("%s-wal", path), *to_log = weft_strf("%s-wal", to);
	int r = log && to_log ? copy_file(path, to) : -ENOMEM;

	if (r == 0)
		r = copy_file(log, to_log);
	return r == -ENOENT && access(to, F_OK) == 0 ? 0 : r;
}

/* Where a copy may be, by the file that it is of. */
static const char *const places[] = {"/run/weft", "/run", "/dev/shm", "/tmp"};

static char *copy_place(const char *place, const struct stat *st)
{
	return weft_strf("%s/weft-store.%llx.%llx", place, (unsigned long long)st->st_dev,
		(unsigned long long)st->st_ino);
}

/* One that somebody who was killed has left: there is one weftd to a state directory. */
static void remove_copies(const char *path)
{
	struct stat st;

	for (size_t i = 0; i < ARRAY_SIZE(places) && stat(path, &st) == 0; i++) {
		_cleanup_(freep) char *dir = copy_place(places[i], &st);

		if (dir)
			(void)weft_remove_tree(dir);
	}
}

static int make_place(const char *path, char **ret)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return -errno;
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		_cleanup_(freep) char *dir = copy_place(places[i], &st);

		if (!dir)
			return -ENOMEM;
		if (mkdir(dir, 0700) < 0)
			continue;
		*ret = TAKE_PTR(dir);
		return 0;
	}
	return -errno;
}

/* A copy that has no name any more once it is open. */
static int open_copy(struct weft_store *s, struct weft_err *err)
{
	_cleanup_(freep) char *dir = NULL, *path = NULL;
	int r = make_place(s->path, &dir);

	path = r == 0 ? weft_strf("%s/weft.db", dir) : NULL;
	if (r == 0)
		r = path ? copy_to(s->path, path) : -ENOMEM;
	if (r < 0)
		weft_err_set(err, r, "store %s: " READ_ONLY ", and it cannot be copied: %s",
			s->path, strerror(-r));
	else
		r = open_at(s, path, err);
	if (r == 0)
		r = exec(s, "PRAGMA query_only = ON", "opening", err);
	if (dir)
		(void)weft_remove_tree(dir);
	return r;
}

int weft_store_open(const char *path, struct weft_store **ret, struct weft_err *err)
{
	_cleanup_(weft_store_freep) struct weft_store *s = calloc(1, sizeof(*s));
	int r;

	if (!s || !(s->path = strdup(path)))
		return weft_err_set(err, ENOMEM, "store %s: out of memory", path);
	strcpy(s->state, "ok");
	s->fd = open(path, O_RDWR | O_CLOEXEC);
	s->copy = s->fd < 0 && errno == EROFS;
	remove_copies(path);
	r = s->copy ? open_copy(s, err) : open_at(s, path, err);
	if (r < 0)
		return r;
	/* Opened in any case before SQLite locks it, and not closed until it is done: that would
	 * take its locks away. */
	if (s->fd < 0 && !s->copy)
		s->fd = open(path, O_RDWR | O_CLOEXEC);
	if (s->copy)
		say_read_only(s);
	*ret = TAKE_PTR(s);
	return 0;
}

void weft_store_free(struct weft_store *s)
{
	if (!s)
		return;
	sqlite3_close_v2(s->db);
	if (s->fd >= 0)
		close(s->fd);
	free(s->path);
	free(s);
}

static int bind_and_run(struct weft_store *s, const char *sql, const char *const *texts, size_t n,
	const char *doing, struct weft_err *err)
{
	_cleanup_(stmt_finalizep) sqlite3_stmt *q = NULL;
	int rc;

	if (s->copy)
		return refuse(s, err);
	rc = sqlite3_prepare_v2(s->db, sql, -1, &q, NULL);
	for (size_t i = 0; rc == SQLITE_OK && i < n; i++)
		rc = sqlite3_bind_text(q, (int)i + 1, texts[i], -1, SQLITE_STATIC);
	if (rc == SQLITE_OK)
		rc = sqlite3_step(q);
	if (rc != SQLITE_DONE)
		return fail(s, rc, doing, err);
	if (sqlite3_get_autocommit(s->db))
		say_ok(s);
	return 0;
}

int weft_store_put(struct weft_store *s, const char *kind, const char *name, const json_t *doc,
	struct weft_err *err)
{
	_cleanup_(freep) char *text = json_dumps(doc, JSON_COMPACT);
	const char *texts[] = {kind, name, text};

	if (!text)
		return weft_err_set(err, ENOMEM, "%s %s: cannot be written as JSON", kind, name);
	return bind_and_run(s,
		"INSERT INTO object (kind, name, doc) VALUES (?1, ?2, ?3) "
		"ON CONFLICT (kind, name) DO UPDATE SET doc = excluded.doc",
		texts, ARRAY_SIZE(texts), "writing", err);
}

int weft_store_del(struct weft_store *s, const char *kind, const char *name, struct weft_err *err)
{
	const char *texts[] = {kind, name};

	return bind_and_run(s, "DELETE FROM object WHERE kind = ?1 AND name = ?2", texts,
		ARRAY_SIZE(texts), "deleting", err);
}

int weft_store_begin(struct weft_store *s, struct weft_err *err)
{
	return s->copy ? refuse(s, err) : exec(s, "BEGIN IMMEDIATE", "beginning", err);
}

int weft_store_end(struct weft_store *s, int ok, struct weft_err *err)
{
	int r = 0;

	if (ok) {
		r = exec(s, "COMMIT", "committing", err);
		if (r == 0) {
			say_ok(s);
			return 0;
		}
	}
	/* Some errors have rolled back already; then this says so, and it does not matter. */
	sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
	return r;
}

int weft_store_each(struct weft_store *s, const char *kind,
	int (*cb)(void *userdata, const char *name, const json_t *doc), void *userdata,
	struct weft_err *err)
{
	_cleanup_(stmt_finalizep) sqlite3_stmt *q = NULL;
	int rc = sqlite3_prepare_v2(
		s->db, "SELECT name, doc FROM object WHERE kind = ?1 ORDER BY seq", -1, &q, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_bind_text(q, 1, kind, -1, SQLITE_STATIC);
	while (rc == SQLITE_OK || rc == SQLITE_ROW) {
		const char *name, *text;
		json_error_t je;
		int r;

		rc = sqlite3_step(q);
		if (rc != SQLITE_ROW)
			break;
		name = (const char *)sqlite3_column_text(q, 0);
		text = (const char *)sqlite3_column_text(q, 1);
		json_auto_t *doc = json_loads(text ? text : "", 0, &je);
		if (!doc)
			return weft_err_set(err, EBADMSG, "store %s: %s %s is not JSON: %s",
				s->path, kind, name, je.text);
		r = cb(userdata, name, doc);
		if (r)
			return r;
	}
	return rc == SQLITE_DONE ? 0 : fail(s, rc, "reading", err);
}

const char *weft_store_state(const struct weft_store *s)
{
	return s->state;
}

int weft_store_writable(const struct weft_store *s, struct weft_err *err)
{
	return s->read_only ? refuse(s, err) : 0;
}

/* Writing nothing changes nothing, and yet ext4 says when it has had to stop taking anything, which
 * the flags of its mount do not tell on every kernel. */
static bool is_read_only(const struct weft_store *s)
{
	struct statvfs now;

	if (statvfs(s->path, &now) == 0 && now.f_flag & ST_RDONLY)
		return true;
	return s->fd >= 0 && pwrite(s->fd, "", 0, 0) < 0 && errno == EROFS;
}

static bool has_room(const struct weft_store *s)
{
	struct statvfs now;

	return !s->full || (statvfs(s->path, &now) == 0 && now.f_bavail * now.f_bsize >= ROOM);
}

static int check_copy(const struct weft_store *s)
{
	_cleanup_(closep) int fd = open(s->path, O_RDWR | O_CLOEXEC);

	return fd >= 0;
}

int weft_store_check(struct weft_store *s)
{
	char sql[64];

	if (s->copy)
		return check_copy(s);
	if (is_read_only(s)) {
		say_read_only(s);
		return 0;
	}
	if (strcmp(s->state, "ok") == 0 || !sqlite3_get_autocommit(s->db) || !has_room(s))
		return 0;
	/* What it says already, once more: a write like any other. */
	snprintf(sql, sizeof(sql), "PRAGMA user_version = %zu", ARRAY_SIZE(migrations));
	if (exec(s, sql, "trying to write", NULL) == 0)
		say_ok(s);
	return 0;
}
