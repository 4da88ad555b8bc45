/* SPDX-License-Identifier: Apache-2.0 */
/* One line of fixed length, written over in place, for which a full disk has room: the end of the
 * block in use, the end of the larger one that the disk is known to have, and the kernel's boot id.
 * A daemon of the same boot reads what its predecessor wrote, synced or not. */
#include "ctrl/engine/reserve.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "ctrl/base/util.h"

#define LINE_MAX_BYTES 128
#define MOST           (UINT64_C(1) << 62)

struct weft_reserve {
	char *path;
	int fd; /* -1: not open (yet) for writing */
	uint64_t before;
	uint64_t end, synced;
	bool used;
	char boot[40];
};

static void recall(struct weft_reserve *r)
{
	_cleanup_(freep) char *text = NULL;
	uint64_t end, synced;
	char boot[40];
	size_t size;

	if (weft_read_file(r->path, LINE_MAX_BYTES, &text, &size) < 0 ||
		sscanf(text, "%20" SCNu64 " %20" SCNu64 " %39s", &end, &synced, boot) != 3 ||
		end > MOST || synced > MOST)
		return;
	r->before = strcmp(boot, r->boot) == 0 || end > synced ? end : synced;
}

int weft_reserve_open(const char *path, struct weft_reserve **ret)
{
	struct weft_reserve *r = calloc(1, sizeof(*r));
	_cleanup_(freep) char *boot = NULL;
	size_t size;

	if (!r || !(r->path = strdup(path))) {
		free(r);
		return -ENOMEM;
	}
	r->fd = -1;
	if (weft_read_file("/proc/sys/kernel/random/boot_id", sizeof(r->boot), &boot, &size) < 0 ||
		sscanf(boot, "%39s", r->boot) != 1)
		strcpy(r->boot, "-");
	recall(r);
	*ret = r;
	return 0;
}

uint64_t weft_reserve_last(const struct weft_reserve *r)
{
	return r->before;
}

static int write_line(struct weft_reserve *r, uint64_t end, uint64_t synced)
{
	char line[LINE_MAX_BYTES];
	int n = snprintf(
		line, sizeof(line), "%020" PRIu64 " %020" PRIu64 " %36s\n", end, synced, r->boot);

	if (r->fd < 0)
		r->fd = open(r->path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (r->fd < 0 || pwrite(r->fd, line, (size_t)n, 0) != n)
		return -EIO;
	return synced > r->synced ? fdatasync(r->fd) : 0;
}

bool weft_reserve_take(struct weft_reserve *r, uint64_t number)
{
	uint64_t end = number + WEFT_RESERVE_BLOCK - 1, synced = r->synced;

	if (r->used && number <= r->end)
		return true;
	if (end > synced)
		synced = number + WEFT_RESERVE_SYNCED - 1;
	if (write_line(r, end, synced) < 0)
		return false;
	r->end = end;
	r->synced = synced;
	r->used = true;
	return true;
}

void weft_reserve_close(struct weft_reserve *r, uint64_t last)
{
	if (!r)
		return;
	if (r->used && last)
		(void)write_line(r, last, last);
	if (r->fd >= 0)
		close(r->fd);
	free(r->path);
	free(r);
}
