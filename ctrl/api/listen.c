/* SPDX-License-Identifier: Apache-2.0 */
#include "ctrl/api/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <grp.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"

#define BACKLOG 1024

/* A weftd that was killed while it forked leaves a child that holds the socket until it execs: only
 * one that goes on listening is somebody. */
static bool somebody_listens(const struct sockaddr_un *sa)
{
	const struct timespec pause = {.tv_nsec = 50000000};

	for (int i = 0; i < 20; i++) {
		_cleanup_(closep) int fd =
			socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

		if (fd < 0 || (connect(fd, (const struct sockaddr *)sa, sizeof(*sa)) < 0 &&
				      errno != EAGAIN))
			return false;
		nanosleep(&pause, NULL);
	}
	return true;
}

static int give_to(const char *path, const char *group, gid_t *ret, struct weft_err *err)
{
	struct group *g;

	*ret = getegid();
	if (!group)
		return 0;
	g = getgrnam(group);
	if (!g) {
		weft_err_set(err, ENOENT, "socket %s: there is no group %s", path, group);
		return weft_err_hint(err, "groupadd --system %s", group);
	}
	if (chown(path, (uid_t)-1, g->gr_gid) < 0)
		return weft_err_set(
			err, errno, "socket %s: group %s: %s", path, group, strerror(errno));
	*ret = g->gr_gid;
	return 0;
}

int weft_api_listen_unix(
	const char *path, const char *group, int *ret_fd, gid_t *ret_gid, struct weft_err *err)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	_cleanup_(closep) int fd = -1;
	struct stat st;
	mode_t mask;
	int r;

	if (strlen(path) >= sizeof(sa.sun_path))
		return weft_err_set(err, ENAMETOOLONG, "socket %s: the path is longer than %zu",
			path, sizeof(sa.sun_path) - 1);
	strcpy(sa.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return weft_err_set(err, errno, "socket %s: %s", path, strerror(errno));
	if (somebody_listens(&sa)) {
		weft_err_set(err, EADDRINUSE, "socket %s: another weftd is listening on it", path);
		return weft_err_hint(
			err, "weft -H unix:%s status; or choose another --socket", path);
	}
	if (lstat(path, &st) == 0) {
		if (!S_ISSOCK(st.st_mode)) {
			weft_err_set(
				err, EEXIST, "socket %s: there is a file that is no socket", path);
			return weft_err_hint(err, "choose another --socket");
		}
		unlink(path);
	}
	mask = umask(0117);
	r = bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 ? -errno : 0;
	umask(mask);
	if (r == 0 && listen(fd, BACKLOG) < 0)
		r = -errno;
	if (r < 0)
		return weft_err_set(err, r, "socket %s: %s", path, strerror(-r));
	r = give_to(path, group, ret_gid, err);
	if (r < 0)
		return r;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

int weft_api_parse_listen(const char *text, union weft_api_address *ret)
{
	union weft_api_address a = {0};
	const char *colon = strrchr(text, ':');
	bool six = text[0] == '[';
	char host[INET6_ADDRSTRLEN + 1];
	uint64_t port;
	size_t n;

	if (!colon || weft_parse_u64(colon + 1, 1, UINT16_MAX, &port) < 0)
		return -EINVAL;
	if (six && (colon < text + 2 || colon[-1] != ']'))
		return -EINVAL;
	n = (size_t)(colon - text) - (six ? 2 : 0);
	if (n >= sizeof(host))
		return -EINVAL;
	memcpy(host, text + six, n);
	host[n] = '\0';
	if (six) {
		a.in6.sin6_family = AF_INET6;
		a.in6.sin6_port = htons((uint16_t)port);
	} else {
		a.in.sin_family = AF_INET;
		a.in.sin_port = htons((uint16_t)port);
	}
	if (inet_pton(a.sa.sa_family, host,
		    six ? (void *)&a.in6.sin6_addr : (void *)&a.in.sin_addr) != 1)
		return -EINVAL;
	*ret = a;
	return 0;
}

int weft_api_listen_tcp(const char *text, int *ret_fd, struct weft_err *err)
{
	_cleanup_(closep) int fd = -1;
	union weft_api_address a;
	int one = 1;

	if (weft_api_parse_listen(text, &a) < 0)
		return weft_err_set(err, EINVAL, "listen %s: not ADDRESS:PORT", text);
	fd = socket(a.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return weft_err_set(err, errno, "listen %s: %s", text, strerror(errno));
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (a.sa.sa_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	if (bind(fd, &a.sa, sizeof(a)) < 0 || listen(fd, BACKLOG) < 0) {
		weft_err_set(err, errno, "listen %s: %s", text, strerror(errno));
		return weft_err_hint(err, "an address of this machine, and a port nobody has");
	}
	*ret_fd = TAKE_FD(fd);
	return 0;
}
