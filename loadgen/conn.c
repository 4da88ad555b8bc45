/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "loadgen/worker_internal.h"

/* The drivers' states lie in one block, each of them aligned. */
static size_t state_stride(const struct load_worker *w)
{
	size_t align = _Alignof(max_align_t);

	return (w->driver->state_size + align - 1) / align * align;
}

int conns_init(struct load_worker *w)
{
	const struct load_options *o = w->options;

	for (int i = 0; i < CONN_STATES; i++)
		TAILQ_INIT(&w->by_state[i]);
	linger_init(w);
	w->conn_count = (unsigned)share_of(o->connections, w->index, o->threads);
	w->prewarm = o->close ? 0 : w->conn_count;
	w->conns = calloc(w->conn_count, sizeof(*w->conns));
	w->protocol_states = calloc(w->conn_count, state_stride(w));
	if (!w->conns || !w->protocol_states)
		return -ENOMEM;
	for (unsigned i = 0; i < w->conn_count; i++) {
		struct conn *c = &w->conns[i];

		c->fd = -1;
		c->protocol = w->protocol_states + i * state_stride(w);
		TAILQ_INSERT_TAIL(&w->by_state[CONN_CLOSED], c, link);
	}
	return 0;
}

void conns_free(struct load_worker *w)
{
	for (unsigned i = 0; w->conns && i < w->conn_count; i++)
		if (w->conns[i].fd >= 0)
			close(w->conns[i].fd);
	linger_free(w);
	free(w->conns);
	free(w->protocol_states);
}

static void set_state(struct load_worker *w, struct conn *c, enum conn_state state)
{
	TAILQ_REMOVE(&w->by_state[c->state], c, link);
	TAILQ_INSERT_TAIL(&w->by_state[state], c, link);
	w->established += state >= CONN_IDLE;
	w->established -= c->state >= CONN_IDLE;
	c->state = state;
}

/* Take the request off a connection. */
static struct request *detach(struct load_worker *w, struct conn *c)
{
	struct request *r = c->request;

	if (!r)
		return NULL;
	if (c->state == CONN_BUSY)
		w->in_flight--;
	c->request = NULL;
	r->conn = NULL;
	return r;
}

/* Give the descriptor away, to be closed or to linger. The connection has no request any more. */
static int conn_release(struct load_worker *w, struct conn *c)
{
	int fd = TAKE_FD(c->fd);

	c->generation++;
	set_state(w, c, CONN_CLOSED);
	return fd;
}

static void conn_close(struct load_worker *w, struct conn *c)
{
	close(conn_release(w, c));
}

/* Begin to open a closed connection, for r alone or (NULL) for whoever is next. Ownership of r
 * stays with the caller on failure. */
static int conn_open(struct load_worker *w, struct conn *c, struct request *r)
{
	const struct load_target *t = w->shared->target;
	_cleanup_(closep) int fd = -1;
	struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET};
	int on = 1;

	fd = socket(t->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (connect(fd, (const struct sockaddr *)&t->address, t->address_len) < 0 &&
		errno != EINPROGRESS)
		return -errno;
	e.data.u64 = (uint64_t)c->generation << 32 | (uint64_t)(c - w->conns);
	if (epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, fd, &e) < 0)
		return -errno;
	c->fd = TAKE_FD(fd);
	c->deadline = weft_now_ns() + w->options->timeout;
	c->served = 0;
	c->request = r;
	if (r)
		r->conn = c;
	else
		w->opening++;
	set_state(w, c, CONN_CONNECTING);
	return 0;
}

static enum load_class class_of_connect(int error)
{
	switch (error) {
	case ECONNREFUSED:
		return LOAD_CONNECT_REFUSED;
	case ETIMEDOUT:
		return LOAD_CONNECT_TIMEOUT;
	case ECONNRESET:
		return LOAD_CONNECT_RESET;
	default:
		return LOAD_CONNECT_FAILED;
	}
}

/* One failed attempt costs one request: the one it was made for, else the one that has waited
 * longest. An attempt made while nobody waits costs nothing. */
static void attempt_failed(struct load_worker *w, struct request *r, int error)
{
	if (!r)
		r = queue_pop(w);
	if (r)
		request_end(w, r, class_of_connect(error));
}

static void attempt(struct load_worker *w, struct conn *c, struct request *r)
{
	int e = conn_open(w, c, r);

	if (e < 0)
		attempt_failed(w, r, -e);
}

/* Open a connection again ahead of need. Not one on which nothing was ever answered: a server that
 * accepts and closes at once would keep us busy; such a one is opened when a request needs it. */
static void reopen(struct load_worker *w, struct conn *c)
{
	if (c->served && !w->options->close && !w->draining)
		(void)conn_open(w, c, NULL);
}

void conns_prewarm(struct load_worker *w)
{
	while (w->prewarm && w->opening < PREWARM_AT_ONCE) {
		(void)conn_open(w, &w->conns[w->conn_count - w->prewarm], NULL);
		w->prewarm--;
	}
}

/* The connection broke while its response was due. */
static void conn_broken(struct load_worker *w, struct conn *c, enum load_class class)
{
	struct request *r = detach(w, c);
	bool stale = c->reused && !c->answered;
	bool retry = stale && r->retries < w->options->retry_stale;

	conn_close(w, c);
	if (stale)
		load_recorder_stale(w->recorder, r->intended, retry);
	if (retry) {
		r->retries++;
		attempt(w, c, r);
		return;
	}
	request_end(w, r, class);
	reopen(w, c);
}

void conn_give_up(struct load_worker *w, struct conn *c)
{
	detach(w, c);
	conn_close(w, c);
	reopen(w, c);
}

static void conn_write(struct load_worker *w, struct conn *c)
{
	while (c->out.iov_len) {
		ssize_t n = send(c->fd, c->out.iov_base, c->out.iov_len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return; /* EPOLLOUT goes on */
		if (n < 0) {
			conn_broken(w, c, LOAD_RESET);
			return;
		}
		c->out.iov_base = (char *)c->out.iov_base + n;
		c->out.iov_len -= (size_t)n;
	}
}

/* Let an idle connection carry r. */
static void conn_send(struct load_worker *w, struct conn *c, struct request *r)
{
	r->conn = c;
	c->request = r;
	c->answered = false;
	set_state(w, c, CONN_BUSY);
	w->in_flight++;
	w->driver->begin(w->shared->protocol, c->protocol, &c->out);
	r->sent = weft_now_ns();
	if (!r->retries)
		load_recorder_sent(w->recorder, r->sent);
	conn_write(w, c);
}

void conns_pump(struct load_worker *w)
{
	while (w->queued) {
		struct conn *idle = TAILQ_FIRST(&w->by_state[CONN_IDLE]);
		struct conn *closed = TAILQ_FIRST(&w->by_state[CONN_CLOSED]);

		if (idle)
			conn_send(w, idle, queue_pop(w));
		else if (closed && w->options->close)
			attempt(w, closed, queue_pop(w));
		else if (closed && w->opening < w->queued)
			attempt(w, closed, NULL);
		else
			return;
	}
}

void conns_expire(struct load_worker *w, uint64_t now)
{
	struct conn *c;

	/* A bound attempt ends with its request, whose timeout began before. */
	while ((c = TAILQ_FIRST(&w->by_state[CONN_CONNECTING])) && c->deadline <= now) {
		struct request *r = detach(w, c);

		if (r)
			request_end(w, r, LOAD_CONNECT_TIMEOUT);
		else
			w->opening--;
		conn_close(w, c);
	}
}

static void conn_established(struct load_worker *w, struct conn *c)
{
	struct request *r = detach(w, c);

	if (!r) {
		w->opening--;
		r = queue_pop(w);
	}
	w->connects++;
	if (c->opened_before && !w->options->close)
		load_recorder_reconnected(w->recorder, weft_now_ns());
	c->opened_before = true;
	c->reused = !r;
	set_state(w, c, CONN_IDLE);
	if (r)
		conn_send(w, c, r);
}

static void conn_connecting(struct load_worker *w, struct conn *c, uint32_t events)
{
	socklen_t len = sizeof(int);
	int error = 0;

	if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
		error = errno;
	if (error) {
		struct request *r = detach(w, c);

		if (!r)
			w->opening--;
		conn_close(w, c);
		attempt_failed(w, r, error);
	} else if (events & EPOLLOUT) {
		conn_established(w, c);
	}
}

static void conn_answered(struct load_worker *w, struct conn *c, const struct load_reply *reply)
{
	bool keep = reply->keep && !w->options->close && !c->out.iov_len;

	request_end(w, detach(w, c), reply->class);
	c->served++;
	if (keep) {
		c->reused = true;
		set_state(w, c, CONN_IDLE);
	} else {
		linger_add(w, conn_release(w, c));
		reopen(w, c);
	}
}

static void conn_received(struct load_worker *w, struct conn *c, size_t n)
{
	struct load_reply reply = {0};
	int r;

	if (c->state == CONN_IDLE) {
		/* Bytes that nobody asked for, such as a 408 before the server closes. */
		conn_close(w, c);
		reopen(w, c);
		return;
	}
	c->answered = true;
	c->request->bytes += n;
	r = w->driver->feed(c->protocol, w->buf, n, &reply);
	if (r > 0) {
		conn_answered(w, c, &reply);
	} else if (r < 0) {
		request_end(w, detach(w, c), LOAD_MALFORMED);
		conn_close(w, c);
		reopen(w, c);
	}
}

/* The server closed (EOF) or reset the connection. */
static void conn_ended(struct load_worker *w, struct conn *c, bool eof)
{
	struct load_reply reply = {0};

	if (c->state == CONN_IDLE) {
		conn_close(w, c);
		reopen(w, c);
	} else if (eof && w->driver->eof(c->protocol, &reply) > 0) {
		request_end(w, detach(w, c), reply.class);
		c->served++;
		conn_close(w, c);
		reopen(w, c);
	} else {
		conn_broken(w, c, eof ? LOAD_CLOSED : LOAD_RESET);
	}
}

static void conn_readable(struct load_worker *w, struct conn *c, uint32_t events)
{
	bool ending = events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR);
	uint32_t generation = c->generation;

	/* Edge-triggered: read until there is no more. A short read says so too, unless the end of
	 * the stream is waiting behind it. */
	while (c->generation == generation) {
		ssize_t n = recv(c->fd, w->buf, sizeof(w->buf), 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			conn_ended(w, c, n == 0);
			return;
		}
		conn_received(w, c, (size_t)n);
		if ((size_t)n < sizeof(w->buf) && !ending)
			return;
	}
}

void conn_event(struct load_worker *w, struct conn *c, uint32_t events)
{
	uint32_t generation = c->generation;

	if (c->state == CONN_CONNECTING)
		conn_connecting(w, c, events);
	else if (c->state == CONN_BUSY && (events & EPOLLOUT))
		conn_write(w, c);
	if (c->generation == generation && c->state >= CONN_IDLE &&
		(events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)))
		conn_readable(w, c, events);
}
