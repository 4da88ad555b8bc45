/* SPDX-License-Identifier: Apache-2.0 */
#include "runtimes/qemu/qmp.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "ctrl/base/log.h"
#include "ctrl/base/util.h"
#include "runtimes/qemu/qmp_message.h"

#define MAX_PENDING 32
#define MAX_OUTPUT  (64 * 1024)
#define READ_CHUNK  16384
#define READ_TURNS  16 /* chunks in one turn of the loop, so that a flood cannot hold it */

enum state { GREETING, NEGOTIATING, READY, CLOSED };

struct pending {
	struct pending *next;
	struct weft_qmp *client;
	int64_t id;
	sd_event_source *timer;
	weft_qmp_reply_t reply;
	void *userdata;
	char command[32];
};

#define MAX_LATE 64 /* lines before the greeting */

struct weft_qmp {
	unsigned refs; /* the owner's, and one for every callback under way */
	bool freed;    /* by its owner: call nothing any more */
	enum state state;
	int fd;
	sd_event *event;
	sd_event_source *io, *timer;
	struct weft_qmp_callbacks callbacks;
	void *userdata;
	struct pending *pending;
	unsigned n_pending, late;
	int64_t next_id;
	char *in, *out;
	size_t in_size, in_room, out_size;
};

/* --- life ----------------------------------------------------------------------------------------
 */

static void pending_free(struct pending *p)
{
	sd_event_source_disable_unref(p->timer);
	free(p);
}

static struct weft_qmp *ref(struct weft_qmp *q)
{
	q->refs++;
	return q;
}

static void unref(struct weft_qmp *q)
{
	if (--q->refs > 0)
		return;
	while (q->pending) {
		struct pending *p = q->pending;

		q->pending = p->next;
		pending_free(p);
	}
	sd_event_source_disable_unref(q->io);
	sd_event_source_disable_unref(q->timer);
	sd_event_unref(q->event);
	closep(&q->fd);
	free(q->in);
	free(q->out);
	free(q);
}

static void unrefp(struct weft_qmp **q)
{
	unref(*q);
}

void weft_qmp_free(struct weft_qmp *q)
{
	if (!q)
		return;
	q->freed = true;
	q->state = CLOSED;
	sd_event_source_set_enabled(q->io, SD_EVENT_OFF);
	sd_event_source_set_enabled(q->timer, SD_EVENT_OFF);
	unref(q);
}

static void answer(struct pending *p, int r, const json_t *result, const struct weft_err *err)
{
	if (p->reply)
		p->reply(p->userdata, r, result, err);
	pending_free(p);
}

static struct pending *take_pending(struct weft_qmp *q, int64_t id)
{
	for (struct pending **at = &q->pending; *at; at = &(*at)->next) {
		struct pending *p = *at;

		if (p->id != id)
			continue;
		*at = p->next;
		q->n_pending--;
		return p;
	}
	return NULL;
}

/* The end of the connection, told to all who wait for something. The caller holds a reference. */
static void end(struct weft_qmp *q, int r, const char *why)
{
	struct weft_err err = {};

	if (q->state == CLOSED)
		return;
	q->state = CLOSED;
	sd_event_source_set_enabled(q->io, SD_EVENT_OFF);
	sd_event_source_set_enabled(q->timer, SD_EVENT_OFF);
	weft_err_set(&err, r, "qemu's monitor: %s", why);
	while (q->pending && !q->freed)
		answer(take_pending(q, q->pending->id), r, NULL, &err);
	if (!q->freed)
		q->callbacks.closed(q->userdata, r, &err);
}

/* --- sending -------------------------------------------------------------------------------------
 */

static int flush(struct weft_qmp *q)
{
	while (q->out_size > 0) {
		ssize_t n = send(q->fd, q->out, q->out_size, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0)
			return -errno;
		q->out_size -= (size_t)n;
		memmove(q->out, q->out + n, q->out_size);
	}
	return sd_event_source_set_io_events(q->io, q->out_size > 0 ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

/* The descriptor travels with the first byte of its command, which has to be the first byte sent.
 */
static int flush_with(struct weft_qmp *q, int fd)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {};
	struct iovec iov = {.iov_base = q->out, .iov_len = q->out_size};
	struct msghdr msg = {.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control)};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	ssize_t n;

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(int));
	do
		n = sendmsg(q->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n <= 0) {
		q->out_size = 0; /* it was the only command in it */
		return n < 0 ? -errno : -EAGAIN;
	}
	q->out_size -= (size_t)n;
	memmove(q->out, q->out + n, q->out_size);
	return flush(q);
}

/* fd -1: none */
static int submit(struct weft_qmp *q, const json_t *message, int fd)
{
	size_t room = MAX_OUTPUT - q->out_size, n;

	if (fd >= 0 && q->out_size > 0)
		return -EAGAIN;

	n = json_dumpb(message, q->out + q->out_size, room, JSON_COMPACT);
	if (n == 0)
		return -ENOMEM;
	if (n + 1 > room)
		return -EBUSY;
	q->out[q->out_size + n] = '\n';
	q->out_size += n + 1;
	return fd < 0 ? flush(q) : flush_with(q, fd);
}

static int on_reply_timeout(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct pending *p = userdata;
	_cleanup_(unrefp) struct weft_qmp *q = ref(p->client);
	struct weft_err err = {};

	(void)source;
	(void)usec;
	weft_err_set(&err, ETIMEDOUT, "qemu's monitor did not answer %s in time", p->command);
	answer(take_pending(q, p->id), -ETIMEDOUT, NULL, &err);
	return 0;
}

static int execute(struct weft_qmp *q, const char *command, json_t *arguments, int fd,
	unsigned timeout_ms, weft_qmp_reply_t reply, void *userdata)
{
	json_auto_t *args = arguments, *message = NULL;
	struct pending *p;
	int r;

	if (q->n_pending >= MAX_PENDING)
		return -EBUSY;
	message = json_pack("{s:s, s:I, s:O*}", "execute", command, "id", (json_int_t)q->next_id,
		"arguments", args);
	p = calloc(1, sizeof(*p));
	if (!message || !p) {
		free(p);
		return -ENOMEM;
	}
	p->client = q;
	p->id = q->next_id++;
	p->reply = reply;
	p->userdata = userdata;
	snprintf(p->command, sizeof(p->command), "%s", command);
	r = sd_event_add_time_relative(q->event, &p->timer, CLOCK_MONOTONIC, timeout_ms * 1000ULL,
		1000, on_reply_timeout, p);
	if (r >= 0)
		r = submit(q, message, fd);
	if (r < 0) {
		pending_free(p);
		return r;
	}
	p->next = q->pending;
	q->pending = p;
	q->n_pending++;
	return 0;
}

int weft_qmp_execute(struct weft_qmp *q, const char *command, json_t *arguments,
	unsigned timeout_ms, weft_qmp_reply_t reply, void *userdata)
{
	if (q->state != READY) {
		json_decref(arguments);
		return -ENOTCONN;
	}
	return execute(q, command, arguments, -1, timeout_ms, reply, userdata);
}

int weft_qmp_getfd(struct weft_qmp *q, const char *name, int fd, unsigned timeout_ms,
	weft_qmp_reply_t reply, void *userdata)
{
	if (q->state != READY)
		return -ENOTCONN;
	return execute(
		q, "getfd", json_pack("{s:s}", "fdname", name), fd, timeout_ms, reply, userdata);
}

/* --- receiving -----------------------------------------------------------------------------------
 */

static void on_negotiated(void *userdata, int r, const json_t *result, const struct weft_err *err)
{
	struct weft_qmp *q = userdata;

	(void)result;
	if (r < 0) {
		if (q->state != CLOSED)
			end(q, r, err->msg);
		return;
	}
	q->state = READY;
	sd_event_source_set_enabled(q->timer, SD_EVENT_OFF);
	q->callbacks.ready(q->userdata);
}

static void on_answer(struct weft_qmp *q, const struct weft_qmp_message *m)
{
	struct pending *p = take_pending(q, m->id);
	struct weft_err err = {};

	if (!p) {
		/* Of a command given up before, or to a line that qemu could not read. */
		log_debug("qmp: answer to no command, id %" PRId64 ": %s", m->id,
			m->kind == WEFT_QMP_ERROR ? m->text : "return");
		return;
	}
	if (m->kind == WEFT_QMP_RETURN) {
		answer(p, 0, m->data, &err);
		return;
	}
	weft_err_set(&err, EREMOTEIO, "qemu refused %s: %s", p->command, m->text);
	answer(p, -EREMOTEIO, NULL, &err);
}

static void on_line(struct weft_qmp *q, const char *line, size_t size)
{
	struct weft_qmp_message m;

	if (weft_qmp_message_parse(line, size, &m) < 0) {
		end(q, -EBADMSG, "it sent a line that is not QMP");
		return;
	}
	if (q->state == GREETING && m.kind != WEFT_QMP_GREETING) {
		/* What was meant for the connection before this one, and came too late for it. */
		if (++q->late > MAX_LATE)
			end(q, -EBADMSG, "it did not greet first");
	} else if (q->state != GREETING && m.kind == WEFT_QMP_GREETING) {
		end(q, -EBADMSG, "it greeted twice");
	} else if (m.kind == WEFT_QMP_GREETING) {
		q->state = NEGOTIATING;
		/* The connection's own deadline is the shorter one. */
		if (execute(q, "qmp_capabilities", NULL, -1, 3600 * 1000, on_negotiated, q) < 0)
			end(q, -ECONNRESET, "it closed the connection");
	} else if (m.kind == WEFT_QMP_EVENT) {
		q->callbacks.event(q->userdata, m.name, json_is_object(m.data) ? m.data : NULL);
	} else {
		on_answer(q, &m);
	}
	weft_qmp_message_done(&m);
}

/* The whole lines in the buffer; what is left over moves to its beginning. */
static void on_bytes(struct weft_qmp *q)
{
	size_t start = 0;

	while (q->state != CLOSED) {
		char *nl = memchr(q->in + start, '\n', q->in_size - start);
		size_t n;

		if (!nl)
			break;
		n = (size_t)(nl - (q->in + start));
		if (n > 0 && q->in[start + n - 1] == '\r')
			n--;
		if (n > 0)
			on_line(q, q->in + start, n);
		start = (size_t)(nl - q->in) + 1;
	}
	memmove(q->in, q->in + start, q->in_size - start);
	q->in_size -= start;
	if (q->in_size > WEFT_QMP_LINE_MAX)
		end(q, -EBADMSG, "it sent a line that does not end");
}

static int make_room(struct weft_qmp *q)
{
	size_t room = q->in_room ? q->in_room * 2 : READ_CHUNK;
	char *p;

	if (q->in_room - q->in_size >= READ_CHUNK)
		return 0;
	p = realloc(q->in, room);
	if (!p)
		return -ENOMEM;
	q->in = p;
	q->in_room = room;
	return 0;
}

/* One chunk: > 0 when there may be more. */
static int receive(struct weft_qmp *q)
{
	ssize_t n;

	if (q->state == CLOSED)
		return 0;
	if (make_room(q) < 0) {
		end(q, -ENOMEM, "out of memory");
		return 0;
	}
	n = recv(q->fd, q->in + q->in_size, READ_CHUNK, MSG_DONTWAIT);
	if (n < 0 && errno == EINTR)
		return 1;
	if (n < 0 && errno == EAGAIN)
		return 0;
	if (n == 0 || (n < 0 && errno == ECONNRESET)) {
		end(q, -ECONNRESET, "qemu closed it");
		return 0;
	}
	if (n < 0) {
		end(q, -errno, strerror(errno));
		return 0;
	}
	q->in_size += (size_t)n;
	on_bytes(q);
	return 1;
}

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	_cleanup_(unrefp) struct weft_qmp *q = ref(userdata);

	(void)source;
	(void)fd;
	if (revents & EPOLLOUT && flush(q) < 0)
		end(q, -ECONNRESET, "it closed the connection");
	for (unsigned i = 0; i < READ_TURNS && receive(q) > 0; i++)
		;
	return 0;
}

void weft_qmp_drain(struct weft_qmp *q)
{
	ref(q);
	while (receive(q) > 0)
		;
	unref(q);
}

/* --- connecting ----------------------------------------------------------------------------------
 */

static int on_ready_timeout(sd_event_source *source, uint64_t usec, void *userdata)
{
	_cleanup_(unrefp) struct weft_qmp *q = ref(userdata);

	(void)source;
	(void)usec;
	end(q, -ETIMEDOUT,
		q->state == GREETING ? "it did not greet in time" : "it did not negotiate in time");
	return 0;
}

int weft_qmp_new(sd_event *event, int fd, unsigned ready_ms,
	const struct weft_qmp_callbacks *callbacks, void *userdata, struct weft_qmp **ret)
{
	struct weft_qmp *q = calloc(1, sizeof(*q));
	int r;

	if (!q) {
		close(fd);
		return -ENOMEM;
	}
	q->refs = 1;
	q->fd = fd;
	q->event = sd_event_ref(event);
	q->callbacks = *callbacks;
	q->userdata = userdata;
	q->out = malloc(MAX_OUTPUT);
	r = q->out ? sd_event_add_io(event, &q->io, fd, EPOLLIN, on_io, q) : -ENOMEM;
	if (r >= 0)
		r = sd_event_add_time_relative(event, &q->timer, CLOCK_MONOTONIC,
			ready_ms * 1000ULL, 1000, on_ready_timeout, q);
	if (r < 0) {
		unref(q);
		return r;
	}
	*ret = q;
	return 0;
}

int weft_qmp_connect(sd_event *event, const char *path, unsigned ready_ms,
	const struct weft_qmp_callbacks *callbacks, void *userdata, struct weft_qmp **ret,
	struct weft_err *err)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	_cleanup_(closep) int node = -1, fd = -1;
	int r;

	node = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (node < 0)
		return weft_err_set(err, errno, "qemu's monitor %s: %m", path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return weft_err_set(err, errno, "qemu's monitor: socket: %m");
	/* Through the descriptor, as an address holds 107 characters and paths are longer. */
	snprintf(sa.sun_path, sizeof(sa.sun_path), "/proc/self/fd/%d", node);
	if (connect(fd, (const struct sockaddr *)&sa, sizeof(sa)) < 0)
		return weft_err_set(err, errno, "qemu's monitor %s: connect: %m", path);
	r = weft_qmp_new(event, TAKE_FD(fd), ready_ms, callbacks, userdata, ret);
	return r < 0 ? weft_err_set(err, r, "qemu's monitor: %s", strerror(-r)) : 0;
}
