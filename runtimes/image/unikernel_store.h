/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the image cache: what the directory (unikernel.c) and the preparing of an image
 * (unikernel_prepare.c) share. */
#ifndef WEFT_RUNTIMES_IMAGE_UNIKERNEL_STORE_H
#define WEFT_RUNTIMES_IMAGE_UNIKERNEL_STORE_H

#include <sys/stat.h>
#include <sys/types.h>

#include "runtimes/deferred.h"
#include "runtimes/image/fetch.h"
#include "runtimes/image/unikernel.h"

#define WEFT_DIGEST_LEN  64
#define WEFT_REF_PREFIX  "sha256:"
#define WEFT_WORKER_USER 65534 /* nobody */
#define WEFT_KNOWN_FILES 32

/* A file whose digest was found out in this daemon's life; any change gives it another identity. */
struct weft_known_file {
	dev_t dev;
	ino_t ino;
	off_t size;
	struct timespec mtime, ctime;
	char digest[WEFT_DIGEST_LEN + 1];
};

struct weft_unikernel_op; /* one prepare() under way */

struct weft_unikernel_store {
	sd_event *event;
	char *dir, *worker;
	struct weft_deferred_set owed;
	struct weft_unikernel_op *ops;
	struct weft_known_file known[WEFT_KNOWN_FILES];
	unsigned next_known;
	struct weft_fetcher *fetcher;
};

/* What a name that was fetched has meant (unikernel_source.c). */
struct weft_unikernel_source {
	char digest[WEFT_DIGEST_LEN + 1]; /* of the image in the cache */
	char mark[WEFT_FETCH_MARK];
	uint64_t size; /* of what was fetched */
};
int weft_unikernel_source_load(const struct weft_unikernel_store *s, const char *image,
	enum weft_arch arch, struct weft_unikernel_source *ret);
int weft_unikernel_source_save(const struct weft_unikernel_store *s, const char *image,
	enum weft_arch arch, const struct weft_unikernel_source *source);

bool weft_unikernel_digest_valid(const char *digest);
/* Is it the same file, unchanged? */
bool weft_unikernel_same_file(const struct weft_known_file *k, const struct stat *st);
/* The digest of a file seen before, or NULL. */
const char *weft_unikernel_known(const struct weft_unikernel_store *s, const struct stat *st);
void weft_unikernel_remember(
	struct weft_unikernel_store *s, const struct stat *st, const char *digest);
/* A directory for the worker to unpack into; *ret is owned by the caller. */
int weft_unikernel_make_tmp(struct weft_unikernel_store *s, char **ret, int *ret_fd);
/* Away with what stands under that name, and first of all the name: what a killed daemon has not
 * removed yet is removed by the next. -ENOENT: there is nothing. */
int weft_unikernel_discard(const struct weft_unikernel_store *s, const char *digest);
/* Take what the worker left in tmp, once it has ended, into the cache. tmp is gone on success. */
int weft_unikernel_adopt(struct weft_unikernel_store *s, const char *tmp, const char *digest,
	enum weft_arch arch, const struct weft_unpacked *what, struct weft_err *err);

#endif
