/* SPDX-License-Identifier: Apache-2.0 */
#include "runtimes/native/native_record.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "runtimes/process.h"

#define MAX_SIZE 4096

int weft_native_record_of(
	pid_t pid, const char *cgroup, pid_t log_pid, struct weft_native_record *ret)
{
	struct weft_native_record rec = {.pid = pid, .log_pid = log_pid};
	int r;

	if (strlen(cgroup) >= sizeof(rec.cgroup))
		return -ENAMETOOLONG;
	strcpy(rec.cgroup, cgroup);
	r = weft_process_start_time(pid, &rec.start_time);
	if (r == 0 && log_pid)
		r = weft_process_start_time(log_pid, &rec.log_start_time);
	if (r == 0)
		r = weft_boot_id(rec.boot_id, sizeof(rec.boot_id));
	if (r == 0)
		*ret = rec;
	return r;
}

int weft_native_record_save(const char *path, const struct weft_native_record *rec)
{
	json_auto_t *json = json_pack("{s:i, s:I, s:s, s:s, s:i, s:I}", "pid", (int)rec->pid,
		"start_time", (json_int_t)rec->start_time, "boot_id", rec->boot_id, "cgroup",
		rec->cgroup, "log_pid", (int)rec->log_pid, "log_start_time",
		(json_int_t)rec->log_start_time);
	_cleanup_(freep) char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;

	if (!text)
		return -ENOMEM;
	return weft_write_file(path, text, strlen(text), 0600);
}

int weft_native_record_load(const char *path, struct weft_native_record *ret)
{
	_cleanup_(freep) char *text = NULL;
	struct weft_native_record rec = {};
	const char *boot_id, *cgroup;
	json_auto_t *json = NULL;
	json_int_t start, log_start = 0;
	size_t size;
	int r, pid, log_pid = 0;

	r = weft_read_file(path, MAX_SIZE, &text, &size);
	if (r < 0)
		return r == -E2BIG ? -EBADMSG : r;
	json = json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL);
	if (!json || json_unpack(json, "{s:i, s:I, s:s, s:s, s?i, s?I}", "pid", &pid, "start_time",
			     &start, "boot_id", &boot_id, "cgroup", &cgroup, "log_pid", &log_pid,
			     "log_start_time", &log_start) < 0)
		return -EBADMSG;
	if (pid <= 1 || start < 0 || log_pid < 0 || log_start < 0 ||
		strlen(boot_id) >= sizeof(rec.boot_id) || strlen(cgroup) >= sizeof(rec.cgroup))
		return -EBADMSG;
	rec.pid = pid;
	rec.start_time = (uint64_t)start;
	rec.log_pid = log_pid;
	rec.log_start_time = (uint64_t)log_start;
	strcpy(rec.boot_id, boot_id);
	strcpy(rec.cgroup, cgroup);
	*ret = rec;
	return 0;
}

/* After a reboot another process may well have that pid and that start time. */
static int open_process(
	const struct weft_native_record *rec, pid_t pid, uint64_t start_time, int *ret_pidfd)
{
	char boot_id[sizeof(rec->boot_id)];
	int r = weft_boot_id(boot_id, sizeof(boot_id));

	if (r < 0)
		return r;
	if (strcmp(boot_id, rec->boot_id) != 0)
		return -ESRCH;
	return weft_process_open(pid, start_time, ret_pidfd);
}

int weft_native_record_open(const struct weft_native_record *rec, int *ret_pidfd)
{
	return open_process(rec, rec->pid, rec->start_time, ret_pidfd);
}

int weft_native_record_open_log(const struct weft_native_record *rec, int *ret_pidfd)
{
	return open_process(rec, rec->log_pid, rec->log_start_time, ret_pidfd);
}
