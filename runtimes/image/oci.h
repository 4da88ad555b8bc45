/* SPDX-License-Identifier: Apache-2.0 */
/* OCI images: the documents that describe one (index, manifest, configuration), and reading one
 * from an archive (tar, plain or compressed by gzip, bzip2, xz or zstd) or a layout directory.
 *
 * Errors name the file and what is wrong with it: -ENOENT no such file, -EBADMSG truncated, damaged
 * or not an OCI image, -ENOTSUP for another architecture. Nothing read is trusted: digests are
 * checked, names come from digests alone, sizes are bounded. */
#ifndef WEFT_RUNTIMES_IMAGE_OCI_H
#define WEFT_RUNTIMES_IMAGE_OCI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/err.h"
#include "ctrl/base/virt.h"

#define WEFT_OCI_DIGEST      72             /* "sha256:", 64 hex digits, NUL */
#define WEFT_OCI_HEX(digest) ((digest) + 7) /* the file name below blobs/sha256/ */
#define WEFT_OCI_MAX_TEXT    (4U << 20)     /* of an index, manifest or configuration */
#define WEFT_OCI_MAX_LAYERS  256
#define WEFT_OCI_MAX_BYTES   (64ULL << 30) /* of one image */

struct weft_oci_descriptor {
	char digest[WEFT_OCI_DIGEST];
	char media_type[128];
	uint64_t size;
};

/* What the image's author wants to run. */
struct weft_oci_process {
	char **args; /* Entrypoint and Cmd, NULL-terminated, maybe empty */
	char **env;  /* "K=V" */
	char *user;  /* "", "1000", "nginx:www-data", ... */
	char *cwd;   /* absolute */
	int stop_signal;
};

struct weft_oci_image {
	struct weft_oci_descriptor manifest, config, *layers;
	unsigned n_layers;
	char (*diff_ids)[WEFT_OCI_DIGEST]; /* of the layers, uncompressed */
	char chain_id[WEFT_OCI_DIGEST];    /* of all layers on each other */
	struct weft_oci_process process;
	char *manifest_text, *config_text; /* what it was parsed from */
};

void weft_oci_image_free(struct weft_oci_image *image); /* NULL is fine */
WEFT_DEFINE_CLEANUP(struct weft_oci_image *, weft_oci_image_free);

/* --- documents (oci_parse.c) --------------------------------------------------------------------
 * what names the document in errors: "image /x.tar", "image weft.local/...". */

bool weft_oci_digest_valid(const char *digest);
void weft_oci_digest(const void *data, size_t size, char ret[WEFT_OCI_DIGEST]);

/* The chain id of the first n layers. */
int weft_oci_chain_id(const struct weft_oci_image *image, unsigned n, char ret[WEFT_OCI_DIGEST]);

/* Only the descriptor of the configuration: what to read next. */
int weft_oci_manifest_config(const char *what, const char *text, size_t size,
	struct weft_oci_descriptor *ret, struct weft_err *err);

/* A manifest and its configuration. media_type is what referred to the manifest says it is, NULL
 * when nobody says. */
int weft_oci_image_parse(const char *what, const char *media_type, const char *manifest,
	size_t manifest_size, const char *config, size_t config_size, enum weft_arch arch,
	struct weft_oci_image **ret, struct weft_err *err);

/* One entry of an index. */
enum weft_oci_kind { WEFT_OCI_MANIFEST, WEFT_OCI_INDEX };
struct weft_oci_entry {
	struct weft_oci_descriptor descriptor;
	enum weft_oci_kind kind;
	char arch[32]; /* as written there ("amd64"), "" when it does not say */
	bool linux_os; /* or not said */
};
struct weft_oci_index {
	struct weft_oci_entry *entries;
	unsigned n_entries;
};
/* Which of the two is it? -EBADMSG with err: neither, or something else by its own words. */
int weft_oci_document_kind(const char *what, const char *text, size_t size, enum weft_oci_kind *ret,
	struct weft_err *err);
int weft_oci_index_parse(const char *what, const char *text, size_t size,
	struct weft_oci_index *ret, struct weft_err *err);
void weft_oci_index_free(struct weft_oci_index *index);

/* The manifest of an artifact, whose layers are files with titles (oci_artifact.c). */
struct weft_oci_titled {
	struct weft_oci_descriptor descriptor;
	char title[64]; /* "": none */
};
struct weft_oci_artifact {
	struct weft_oci_titled *layers;
	unsigned n_layers;
};
/* At least one layer; on success the caller owns what *ret holds. */
int weft_oci_artifact_parse(const char *what, const char *text, size_t size,
	struct weft_oci_artifact *ret, struct weft_err *err);
void weft_oci_artifact_free(struct weft_oci_artifact *a); /* {} is fine */

/* --- archives and directories (oci_read.c) ------------------------------------------------------
 */

/* What is in it: quick, big blobs are skipped, so their digests are not known to be right yet. */
int weft_oci_inspect(
	const char *path, enum weft_arch arch, struct weft_oci_image **ret, struct weft_err *err);

/* Write the image's blobs into the directory dir, one file for each, named by the hex digits of
 * its digest, with every digest checked. On failure dir's content is to be thrown away. */
int weft_oci_extract(
	const char *path, const struct weft_oci_image *image, int dir, struct weft_err *err);

#endif
