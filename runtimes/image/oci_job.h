/* SPDX-License-Identifier: Apache-2.0 */
/* Reading images without holding up the loop: oci.h's functions in a short-lived child. */
#ifndef WEFT_RUNTIMES_IMAGE_OCI_JOB_H
#define WEFT_RUNTIMES_IMAGE_OCI_JOB_H

#include <systemd/sd-event.h>

#include "runtimes/image/oci.h"

struct weft_oci_job;

/* Called once, from the loop; may free the job. The callee owns image, which an inspection has
 * found; it is NULL after an extraction or a failure. err lives until the callback returns. */
typedef void (*weft_oci_job_done_t)(
	void *userdata, int r, const struct weft_err *err, struct weft_oci_image *image);

/* As weft_oci_inspect(). On success the caller owns *ret. */
int weft_oci_job_inspect(sd_event *event, const char *path, enum weft_arch arch,
	weft_oci_job_done_t done, void *userdata, struct weft_oci_job **ret);

/* As weft_oci_extract(), into an existing directory. */
int weft_oci_job_extract(sd_event *event, const char *path, const struct weft_oci_image *image,
	const char *dir, weft_oci_job_done_t done, void *userdata, struct weft_oci_job **ret);

/* Kills the child if it still runs; done is not called then. NULL is fine. */
void weft_oci_job_free(struct weft_oci_job *job);
WEFT_DEFINE_CLEANUP(struct weft_oci_job *, weft_oci_job_free);

/* What travels from the child to us (exposed for the fuzzer): JSON with the raw documents, which
 * are parsed and checked here once more, or with an error. */
char *weft_oci_answer_format(const struct weft_oci_image *image, const struct weft_err *err);
int weft_oci_answer_parse(const char *text, size_t size, const char *path, enum weft_arch arch,
	struct weft_oci_image **ret, struct weft_err *err);

#endif
