/* SPDX-License-Identifier: Apache-2.0 */
/* Private to ctrl/api: the connections of one listener, who they belong to, and how much of it each
 * may have, so that nobody alone can keep others from being heard. */
#ifndef WEFT_API_PEERS_H
#define WEFT_API_PEERS_H

#include <microhttpd.h>
#include <stdbool.h>
#include <stdint.h>

#include "ctrl/api/server.h"
#include "ctrl/base/err.h"

#define WEFT_API_MAX_CONNECTIONS 512 /* of one listener */
#define WEFT_API_MAX_STREAMS     64
#define WEFT_API_MAX_CALLS       64
#define WEFT_API_IDLE_S          30 /* a peer that says nothing any more is let go */
#define WEFT_API_BODY_S          30 /* a request's body has to be there by then */

/* What goes on after its request was read. */
enum weft_api_use { WEFT_API_SHORT, WEFT_API_STREAM, WEFT_API_CALL, WEFT_API_USES };

struct weft_api_user;

/* One connection, whatever it has said so far. */
struct weft_api_peer {
	struct weft_api_peer *prev, *next;
	struct MHD_Connection *connection;
	struct weft_api_user *user; /* NULL: not known yet, or let go */
	uint64_t deadline_ns;       /* the head, or the body, has to be there; 0: none */
	bool busy;                  /* a request is being answered */
	bool gone;                  /* it was shut down */
	void *tls, *request;        /* the server's */
};

struct weft_api_peers {
	const struct weft_api_each *each;
	struct weft_api_peer *first, *last; /* newest first */
	struct weft_api_user *users;
	unsigned n; /* that are not gone */
	unsigned uses[WEFT_API_USES];
};

/* NULL: out of memory. who: whose it is, where that is known before it says anything; NULL: it is
 * not. Others may be shut down for it: of the same user, or of the whole listener when it is full,
 * the one that has been idle for longest. */
struct weft_api_peer *weft_api_peer_new(
	struct weft_api_peers *all, struct MHD_Connection *c, const char *who);
void weft_api_peer_free(struct weft_api_peers *all, struct weft_api_peer *p);

/* The head of a request is there, and it is who's. -ENODEV with err: he has too many connections,
 * and all of them busy. */
int weft_api_peer_begin(
	struct weft_api_peers *all, struct weft_api_peer *p, const char *who, struct weft_err *err);
/* All of it is. */
void weft_api_peer_whole(struct weft_api_peer *p);
/* Before it is answered by something that goes on. -ENODEV with err: its user, or all together,
 * have too many. */
int weft_api_peer_use(struct weft_api_peers *all, struct weft_api_peer *p, enum weft_api_use use,
	struct weft_err *err);
/* It is answered; use: what weft_api_peer_use() has taken, or WEFT_API_SHORT. */
void weft_api_peer_done(struct weft_api_peers *all, struct weft_api_peer *p, enum weft_api_use use);

/* Shut those down that are late. */
void weft_api_peers_look(struct weft_api_peers *all, uint64_t now_ns);

#endif
