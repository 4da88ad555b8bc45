/* SPDX-License-Identifier: Apache-2.0 */
/* A helper program run to its end under a time limit: its output is collected, and it is told of
 * once. For workers and probes; what should outlive the daemon is spawned by process.h. */
#ifndef WEFT_RUNTIMES_JOB_H
#define WEFT_RUNTIMES_JOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/err.h"
#include "runtimes/process.h"

struct weft_job;

struct weft_job_result {
	int status;         /* as waitpid() says */
	bool timed_out;     /* killed at its time limit */
	bool overflow;      /* killed for writing more than it may */
	const char *output; /* what it wrote to stdout, NUL-terminated; lives until the callback
			       returns */
	size_t size;
};

/* Called once, from the loop. May free the job. */
typedef void (*weft_job_done_t)(void *userdata, const struct weft_job_result *result);

#define WEFT_JOB_STDERR_TOO (-2) /* as spec.stderr_fd: collected with stdout, in order */

/* Spawn it as spec says, but with its stdout collected (at most max_output bytes) and bound to our
 * life. On success the caller owns *ret. */
int weft_job_run(sd_event *event, const struct weft_process_spec *spec, size_t max_output,
	unsigned timeout_ms, weft_job_done_t done, void *userdata, struct weft_job **ret,
	struct weft_err *err);

/* Its end is reported as usual. */
void weft_job_kill(struct weft_job *job);

/* Kills and reaps it when it still runs; `done` is not called then. NULL is fine. */
void weft_job_free(struct weft_job *job);
WEFT_DEFINE_CLEANUP(struct weft_job *, weft_job_free);

#endif
