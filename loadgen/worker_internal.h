/* SPDX-License-Identifier: Apache-2.0 */
/* What worker.c (thread and loop), request.c (requests and their queue), conn.c (connections) and
 * linger.c share. All of it belongs to one thread.
 *
 * A request is new, waits in the queue, is carried by a connection, and ends once, by request_end.
 * A connection being opened is either bound to a request (each request has its own connection, or
 * it is sent again) or serves whoever heads the queue when it is there. */
#ifndef WEFT_LOADGEN_WORKER_INTERNAL_H
#define WEFT_LOADGEN_WORKER_INTERNAL_H

#include <pthread.h>
#include <sys/queue.h>

#include "ctrl/base/util.h"
#include "loadgen/arrivals.h"
#include "loadgen/protocol.h"
#include "loadgen/worker.h"

enum {
	LINGER_MAX = 256,
	READ_SIZE = 65536,
	PREWARM_AT_ONCE = 64, /* so that the listener's backlog does not overflow */
};

struct conn;

struct request {
	TAILQ_ENTRY(request) age;  /* all that have not ended, by intended time */
	TAILQ_ENTRY(request) link; /* in the queue or among the free */
	struct conn *conn;         /* that carries it or is being opened for it; NULL: queued */
	uint64_t intended, sent, bytes;
	unsigned retries;
};
TAILQ_HEAD(request_list, request);

enum conn_state {
	CONN_CLOSED,
	CONN_CONNECTING,
	CONN_IDLE,
	CONN_BUSY,
	CONN_STATES,
};

struct conn {
	TAILQ_ENTRY(conn) link; /* in the list of its state */
	enum conn_state state;
	int fd;
	uint32_t generation; /* of fd: tells late events of an earlier one apart */
	bool opened_before;
	bool reused;   /* it was idle before the request that it carries */
	bool answered; /* a byte of the response came */
	uint64_t served, deadline;
	struct request *request;
	struct iovec out; /* what is left to be sent of the request */
	void *protocol;
};
TAILQ_HEAD(conn_list, conn);

/* Connections that the server will close: closing first would leave TIME_WAIT with us, and the
 * ports run out. A ring in the order of time. */
struct linger_ring {
	struct {
		int fd; /* -1: closed */
		uint64_t deadline;
	} ring[LINGER_MAX];
	uint32_t first, count;
};

struct load_worker {
	struct load_shared *shared;
	const struct load_options *options;
	const struct load_protocol *driver;
	struct load_recorder *recorder;
	unsigned index;
	pthread_t thread;
	bool running;
	int epoll_fd, wake_fd;

	struct conn *conns;
	char *protocol_states;
	unsigned conn_count;
	struct conn_list by_state[CONN_STATES];
	unsigned opening;     /* connecting and bound to no request */
	unsigned established; /* idle or busy */
	unsigned prewarm;     /* still to be opened before the start */
	struct linger_ring linger;
	uint64_t connects;

	struct request *requests;
	size_t request_count, requests_used; /* those behind requests_used were never touched */
	struct request_list free, age, queue;
	uint64_t queued, queue_max, in_flight, outstanding;

	struct load_arrivals arrivals;
	uint64_t start, next; /* next: intended time of the next request */
	uint64_t resume;      /* closed loop: after a failed connection not before */
	bool reported, draining;
	char buf[READ_SIZE];
};

/* epoll's data: which connection, and which of its descriptors. */
#define SOURCE_WAKE   UINT32_MAX
#define SOURCE_LINGER 0x80000000U

/* request.c */
int requests_init(struct load_worker *w);
void requests_free(struct load_worker *w);
void request_new(
	struct load_worker *w, uint64_t intended); /* into the queue, and served if it can be */
struct request *queue_pop(struct load_worker *w);  /* NULL: empty */
void request_end(struct load_worker *w, struct request *r, enum load_class class);
void requests_expire(struct load_worker *w, uint64_t now);

/* conn.c */
int conns_init(struct load_worker *w);
void conns_free(struct load_worker *w);
void conns_prewarm(struct load_worker *w);
void conns_pump(struct load_worker *w); /* let connections serve the queue */
void conns_expire(struct load_worker *w, uint64_t now);
void conn_event(struct load_worker *w, struct conn *c, uint32_t events);
void conn_give_up(struct load_worker *w, struct conn *c); /* its request is over: close, reopen */

/* linger.c */
void linger_init(struct load_worker *w);
void linger_free(struct load_worker *w);
void linger_add(struct load_worker *w, int fd); /* takes fd */
void linger_event(struct load_worker *w, uint32_t slot);
void linger_expire(struct load_worker *w, uint64_t now);
uint64_t linger_deadline(const struct load_worker *w); /* UINT64_MAX: none */

/* The share of a thread in n things that all threads divide among themselves. */
static inline uint64_t share_of(uint64_t n, unsigned index, unsigned threads)
{
	return n / threads + (index < n % threads);
}

#endif
