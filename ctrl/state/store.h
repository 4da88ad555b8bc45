/* SPDX-License-Identifier: Apache-2.0 */
/* What must survive the daemon: named JSON documents by kind ("service", "instance", "swap"), in
 * one SQLite file in WAL mode. A put has reached the file when it returns, so that kill -9 of the
 * daemon loses nothing; after a power cut the newest few may be missing, but then so are the
 * instances they speak of. On a file system that is read-only what is stored can be read, and
 * nothing be changed. */
#ifndef WEFT_STATE_STORE_H
#define WEFT_STATE_STORE_H

#include <jansson.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/err.h"

struct weft_store;

/* Open or create; older layouts are migrated, newer ones refused (-ENOTSUP). What is on a read-only
 * file system is read from a copy, and whatever would change it fails with -EROFS. */
int weft_store_open(const char *path, struct weft_store **ret, struct weft_err *err);
void weft_store_free(struct weft_store *s);
WEFT_DEFINE_CLEANUP(struct weft_store *, weft_store_free);

/* -ENOSPC when the disk is full, -EROFS when read-only, -EIO else; the old document is kept then.
 */
int weft_store_put(struct weft_store *s, const char *kind, const char *name, const json_t *doc,
	struct weft_err *err);
/* A name never stored is no error. */
int weft_store_del(struct weft_store *s, const char *kind, const char *name, struct weft_err *err);

/* Several puts and dels that happen all or not at all. Do not nest. Every begin() is followed by
 * one end(): it commits when ok, or takes everything back. */
int weft_store_begin(struct weft_store *s, struct weft_err *err);
int weft_store_end(struct weft_store *s, int ok, struct weft_err *err);

/* In the order of first storing. cb borrows doc; non-zero stops and is returned. cb must not store.
 */
int weft_store_each(struct weft_store *s, const char *kind,
	int (*cb)(void *userdata, const char *name, const json_t *doc), void *userdata,
	struct weft_err *err);

/* "ok", or why it does not take what is to be kept. */
const char *weft_store_state(const struct weft_store *s);
/* Look whether the disk still takes writes, or does so again: every second or so. 1: one that was
 * read-only when it was opened is not any more, and is to be opened anew. */
int weft_store_check(struct weft_store *s);
/* 0, or -EROFS and what to do about it, as far as is known. */
int weft_store_writable(const struct weft_store *s, struct weft_err *err);

#endif
