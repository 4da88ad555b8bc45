/* SPDX-License-Identifier: Apache-2.0 */
/* Inside fetch.h: what the two ways share. The file grows under a name of the image's; beside it
 * stands the mark that tells what it is a part of. */
#ifndef WEFT_RUNTIMES_IMAGE_FETCH_INTERNAL_H
#define WEFT_RUNTIMES_IMAGE_FETCH_INTERNAL_H

#include <openssl/evp.h>

#include "runtimes/image/fetch.h"
#include "runtimes/image/oci.h"
#include "runtimes/registry/find.h"

struct weft_fetcher {
	sd_event *event;
	char *dir, *registries;
	unsigned pause_ms;
	struct weft_http *http; /* NULL: not needed yet */
	struct weft_fetch *all;
	weft_runtime_progress_t progress;
	void *progress_userdata;
};

struct weft_fetch {
	struct weft_fetcher *fetcher;
	struct weft_fetch *prev, *next;
	char *image, *path, *mark_path;
	enum weft_arch arch;
	char known[WEFT_FETCH_MARK]; /* the caller's mark, "": none */
	char mark[WEFT_FETCH_MARK];  /* of what is being fetched, and what it must be */
	char digest[65];             /* "": not said */
	int fd;
	uint64_t size, total; /* of the file: now, and in the end; 0: not said */
	uint64_t told_ns;
	struct weft_err err;
	weft_fetched_t done;
	void *userdata;
	sd_event_source *timer; /* until the next try, or to tell of the end */
	int result;
	bool away, unchanged;

	/* by URL (fetch.c) */
	struct weft_http_call *call;
	unsigned tries;
	uint64_t size_then; /* when this try began */
	bool begun;         /* this try's answer is being written */

	/* from a registry (fetch_oci.c) */
	struct weft_reference ref;
	struct weft_registry *registry;
	struct weft_registry_find *find;
	struct weft_registry_call *blob;
	struct weft_oci_artifact artifact;
	unsigned layer; /* the one being fetched */
	bool archive;   /* layers become the members of one */
	EVP_MD_CTX *md;
};

/* The end: done is called in the loop's next turn at the earliest. */
void fetch_end(struct weft_fetch *f, int r);
/* Open the file, with what there is of it if its mark is f->mark; else from nothing. */
int fetch_open(struct weft_fetch *f);
/* The mark of what is there already, of this boot; the caller's to free. */
int fetch_load_mark(const struct weft_fetch *f, char **ret);
int fetch_begin_anew(struct weft_fetch *f); /* empty, with f->mark as its mark */
/* Append to it; -E2BIG, -ENOSPC with f->err. */
int fetch_write(struct weft_fetch *f, const void *data, size_t size);
void fetch_progress(struct weft_fetch *f, bool now);
int fetch_too_large(struct weft_fetch *f);
int fetch_http(struct weft_fetch *f);

/* fetch_oci.c */
int fetch_oci_start(struct weft_fetch *f, struct weft_err *err);
void fetch_oci_done(struct weft_fetch *f);

#endif
