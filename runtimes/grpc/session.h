/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of the gRPC client. nghttp2 forbids sending and receiving from its own callbacks, and a
 * user's callback may cancel any call or free the client: so what arrives is only noted on a list
 * of ready calls, and delivered when no other code of ours is on the stack. */
#ifndef WEFT_RUNTIMES_GRPC_SESSION_H
#define WEFT_RUNTIMES_GRPC_SESSION_H

#include <nghttp2/nghttp2.h>
#include <sys/queue.h>

#include "runtimes/grpc/frame.h"
#include "runtimes/grpc/grpc.h"

struct weft_grpc_call {
	struct weft_grpc *g;
	TAILQ_ENTRY(weft_grpc_call) link, ready_link;
	bool ready; /* on the list of those with something to deliver */
	bool ended; /* nothing more arrives; status and message are final */
	int32_t stream;
	const ProtobufCMessageDescriptor *descriptor;
	weft_grpc_message_t on_message;
	weft_grpc_end_t on_end;
	void *userdata;
	unsigned timeout_ms;
	sd_event_source *timer;
	struct weft_grpc_buf in, out;
	bool out_last;
	ProtobufCMessage *reply;
	int http, status; /* -1: not told yet */
	char message[600];
};

TAILQ_HEAD(weft_grpc_calls, weft_grpc_call);

struct weft_grpc {
	sd_event *event;
	char *socket;
	char **metadata;
	size_t max_message;
	weft_grpc_connection_t on_connection;
	void *userdata;

	nghttp2_session *session; /* NULL: not connected */
	int fd;
	bool goaway;
	bool answered;     /* the server's first frame has come */
	bool told;         /* what on_connection last said */
	char reason[256];  /* why there is no connection */
	unsigned delay_ms; /* before the next attempt */
	sd_event_source *io, *redial, *work;

	struct weft_grpc_calls calls, ready;
	struct weft_grpc_call *current; /* being delivered; NULL once it was cancelled */
	bool delivering, doomed;
};

int weft_grpc_session_init(struct weft_grpc *g); /* event sources */
void weft_grpc_session_dial(struct weft_grpc *g);
void weft_grpc_session_close(struct weft_grpc *g);

/* End a call from our side: status and message are set, the server is told. */
void weft_grpc_call_fail(struct weft_grpc_call *call, int status, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void weft_grpc_call_detach(struct weft_grpc_call *call); /* RST_STREAM(CANCEL) */
void weft_grpc_call_free(struct weft_grpc_call *call);
void weft_grpc_call_ready(struct weft_grpc_call *call);
void weft_grpc_destroy(struct weft_grpc *g);

/* Give everything ready to its user. */
void weft_grpc_deliver(struct weft_grpc *g);

#endif
