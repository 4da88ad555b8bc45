/* SPDX-License-Identifier: Apache-2.0 */
#include "ctrl/dataplane/link_watch.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>

struct weft_link_watch {
	int fd;
	weft_link_watch_t cb;
	void *userdata;
};

int weft_link_watch_open(
	weft_link_watch_t cb, void *userdata, struct weft_link_watch **ret, struct weft_err *err)
{
	const struct sockaddr_nl sa = {.nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK};
	struct weft_link_watch *w = calloc(1, sizeof(*w));

	if (!w)
		return weft_err_set(err, ENOMEM, "out of memory");
	w->cb = cb;
	w->userdata = userdata;
	w->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
	if (w->fd < 0 || bind(w->fd, (const struct sockaddr *)&sa, sizeof(sa)) < 0) {
		weft_err_set(err, errno, "watching devices: %m");
		weft_link_watch_free(w);
		return -err->code;
	}
	*ret = w;
	return 0;
}

void weft_link_watch_free(struct weft_link_watch *w)
{
	if (!w)
		return;
	if (w->fd >= 0)
		close(w->fd);
	free(w);
}

int weft_link_watch_fd(const struct weft_link_watch *w)
{
	return w->fd;
}

static void tell(struct weft_link_watch *w, const struct nlmsghdr *h)
{
	const struct ifinfomsg *info = NLMSG_DATA(h);

	if (h->nlmsg_len < NLMSG_LENGTH(sizeof(*info)) || info->ifi_index <= 0)
		return;
	/* A bridge tells of its ports by the same messages, of another family. */
	if (info->ifi_family != AF_UNSPEC)
		return;
	if (h->nlmsg_type == RTM_DELLINK || h->nlmsg_type == RTM_NEWLINK)
		w->cb(w->userdata, (uint32_t)info->ifi_index, h->nlmsg_type == RTM_DELLINK);
}

int weft_link_watch_run(struct weft_link_watch *w)
{
	/* The kernel makes such messages of a page or two at most. */
	char buf[16384] __attribute__((aligned(NLMSG_ALIGNTO)));

	for (;;) {
		struct sockaddr_nl from = {0};
		socklen_t size = sizeof(from);
		ssize_t n = recvfrom(w->fd, buf, sizeof(buf), 0, (struct sockaddr *)&from, &size);

		if (n < 0)
			return errno == EAGAIN ? 0 : errno == EINTR ? 0 : -errno;
		if (from.nl_pid != 0)
			continue; /* not the kernel */
		for (struct nlmsghdr *h = (struct nlmsghdr *)buf; NLMSG_OK(h, (size_t)n);
			h = NLMSG_NEXT(h, n))
			tell(w, h);
	}
}
