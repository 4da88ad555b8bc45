/* SPDX-License-Identifier: Apache-2.0 */
/* A repository in a registry (Docker distribution API v2): manifests and blobs, asked for with the
 * credentials that the registry wants. What fails for a while is tried again, a blob from where it
 * stopped.
 *
 * Errors: -ENOENT not there, -EACCES not for us, -EBADMSG not what it should be, others as the
 * network has them (weft_registry_is_away()). */
#ifndef WEFT_RUNTIMES_REGISTRY_REGISTRY_H
#define WEFT_RUNTIMES_REGISTRY_REGISTRY_H

#include "runtimes/registry/http.h"
#include "runtimes/registry/reference.h"
#include "runtimes/registry/settings.h"

struct weft_registry;
struct weft_registry_call;

/* Takes settings over. what names the image in errors. */
int weft_registry_new(struct weft_http *http, const struct weft_reference *ref,
	struct weft_registry_settings *settings, const char *what, struct weft_registry **ret);
void weft_registry_free(struct weft_registry *r); /* cancels its calls; NULL is fine */
WEFT_DEFINE_CLEANUP(struct weft_registry *, weft_registry_free);

/* Give up soon: there is another way. */
void weft_registry_hurry(struct weft_registry *r, bool hurry);

/* r 0 or negative with err. text is NUL-terminated and NULL for a blob that went to data();
 * media_type is what the registry calls it, without parameters. All of it lives until the callback
 * returns. The call is gone. */
typedef void (*weft_registry_done_t)(void *userdata, int r, const struct weft_err *err,
	const char *text, size_t size, const char *media_type);

/* A manifest or an index by tag or digest; by digest it is checked. At most WEFT_OCI_MAX_TEXT. */
int weft_registry_manifest(struct weft_registry *r, const char *which, weft_registry_done_t done,
	void *userdata, struct weft_registry_call **ret);
/* A small blob, checked against its digest. */
int weft_registry_text(struct weft_registry *r, const struct weft_oci_descriptor *d,
	weft_registry_done_t done, void *userdata, struct weft_registry_call **ret);

/* A blob from offset on, which is below its size: exactly size - offset bytes come, in order,
 * whatever happens on the way. Its digest is for the receiver to check. data() as in http.h, but
 * without a head. */
typedef int (*weft_registry_data_t)(void *userdata, const char *data, size_t size);
int weft_registry_blob(struct weft_registry *r, const struct weft_oci_descriptor *d,
	uint64_t offset, weft_registry_data_t data, weft_registry_done_t done, void *userdata,
	struct weft_registry_call **ret);
void weft_registry_continue(struct weft_registry_call *call); /* after data() said -EAGAIN */
void weft_registry_cancel(struct weft_registry_call *call);   /* NULL is fine */

/* Is that an error of a registry that cannot be reached or does not work at the moment? */
bool weft_registry_is_away(int r);

/* --- answers of a token server (exposed for the fuzzer) -----------------------------------------
 */

/* The token in it, malloc'ed; NULL: none, or one that no header can carry. */
char *weft_registry_token(const char *text, size_t size);

#endif
