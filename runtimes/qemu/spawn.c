/* SPDX-License-Identifier: Apache-2.0 */
#include "runtimes/qemu/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "ctrl/base/util.h"
#include "runtimes/process.h"
#include "runtimes/qemu/tap.h"

#define SOCKET_NAME "qmp.sock"

int weft_qemu_listen(const char *dir, int *ret_fd, char **ret_path, struct weft_err *err)
{
	_cleanup_(freep) char *path = weft_strf("%s/" SOCKET_NAME, dir);
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	_cleanup_(closep) int dirfd = -1, fd = -1;

	if (!path)
		return weft_err_set(err, ENOMEM, "out of memory");
	dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dirfd < 0)
		return weft_err_set(err, errno, "directory %s: %m", dir);
	if (unlinkat(dirfd, SOCKET_NAME, 0) < 0 && errno != ENOENT)
		return weft_err_set(err, errno, "remove %s: %m", path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return weft_err_set(err, errno, "monitor socket: %m");
	/* Through the descriptor, as an address holds 107 characters and paths are longer. */
	snprintf(sa.sun_path, sizeof(sa.sun_path), "/proc/self/fd/%d/" SOCKET_NAME, dirfd);
	if (bind(fd, (const struct sockaddr *)&sa, sizeof(sa)) < 0)
		return weft_err_set(err, errno, "monitor socket %s: %m", path);
	if (listen(fd, 4) < 0) {
		int r = weft_err_set(err, errno, "monitor socket %s: %m", path);

		unlink(path);
		return r;
	}
	*ret_fd = TAKE_FD(fd);
	*ret_path = TAKE_PTR(path);
	return 0;
}

/* Descriptors in the order that machine.h says. */
struct handed {
	int fds[1 + 2 * WEFT_MAX_QUEUES + 1];
	unsigned n;
	int vhost[WEFT_MAX_QUEUES];
};

static void handed_done(struct handed *h)
{
	for (unsigned i = 0; i < WEFT_MAX_QUEUES; i++)
		closep(&h->vhost[i]);
}

/* The kernel's back-end serves every machine and accelerator: it reaches the guest's memory by
 * qemu's addresses, and where KVM does not carry its signals, as under TCG and to virtio-mmio, qemu
 * does. What TCG has translated of a page is not dropped when a frame lands there: no guest runs
 * code from where its frames land. */
static int hand_over(const struct weft_qemu_spawn *s, struct handed *h, struct weft_err *err)
{
	struct weft_qemu_args *a = s->args;
	int r = 0;

	h->fds[h->n++] = s->monitor;
	for (unsigned i = 0; i < a->queues; i++)
		h->fds[h->n++] = s->taps[i];
	a->vhost = a->queues && weft_vhost_net_usable();
	if (a->vhost)
		r = weft_vhost_net_open(a->queues, h->vhost, err);
	for (unsigned i = 0; r == 0 && a->vhost && i < a->queues; i++)
		h->fds[h->n++] = h->vhost[i];
	if (a->config)
		h->fds[h->n++] = s->config;
	return r;
}

int weft_qemu_spawn(
	const struct weft_qemu_spawn *s, pid_t *ret_pid, int *ret_pidfd, struct weft_err *err)
{
	_cleanup_(strv_freep) char **argv = NULL;
	_cleanup_(handed_done) struct handed h = {};
	struct weft_process_spec spec = {
		.cwd = s->image_dir,
		.netns = s->netns,
		.cgroup = s->cgroup,
		.stdin_fd = -1,
		.stdout_fd = s->output,
		.stderr_fd = s->output,
		.fds = h.fds,
	};
	int r;

	memset(h.vhost, -1, sizeof(h.vhost));
	r = hand_over(s, &h, err);
	if (r < 0)
		return r;
	spec.n_fds = h.n;
	r = weft_qemu_argv(s->args, &argv);
	if (r < 0)
		return weft_err_set(err, r, "qemu's arguments: %s", strerror(-r));
	spec.argv = (const char *const *)argv;
	return weft_process_spawn(&spec, ret_pid, ret_pidfd, err);
}
