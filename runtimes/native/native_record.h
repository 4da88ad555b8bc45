/* SPDX-License-Identifier: Apache-2.0 */
/* What a later daemon needs to find a native instance again: one small file per instance, replaced
 * atomically. */
#ifndef WEFT_RUNTIMES_NATIVE_RECORD_H
#define WEFT_RUNTIMES_NATIVE_RECORD_H

#include <stdint.h>
#include <sys/types.h>

struct weft_native_record {
	pid_t pid;
	uint64_t start_time; /* with pid: which process, within one boot */
	char boot_id[40];
	char cgroup[128];
	pid_t log_pid; /* of the log's writer; 0: none */
	uint64_t log_start_time;
};

/* Fill in start times and boot id of a running process and its log's writer, 0: none. */
int weft_native_record_of(
	pid_t pid, const char *cgroup, pid_t log_pid, struct weft_native_record *ret);

int weft_native_record_save(const char *path, const struct weft_native_record *rec);
/* -ENOENT: no file; -EBADMSG: not one of ours. */
int weft_native_record_load(const char *path, struct weft_native_record *ret);

/* pidfd of the very process of the record; -ESRCH when it has ended, or before a reboot. */
int weft_native_record_open(const struct weft_native_record *rec, int *ret_pidfd);
/* Likewise, of its log's writer. */
int weft_native_record_open_log(const struct weft_native_record *rec, int *ret_pidfd);

#endif
