/* SPDX-License-Identifier: Apache-2.0 */
/* A checkpoint's seal: what it is for, and what its files were when it was complete. Nothing is
 * synced to the disk, as no checkpoint is looked at after another boot of the host. */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <string.h>
#include <sys/stat.h>

#include "ctrl/base/util.h"
#include "runtimes/image/oci.h"
#include "runtimes/qemu/checkpoint.h"
#include "runtimes/qemu/warm_job.h"

#define MAX_SEAL  65536
#define MAX_STATE (64U << 20) /* devices alone: some hundred KiB */

static int digest_of(const char *path, uint64_t *ret_size, char ret[WEFT_OCI_DIGEST])
{
	_cleanup_(freep) char *text = NULL;
	size_t size;
	int r = weft_read_file(path, MAX_STATE, &text, &size);

	if (r < 0)
		return r;
	weft_oci_digest(text, size, ret);
	*ret_size = size;
	return 0;
}

int weft_warm_seal(const char *dir, const char *purpose)
{
	_cleanup_(freep) char *path = weft_strf("%s/seal.json", dir), *text = NULL;
	_cleanup_(freep) char *ram = weft_strf("%s/ram", dir), *state = weft_strf("%s/state", dir);
	char digest[WEFT_OCI_DIGEST];
	json_auto_t *o = NULL;
	uint64_t size;
	struct stat st;
	int r;

	if (!path || !ram || !state)
		return -ENOMEM;
	if (lstat(ram, &st) < 0)
		return -errno;
	r = digest_of(state, &size, digest);
	if (r < 0)
		return r;
	o = json_pack("{s:s, s:I, s:I, s:s}", "for", purpose, "ram", (json_int_t)st.st_size,
		"state", (json_int_t)size, "digest", digest);
	text = o ? json_dumps(o, JSON_COMPACT) : NULL;
	return text ? weft_write_file(path, text, strlen(text), 0600) : -ENOMEM;
}

/* Its memory is a file that qemu would make when it is missing, and extend when it is short: the
 * guest would go on with nothing, or half of what it knew. */
static int check_ram(const char *dir, const json_t *seal, uint64_t memory, struct weft_err *err)
{
	_cleanup_(freep) char *path = weft_strf("%s/ram", dir);
	json_int_t then = json_integer_value(json_object_get(seal, "ram"));
	struct stat st;

	if (!path)
		return weft_err_set(err, ENOMEM, "out of memory");
	if (lstat(path, &st) < 0)
		return weft_err_set(err, errno, "checkpoint %s: its memory: %m", dir);
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != memory || then != st.st_size)
		return weft_err_set(err, EBADMSG,
			"checkpoint %s: its memory has %lld bytes, not the machine's %llu", dir,
			(long long)st.st_size, (unsigned long long)memory);
	return 0;
}

static int check_state(const char *dir, const json_t *seal, struct weft_err *err)
{
	_cleanup_(freep) char *path = weft_strf("%s/state", dir);
	const char *then = json_string_value(json_object_get(seal, "digest"));
	char now[WEFT_OCI_DIGEST];
	uint64_t size;
	int r = path ? digest_of(path, &size, now) : -ENOMEM;

	if (r < 0)
		return weft_err_set(err, r, "checkpoint %s: its state: %s", dir, strerror(-r));
	if (!then || strcmp(then, now) != 0)
		return weft_err_set(err, EBADMSG,
			"checkpoint %s: its state is not what was written there", dir);
	return 0;
}

int weft_warm_check(const char *dir, const char *purpose, uint64_t memory, struct weft_err *err)
{
	_cleanup_(freep) char *path = weft_strf("%s/seal.json", dir), *text = NULL;
	const char *then;
	json_auto_t *seal = NULL;
	char why[256];
	size_t size;
	int r;

	if (!path)
		return weft_err_set(err, ENOMEM, "out of memory");
	r = weft_read_file(path, MAX_SEAL, &text, &size);
	if (r < 0)
		return weft_err_set(
			err, r, "checkpoint %s: it is not complete: %s", dir, strerror(-r));
	seal = json_loadb(text, size, 0, NULL);
	then = json_string_value(json_object_get(seal, "for"));
	if (!then)
		return weft_err_set(err, EBADMSG, "checkpoint %s: its seal is broken", dir);
	if (strcmp(then, purpose) != 0)
		return weft_err_set(err, EINVAL, "checkpoint %s is of another machine: %s", dir,
			weft_shape_difference(then, purpose, why, sizeof(why)));
	r = check_ram(dir, seal, memory, err);
	return r < 0 ? r : check_state(dir, seal, err);
}
