/* SPDX-License-Identifier: Apache-2.0 */
/* weft-log: writes what an instance says into a file, and rotates it. Whoever starts the instance
 * starts this beside it, by containerd's rules for a logging program:
 *
 *   weft-log path FILE max BYTES      descriptors: 3 its stdout, 4 its stderr, 5 ready
 *
 * It closes 5 once it is ready, and ends when the instance has closed both pipes, or at SIGTERM, by
 * when the instance is gone, with what is left in them. It needs nobody else: the daemon may be
 * restarted, and the instance goes on writing.
 *
 * A file that has reached BYTES (0: never) is renamed to FILE.1, in the place of the one before, at
 * the end of a line where there is one. A full disk must not stop the instance: what cannot be
 * written is dropped, counted, and told of in the log as soon as that works again. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define OUT   3
#define ERR   4
#define READY 5
#define CHUNK 65536

struct log {
	const char *path;
	char old[PATH_MAX];
	uint64_t max, size, lost;
	int fd; /* -1: could not be opened */
	int why;
};

static volatile sig_atomic_t told_to_end;

static void on_term(int sig)
{
	(void)sig;
	told_to_end = 1;
}

static void open_log(struct log *l)
{
	struct stat st;

	l->fd = open(l->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0640);
	l->size = l->fd >= 0 && fstat(l->fd, &st) == 0 ? (uint64_t)st.st_size : 0;
	if (l->fd < 0)
		l->why = errno;
}

static void reopen(struct log *l)
{
	if (l->fd >= 0)
		close(l->fd);
	open_log(l);
}

static void rotate(struct log *l)
{
	if (rename(l->path, l->old) == 0)
		reopen(l);
	else
		l->size = 0; /* not now; after as much again */
}

/* Somebody may have moved or removed the file. */
static bool is_in_place(const struct log *l)
{
	struct stat ours, there;

	return l->fd >= 0 && fstat(l->fd, &ours) == 0 && stat(l->path, &there) == 0 &&
	       ours.st_ino == there.st_ino && ours.st_dev == there.st_dev;
}

static size_t write_some(struct log *l, const char *data, size_t size)
{
	size_t done = 0;

	while (done < size) {
		ssize_t n = write(l->fd, data + done, size - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			l->why = n < 0 ? errno : ENOSPC;
			break;
		}
		done += (size_t)n;
	}
	l->size += done;
	return done;
}

static void tell_loss(struct log *l)
{
	char text[128];
	int n = snprintf(text, sizeof(text), "weft-log: %" PRIu64 " bytes were lost here: %s\n",
		l->lost, strerror(l->why));

	if (write_some(l, text, (size_t)n) == (size_t)n)
		l->lost = 0;
}

/* How much still goes into this file: whole lines, if one ends in what fits. */
static size_t fitting(const struct log *l, const char *data, size_t size)
{
	size_t room = l->max > l->size ? (size_t)(l->max - l->size) : 0;
	const char *end;

	if (!l->max || size <= room)
		return size;
	end = memrchr(data, '\n', room);
	if (end)
		return (size_t)(end - data) + 1;
	return l->size > 0 ? 0 : room;
}

static void take(struct log *l, const char *data, size_t size)
{
	if (!is_in_place(l))
		reopen(l);
	if (l->fd >= 0 && l->lost > 0)
		tell_loss(l);
	while (l->fd >= 0 && size > 0) {
		size_t n = fitting(l, data, size), done;

		if (n == 0) {
			rotate(l);
			continue;
		}
		done = write_some(l, data, n);
		data += done;
		size -= done;
		if (done < n)
			break;
	}
	l->lost += size;
}

/* One read; false at the end of the pipe. */
static bool copy(struct log *l, int fd, bool *ret_any)
{
	static char buf[CHUNK];
	ssize_t n = read(fd, buf, sizeof(buf));

	if (n > 0) {
		*ret_any = true;
		take(l, buf, (size_t)n);
	}
	return n > 0 || (n < 0 && (errno == EINTR || errno == EAGAIN));
}

static void run(struct log *l, const sigset_t *waiting)
{
	struct pollfd p[2] = {{OUT, POLLIN, 0}, {ERR, POLLIN, 0}};

	while (p[0].fd >= 0 || p[1].fd >= 0) {
		bool any = false;

		if (!told_to_end && ppoll(p, 2, NULL, waiting) < 0 && errno != EINTR)
			return;
		for (int i = 0; i < 2; i++)
			if (p[i].fd >= 0 && (p[i].revents || told_to_end) &&
				!copy(l, p[i].fd, &any))
				p[i].fd = -1;
		if (told_to_end && !any)
			return;
	}
}

static int usage(void)
{
	fprintf(stderr, "usage: weft-log path FILE max BYTES   (started by weft's runtimes)\n");
	return 2;
}

int main(int argc, char **argv)
{
	const struct sigaction term = {.sa_handler = on_term};
	struct log l = {.fd = -1};
	sigset_t block, waiting;
	char *end = NULL;

	for (int i = 1; i + 1 < argc; i += 2) {
		if (strcmp(argv[i], "path") == 0)
			l.path = argv[i + 1];
		else if (strcmp(argv[i], "max") == 0)
			l.max = strtoull(argv[i + 1], &end, 10);
	}
	if (!l.path || !end || *end ||
		snprintf(l.old, sizeof(l.old), "%s.1", l.path) >= (int)sizeof(l.old))
		return usage();
	/* SIGTERM comes in while we wait and at no other time, so that no read misses it. */
	sigemptyset(&block);
	sigaddset(&block, SIGTERM);
	sigprocmask(SIG_BLOCK, &block, &waiting);
	sigdelset(&waiting, SIGTERM);
	sigaction(SIGTERM, &term, NULL);
	signal(SIGPIPE, SIG_IGN);
	(void)!chdir("/");
	umask(027);
	if (fcntl(OUT, F_SETFL, O_NONBLOCK) < 0 || fcntl(ERR, F_SETFL, O_NONBLOCK) < 0)
		return usage();
	open_log(&l);
	close(READY);
	run(&l, &waiting);
	return 0;
}
