/* SPDX-License-Identifier: Apache-2.0 */
/* Where the parts of an OCI image lie: an archive or a layout directory. A part is named as in the
 * layout: "index.json", "blobs/sha256/<hex>". */
#ifndef WEFT_RUNTIMES_IMAGE_OCI_SOURCE_H
#define WEFT_RUNTIMES_IMAGE_OCI_SOURCE_H

#include <stddef.h>
#include <stdint.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/err.h"

struct weft_oci_source;

/* An archive is read through once: sizes of all parts and the text of small JSON parts are kept.
 * path must stay until free(). */
int weft_oci_source_open(const char *path, struct weft_oci_source **ret, struct weft_err *err);
void weft_oci_source_free(struct weft_oci_source *s); /* NULL is fine */
WEFT_DEFINE_CLEANUP(struct weft_oci_source *, weft_oci_source_free);

/* A JSON part; it lives as long as the source. -ENOENT, with err untouched, when there is no such
 * part or it is too large or does not look like JSON. */
int weft_oci_source_text(
	struct weft_oci_source *s, const char *name, const char **ret, size_t *ret_size);

/* Size of a part; -ENOENT. */
int weft_oci_source_size(struct weft_oci_source *s, const char *name, uint64_t *ret);

/* Write these blobs into dir, each into a file named by the hex digits of its digest, and check the
 * digests. */
int weft_oci_source_extract(struct weft_oci_source *s, const char *const *digests, unsigned n,
	int dir, struct weft_err *err);

#endif
