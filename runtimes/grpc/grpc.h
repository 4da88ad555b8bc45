/* SPDX-License-Identifier: Apache-2.0 */
/* gRPC client for one server on a unix socket: one connection, many calls at once, on the caller's
 * sd-event loop. Nothing blocks. Callbacks come from the loop, never from within a call below.
 *
 * The connection is made at once and made anew, with back-off, whenever it breaks. A call begun
 * while there is none tries to connect; a call that cannot be sent, or whose connection breaks,
 * ends with UNAVAILABLE and a message that says why. Calls are never repeated by themselves. */
#ifndef WEFT_RUNTIMES_GRPC_GRPC_H
#define WEFT_RUNTIMES_GRPC_GRPC_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

#include "ctrl/base/cleanup.h"

enum weft_grpc_status {
	WEFT_GRPC_OK = 0,
	WEFT_GRPC_CANCELLED = 1,
	WEFT_GRPC_UNKNOWN = 2,
	WEFT_GRPC_INVALID_ARGUMENT = 3,
	WEFT_GRPC_DEADLINE_EXCEEDED = 4,
	WEFT_GRPC_NOT_FOUND = 5,
	WEFT_GRPC_ALREADY_EXISTS = 6,
	WEFT_GRPC_PERMISSION_DENIED = 7,
	WEFT_GRPC_RESOURCE_EXHAUSTED = 8,
	WEFT_GRPC_FAILED_PRECONDITION = 9,
	WEFT_GRPC_ABORTED = 10,
	WEFT_GRPC_OUT_OF_RANGE = 11,
	WEFT_GRPC_UNIMPLEMENTED = 12,
	WEFT_GRPC_INTERNAL = 13,
	WEFT_GRPC_UNAVAILABLE = 14,
	WEFT_GRPC_DATA_LOSS = 15,
	WEFT_GRPC_UNAUTHENTICATED = 16,
};

/* The errno nearest to a status, positive; 0 for OK. */
int weft_grpc_errno(int status);

struct weft_grpc;
struct weft_grpc_call;

/* The server answered (up), or the connection has broken (down; its calls have ended before). */
typedef void (*weft_grpc_connection_t)(void *userdata, bool up);

struct weft_grpc_config {
	sd_event *event; /* referenced until free() */
	const char *socket;
	const char *const *metadata; /* name, value, ..., NULL: sent with every call; NULL: none */
	size_t max_message;          /* of an answer, in bytes; 0: 16 MiB */
	weft_grpc_connection_t on_connection; /* NULL: nobody wants to know */
	void *userdata;
};

/* -ENAMETOOLONG for a socket path that no address can hold. That nobody listens there is no error.
 * config's strings are copied. */
int weft_grpc_new(const struct weft_grpc_config *config, struct weft_grpc **ret);
/* Cancels all calls; no callback comes any more. Allowed in a callback. NULL is fine. */
void weft_grpc_free(struct weft_grpc *g);
WEFT_DEFINE_CLEANUP(struct weft_grpc *, weft_grpc_free);

/* Process at the other end, 0 while there is none. */
pid_t weft_grpc_peer(const struct weft_grpc *g);

/* All of it lives until the callback returns. */
struct weft_grpc_result {
	int status;                    /* enum weft_grpc_status, or a number the server made up */
	const char *message;           /* the server's or our own words, may be empty */
	const ProtobufCMessage *reply; /* unary call with status OK: never NULL; else NULL */
};

typedef void (*weft_grpc_end_t)(void *userdata, const struct weft_grpc_result *result);
typedef void (*weft_grpc_message_t)(void *userdata, const ProtobufCMessage *message);

struct weft_grpc_spec {
	const char *method;          /* "/containerd.services.version.v1.Version/Version" */
	const char *const *metadata; /* more of it, as above */
	const ProtobufCMessageDescriptor *reply;
	unsigned timeout_ms;            /* until the end of the call, 0: none */
	weft_grpc_message_t on_message; /* each message of a streaming answer; NULL: unary */
	weft_grpc_end_t on_end;         /* once; the call is gone by then */
	void *userdata;
};

/* Begin a call: -ENOMEM, or 0 and then on_end comes unless it is cancelled. ret may be NULL. The
 * request is sent by weft_grpc_send(); after `last` no more may follow. A failure to send is an end
 * of the call as any other, so that there is one place for errors. */
int weft_grpc_begin(
	struct weft_grpc *g, const struct weft_grpc_spec *spec, struct weft_grpc_call **ret);
void weft_grpc_send(struct weft_grpc_call *call, const ProtobufCMessage *message, bool last);

/* Forget the call and tell the server: no callback comes any more. NULL is fine. */
void weft_grpc_cancel(struct weft_grpc_call *call);

#endif
