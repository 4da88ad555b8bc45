/* SPDX-License-Identifier: Apache-2.0 */
/* A client of QMP, qemu's monitor protocol, on the event loop. It trusts qemu with nothing: lines
 * are bounded, garbage closes the connection, and silence ends at a deadline. */
#ifndef WEFT_RUNTIMES_QEMU_QMP_H
#define WEFT_RUNTIMES_QEMU_QMP_H

#include <jansson.h>
#include <systemd/sd-event.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/err.h"

struct weft_qmp;

/* All are called from the loop, and may free the client. Arguments live until they return. */
struct weft_qmp_callbacks {
	/* Greeted and negotiated: commands may be sent. */
	void (*ready)(void *userdata);
	/* data is NULL or an object. */
	void (*event)(void *userdata, const char *name, const json_t *data);
	/* The last word, unless freed before: -ECONNRESET (qemu closed it, as it does when it
	 * ends), -EBADMSG (garbage), -ETIMEDOUT (not ready in time) or another errno. Commands
	 * under way were answered with the same before. */
	void (*closed)(void *userdata, int r, const struct weft_err *err);
};

/* r is 0 and result the answer, or -EREMOTEIO (qemu refused: err says why), -ETIMEDOUT, or what
 * closed() is told. */
typedef void (*weft_qmp_reply_t)(
	void *userdata, int r, const json_t *result, const struct weft_err *err);

/* Connect to a listening socket. path may be longer than a socket's address. */
int weft_qmp_connect(sd_event *event, const char *path, unsigned ready_ms,
	const struct weft_qmp_callbacks *callbacks, void *userdata, struct weft_qmp **ret,
	struct weft_err *err);
/* On a connected socket, which is taken over, also on failure. */
int weft_qmp_new(sd_event *event, int fd, unsigned ready_ms,
	const struct weft_qmp_callbacks *callbacks, void *userdata, struct weft_qmp **ret);
/* Closes the connection; nothing is called any more. NULL is fine. */
void weft_qmp_free(struct weft_qmp *q);
WEFT_DEFINE_CLEANUP(struct weft_qmp *, weft_qmp_free);

/* Send a command; arguments may be NULL and are taken over, also on failure. reply may be NULL; it
 * is called exactly once unless the client is freed before. Answers may come in any order.
 * -ENOTCONN: not ready or closed; -EBUSY: too many under way. */
int weft_qmp_execute(struct weft_qmp *q, const char *command, json_t *arguments,
	unsigned timeout_ms, weft_qmp_reply_t reply, void *userdata);

/* Give qemu a copy of a descriptor, which its commands then know by name ("fd:NAME"). As above;
 * -EAGAIN: not before what has been sent is read. */
int weft_qmp_getfd(struct weft_qmp *q, const char *name, int fd, unsigned timeout_ms,
	weft_qmp_reply_t reply, void *userdata);

/* Handle now what has been received: when the process has ended, its last events may still lie in
 * the socket. */
void weft_qmp_drain(struct weft_qmp *q);

#endif
