/* SPDX-License-Identifier: Apache-2.0 */
/* Private to ctrl/api: the sockets that it listens on. */
#ifndef WEFT_API_LISTEN_H
#define WEFT_API_LISTEN_H

#include <netinet/in.h>
#include <sys/types.h>

#include "ctrl/base/err.h"

/* A socket file nobody listens on is replaced; one that is alive is -EADDRINUSE. group NULL: that
 * of the process. ret_gid is whom the file belongs to then. */
int weft_api_listen_unix(
	const char *path, const char *group, int *ret_fd, gid_t *ret_gid, struct weft_err *err);

union weft_api_address {
	struct sockaddr sa;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
};

/* "127.0.0.1:7443", "[::1]:7443". -EINVAL. */
int weft_api_parse_listen(const char *text, union weft_api_address *ret);
int weft_api_listen_tcp(const char *address, int *ret_fd, struct weft_err *err);

#endif
