/* SPDX-License-Identifier: Apache-2.0 */
/* Where the requests go: the URL taken apart, its protocol and a socket address that answered. */
#ifndef WEFT_LOADGEN_TARGET_H
#define WEFT_LOADGEN_TARGET_H

#include <stdint.h>
#include <sys/socket.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/err.h"

struct load_protocol;

struct load_target {
	const struct load_protocol *protocol;
	char *authority; /* host, with the port unless it is the protocol's own */
	char *path;      /* with the query, begins with a slash */
	struct sockaddr_storage address;
	socklen_t address_len;
};

/* Take the URL apart and open one connection within timeout to see that somebody listens; the first
 * address of the host that accepts it is kept. -EINVAL: not a URL of a known protocol; -ENOENT: no
 * such host; -ECONNREFUSED: no connection, for whatever reason. */
int load_target_open(
	const char *url, uint64_t timeout_ns, struct load_target **ret, struct weft_err *err);
void load_target_free(struct load_target *t);
WEFT_DEFINE_CLEANUP(struct load_target *, load_target_free);

#endif
