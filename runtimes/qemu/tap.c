/* SPDX-License-Identifier: Apache-2.0 */
#include "runtimes/qemu/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/vhost.h>
#include <net/if.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "ctrl/base/cleanup.h"

#define TUN       "/dev/net/tun"
#define VHOST_NET "/dev/vhost-net"

static void close_all(int *fds, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		closep(&fds[i]);
		fds[i] = -1;
	}
}

/* A macvtap's node is the device itself: each open is a queue. A tap's node is everybody's, and the
 * queue is asked for by the device's name. */
static int open_queue(int fd, struct ifreq *ifr, bool tun, int *ret)
{
	_cleanup_(closep) int queue = -1;
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	queue = open(tun ? TUN : path, O_RDWR | O_CLOEXEC);
	if (queue < 0 || ioctl(queue, TUNSETIFF, ifr) < 0)
		return -errno;
	*ret = TAKE_FD(queue);
	return 0;
}

int weft_tap_queues(int fd, unsigned n, int *ret_fds, struct weft_err *err)
{
	struct ifreq ifr = {};
	struct stat st, tun;
	bool is_tun;
	int r = 0;

	if (n == 0)
		return 0;
	if (fstat(fd, &st) < 0 || ioctl(fd, TUNGETIFF, &ifr) < 0)
		return weft_err_set(err, errno, "its tap device: %m");
	is_tun = stat(TUN, &tun) == 0 && tun.st_rdev == st.st_rdev;
	if (is_tun && !(ifr.ifr_flags & IFF_MULTI_QUEUE)) {
		weft_err_set(err, ENOTSUP, "its tap device %.15s has one queue, not %u",
			ifr.ifr_name, n + 1);
		return weft_err_hint(err, "use network macvtap, or an image with \"queues\": 1");
	}
	ifr.ifr_flags &= (short)(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE);
	for (unsigned i = 0; r == 0 && i < n; i++) {
		r = open_queue(fd, &ifr, is_tun, &ret_fds[i]);
		if (r < 0)
			close_all(ret_fds, i);
	}
	return r < 0 ? weft_err_set(err, r, "queue of its tap device: %s", strerror(-r)) : 0;
}

bool weft_vhost_net_usable(void)
{
	_cleanup_(closep) int fd = open(VHOST_NET, O_RDWR | O_CLOEXEC);
	uint64_t features;

	return fd >= 0 && ioctl(fd, VHOST_SET_OWNER) == 0 &&
	       ioctl(fd, VHOST_GET_FEATURES, &features) == 0;
}

int weft_vhost_net_open(unsigned n, int *ret_fds, struct weft_err *err)
{
	for (unsigned i = 0; i < n; i++) {
		int r;

		ret_fds[i] = open(VHOST_NET, O_RDWR | O_CLOEXEC);
		if (ret_fds[i] >= 0)
			continue;
		r = weft_err_set(err, errno, VHOST_NET ": %m");
		close_all(ret_fds, i);
		return r;
	}
	return 0;
}

int weft_tap_nowhere(unsigned n, int *ret_fds, struct weft_err *err)
{
	struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR, .ifr_name = "weft0"};
	_cleanup_(closep) int home = -1;
	int r = 0;

	if (n == 0)
		return 0;
	if (n > 1)
		ifr.ifr_flags |= IFF_MULTI_QUEUE;
	home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (home < 0)
		return weft_err_set(err, errno, "network namespace: %m");
	if (unshare(CLONE_NEWNET) < 0)
		return weft_err_set(err, errno, "network namespace: make one: %m");
	/* Nothing else of the daemon, which has one thread, runs until it is back. */
	for (unsigned i = 0; r == 0 && i < n; i++) {
		r = open_queue(-1, &ifr, true, &ret_fds[i]);
		if (r < 0)
			close_all(ret_fds, i);
	}
	if (setns(home, CLONE_NEWNET) < 0)
		return weft_err_set(err, errno, "network namespace: go back: %m");
	return r < 0 ? weft_err_set(err, r, "tap: " TUN ": %s", strerror(-r)) : 0;
}
