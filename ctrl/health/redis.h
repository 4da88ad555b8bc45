/* SPDX-License-Identifier: Apache-2.0 */
/* Commands to a Redis server, one after the other, asynchronous on the loop. */
#ifndef WEFT_HEALTH_REDIS_H
#define WEFT_HEALTH_REDIS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/err.h"

#define WEFT_REDIS_MAX_REPLY (64U * 1024)

/* What a reply begins with, in the n bytes that have come: -EAGAIN: not all of it has; -EBADMSG: it
 * is none, or an array, which nothing that is asked here answers; -E2BIG. Else how many bytes it
 * has, and where its text is: of a status, an error, a number or a string. kind is '+', '-', ':' or
 * '$'; no string at all is an empty one. */
struct weft_redis_reply {
	char kind;
	size_t text, size;
};
int weft_redis_parse(const char *data, size_t n, struct weft_redis_reply *ret);
/* The number that a line of INFO gives for key, which is at its beginning: "key:123". -ENOENT. */
int weft_redis_info_u64(const char *info, const char *key, uint64_t *ret);

struct weft_redis;
/* Does an error say that asking again will not help: a password or a right is missing, or the
 * command is none? */
bool weft_redis_lasting(const char *error);
/* r is 0 and text the reply; or -EIO, when it is an error, or -EKEYREJECTED, when it is a lasting
 * one; or another negative errno; then the connection is of no use any more, but for those two. The
 * callee may free the connection. */
typedef void (*weft_redis_done_t)(
	void *userdata, int r, const char *text, const struct weft_err *err);

/* Connects with the first command. */
int weft_redis_new(sd_event *event, struct in_addr addr, uint16_t port, struct weft_redis **ret);
/* -EBUSY while another one is under way. argv is NULL-terminated, and its words hold no NUL. */
int weft_redis_call(struct weft_redis *redis, const char *const *argv, unsigned timeout_ms,
	weft_redis_done_t done, void *userdata);
void weft_redis_free(struct weft_redis *redis); /* cancels */
WEFT_DEFINE_CLEANUP(struct weft_redis *, weft_redis_free);

#endif
