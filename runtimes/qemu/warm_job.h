/* SPDX-License-Identifier: Apache-2.0 */
/* Inside warm.h: making one checkpoint. */
#ifndef WEFT_RUNTIMES_QEMU_WARM_JOB_H
#define WEFT_RUNTIMES_QEMU_WARM_JOB_H

#include "runtimes/qemu/migrate.h"
#include "runtimes/qemu/warm.h"

struct weft_warm_job;

/* For dir, where it shall be. Copies what it needs of want. On success the caller owns *ret. */
int weft_warm_job_new(
	const struct weft_warm_want *want, const char *dir, struct weft_warm_job **ret);
/* Ends what is under way, and removes what is not complete. NULL is fine. */
void weft_warm_job_free(struct weft_warm_job *job);

/* Once. done is called once, from the loop, when nothing runs any more; it may free the job. On
 * failure it is not called. */
int weft_warm_job_start(struct weft_warm_job *job, sd_event *event,
	struct weft_unikernel_store *images, const char *cgroup, weft_migration_done_t done,
	void *userdata, struct weft_err *err);

/* End it: done is called with -ECANCELED once qemu is gone. false: nothing of it runs yet. */
bool weft_warm_job_cancel(struct weft_warm_job *job);
bool weft_warm_job_cancelled(const struct weft_warm_job *job);

const char *weft_warm_job_dir(const struct weft_warm_job *job);
const char *weft_warm_job_image(const struct weft_warm_job *job);

/* What stands for all that a checkpoint depends on (warm.h); the caller's to free, NULL when out of
 * memory. Words with spaces between. */
char *weft_warm_purpose(const struct weft_warm_want *want);

/* Note down what is in dir, as the last thing before it gets its name (warm_seal.c); and whether it
 * is still that, with so many bytes of memory, and for that purpose: -ENOENT, -EBADMSG, -EINVAL. */
int weft_warm_seal(const char *dir, const char *purpose);
int weft_warm_check(const char *dir, const char *purpose, uint64_t memory, struct weft_err *err);

/* Bytes that its guest's memory may take. */
uint64_t weft_warm_job_memory(const struct weft_warm_job *job);

/* Remove what is of earlier boots or not complete; and the least used ones while all together take
 * more than max_bytes, last of all keep: -E2BIG (warm_room.c). Instances that began from one go
 * on. */
void weft_warm_remove_old(const char *images_dir);
int weft_warm_trim(
	const char *images_dir, uint64_t max_bytes, const char *keep, struct weft_err *err);
/* First it loses its name: were we killed meanwhile, what is left of it is not complete either. */
int weft_warm_remove(const char *dir);

/* End what an earlier daemon's job has left running. */
int weft_warm_clean(const char *cgroup);

#endif
