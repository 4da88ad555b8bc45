/* SPDX-License-Identifier: Apache-2.0 */
/* Between the runtime and containerd: a proxy on a unix socket, in a process of its own, that
 * counts the calls (HTTP/2 requests) and does something at the n-th of them. */
#ifndef WEFT_TESTS_LIB_CTRD_PROXY_H
#define WEFT_TESTS_LIB_CTRD_PROXY_H

#include <sys/types.h>

enum ctrd_proxy_act {
	PROXY_PASS,        /* nothing */
	PROXY_CUT_BEFORE,  /* break the connection: the call never gets to containerd */
	PROXY_CUT_AFTER,   /* the call gets there, its answer does not come back */
	PROXY_KILL_BEFORE, /* SIGKILL to `victim`: the call never gets there */
	PROXY_KILL_AFTER,  /* SIGKILL to `victim` once containerd has answered */
};

struct ctrd_proxy_control {
	enum ctrd_proxy_act act;
	unsigned at; /* the number of the call, from 1 on */
	pid_t victim;
	unsigned calls; /* seen since it was set to 0 */
	unsigned acted; /* how often */
};

struct ctrd_proxy {
	pid_t pid;
	char socket[96];
	struct ctrd_proxy_control *c;
};

/* Aborts on failure. */
void ctrd_proxy_start(struct ctrd_proxy *p, const char *socket, const char *target);
void ctrd_proxy_stop(struct ctrd_proxy *p);
/* From now on: act at the n-th call. */
void ctrd_proxy_set(struct ctrd_proxy *p, enum ctrd_proxy_act act, unsigned at, pid_t victim);

#endif
