/* SPDX-License-Identifier: Apache-2.0 */
/* The end of a log that may have been rotated a moment ago. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ctrl/engine/internal.h"

/* The last max bytes of a file, at the end of buf. A file that is not there is empty. */
static ssize_t read_tail(const char *path, char *buf, size_t max)
{
	_cleanup_(fclosep) FILE *f = fopen(path, "re");
	size_t n;

	if (!f)
		return errno == ENOENT ? 0 : -errno;
	if (fseek(f, -(long)max, SEEK_END) < 0)
		rewind(f);
	n = fread(buf, 1, max, f);
	if (ferror(f))
		return -EIO;
	memmove(buf + max - n, buf, n);
	return (ssize_t)n;
}

ssize_t engine_log_tail(const char *path, char *buf, size_t max)
{
	_cleanup_(freep) char *old = weft_strf("%s.1", path);
	ssize_t n = old ? read_tail(path, buf, max) : -ENOMEM, before = 0;

	if (n < 0)
		return n;
	/* Rotating is renaming: what is missed in the one is in the other. */
	if ((size_t)n < max)
		before = read_tail(old, buf, max - (size_t)n);
	if (before < 0)
		before = 0;
	memmove(buf, buf + max - (size_t)n - (size_t)before, (size_t)(n + before));
	return n + before;
}
