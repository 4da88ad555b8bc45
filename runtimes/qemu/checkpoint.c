/* SPDX-License-Identifier: Apache-2.0 */
#include "runtimes/qemu/checkpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"

#define MAGIC "weft-checkpoint 1\n"

int weft_checkpoint_create(const char *path, const char *shape, int *ret_fd, struct weft_err *err)
{
	_cleanup_(closep) int fd = -1;
	char head[WEFT_CHECKPOINT_HEAD] = {};
	int r;

	if (strlen(shape) >= WEFT_SHAPE_MAX || strchr(shape, '\n'))
		return weft_err_set(err, EINVAL, "checkpoint %s: too long a description", path);
	snprintf(head, sizeof(head), MAGIC "%s\n", shape);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY, 0600);
	if (fd < 0)
		return weft_err_set(err, errno, "checkpoint %s: %m", path);
	r = weft_write_all(fd, head, sizeof(head));
	if (r < 0) {
		unlink(path);
		return weft_err_set(err, r, "checkpoint %s: %s", path, strerror(-r));
	}
	*ret_fd = TAKE_FD(fd);
	return 0;
}

/* Words by turns from both. */
const char *weft_shape_difference(const char *there, const char *here, char *buf, size_t size)
{
	while (*there || *here) {
		size_t t = strcspn(there, " "), h = strcspn(here, " ");

		if (t != h || memcmp(there, here, t) != 0) {
			snprintf(buf, size, "%.*s there, %.*s here", (int)(t > 90 ? 90 : t), there,
				(int)(h > 90 ? 90 : h), here);
			return buf;
		}
		there += t + (there[t] == ' ');
		here += h + (here[h] == ' ');
	}
	snprintf(buf, size, "nothing");
	return buf;
}

int weft_checkpoint_open(const char *path, const char *shape, int *ret_fd, struct weft_err *err)
{
	char head[WEFT_CHECKPOINT_HEAD + 1], why[256], *there = head + strlen(MAGIC), *end;
	_cleanup_(closep) int fd = -1;
	ssize_t n;

	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	n = fd < 0 ? -1 : read(fd, head, WEFT_CHECKPOINT_HEAD);
	if (n < 0)
		return weft_err_set(err, errno, "checkpoint %s: %m", path);
	head[n] = '\0';
	end = strncmp(head, MAGIC, strlen(MAGIC)) == 0 ? strchr(there, '\n') : NULL;
	if (n != WEFT_CHECKPOINT_HEAD || !end || end - there >= WEFT_SHAPE_MAX)
		return weft_err_set(
			err, EBADMSG, "checkpoint %s: it is none, or a truncated one", path);
	*end = '\0';
	if (strcmp(there, shape) != 0) {
		weft_err_set(err, EINVAL, "checkpoint %s is of another machine: %s", path,
			weft_shape_difference(there, shape, why, sizeof(why)));
		return weft_err_hint(err, "boot the instance, and make a checkpoint anew");
	}
	*ret_fd = TAKE_FD(fd);
	return 0;
}
