/* SPDX-License-Identifier: Apache-2.0 */
#include "ctrl/state/store.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdint.h>
#include <string.h>

#include "ctrl/base/util.h"

struct weft_store {
	sqlite3 *db;
	char *path;
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

static int fail(struct weft_store *s, int rc, const char *doing, struct weft_err *err)
{
	int r = to_errno(rc);

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

int weft_store_open(const char *path, struct weft_store **ret, struct weft_err *err)
{
	_cleanup_(weft_store_freep) struct weft_store *s = calloc(1, sizeof(*s));
	int rc, r;

	if (!s || !(s->path = strdup(path)))
		return weft_err_set(err, ENOMEM, "store %s: out of memory", path);
	strcpy(s->state, "ok");
	rc = sqlite3_open_v2(path, &s->db,
		SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);
	if (rc != SQLITE_OK)
		return fail(s, rc, "opening", err);
	sqlite3_extended_result_codes(s->db, 1);
	sqlite3_busy_timeout(s->db, 1000);
	r = exec(s,
		"PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON",
		"opening", err);
	if (r == 0)
		r = migrate(s, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(s);
	return 0;
}

void weft_store_free(struct weft_store *s)
{
	if (!s)
		return;
	sqlite3_close_v2(s->db);
	free(s->path);
	free(s);
}

static int bind_and_run(struct weft_store *s, const char *sql, const char *const *texts, size_t n,
	const char *doing, struct weft_err *err)
{
	_cleanup_(stmt_finalizep) sqlite3_stmt *q = NULL;
	int rc = sqlite3_prepare_v2(s->db, sql, -1, &q, NULL);

	for (size_t i = 0; rc == SQLITE_OK && i < n; i++)
		rc = sqlite3_bind_text(q, (int)i + 1, texts[i], -1, SQLITE_STATIC);
	if (rc == SQLITE_OK)
		rc = sqlite3_step(q);
	if (rc != SQLITE_DONE)
		return fail(s, rc, doing, err);
	strcpy(s->state, "ok");
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
	return exec(s, "BEGIN IMMEDIATE", "beginning", err);
}

int weft_store_end(struct weft_store *s, int ok, struct weft_err *err)
{
	int r = 0;

	if (ok) {
		r = exec(s, "COMMIT", "committing", err);
		if (r == 0)
			return 0;
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
