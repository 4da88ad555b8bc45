/* SPDX-License-Identifier: Apache-2.0 */
#include "ctrl/api/gone.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static bool over_tcp(int fd)
{
	int domain = AF_UNIX;
	socklen_t size = sizeof(domain);

	getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size);
	return domain != AF_UNIX;
}

int weft_api_gone_watch(struct weft_api_gone *g, sd_event *event, struct MHD_Connection *c,
	sd_event_io_handler_t handler, void *userdata, struct weft_err *err)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
	int r;

	g->fd = info ? fcntl(info->connect_fd, F_DUPFD_CLOEXEC, 3) : -1;
	if (g->fd < 0)
		return weft_err_set(err, EIO, "the connection's socket: %m");
	/* EPOLLHUP comes unasked; over TCP who closes is only half gone */
	r = sd_event_add_io(
		event, &g->source, g->fd, over_tcp(g->fd) ? EPOLLRDHUP : 0, handler, userdata);
	return r < 0 ? weft_err_set(err, r, "event loop: %s", strerror(-r)) : 0;
}

void weft_api_gone_end(struct weft_api_gone *g)
{
	g->source = sd_event_source_disable_unref(g->source);
	if (g->fd >= 0)
		close(g->fd);
	g->fd = -1;
}
