/* SPDX-License-Identifier: Apache-2.0 */
#include "ctrl/health/redis.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "ctrl/base/util.h"

struct weft_redis {
	sd_event *event;
	struct sockaddr_in addr;
	int fd;
	sd_event_source *io, *timer;
	weft_redis_done_t done; /* NULL: nothing is under way */
	void *userdata;
	char *out; /* what is still to be sent */
	size_t n_out, sent;
	char *in;
	size_t n_in;
	char command[32];
};

void weft_redis_free(struct weft_redis *r)
{
	if (!r)
		return;
	sd_event_source_disable_unref(r->io);
	sd_event_source_disable_unref(r->timer);
	if (r->fd >= 0)
		close(r->fd);
	sd_event_unref(r->event);
	free(r->out);
	free(r->in);
	free(r);
}

static void hang_up(struct weft_redis *r)
{
	r->io = sd_event_source_disable_unref(r->io);
	if (r->fd >= 0)
		close(TAKE_FD(r->fd));
	r->n_in = 0;
}

static void finish(struct weft_redis *r, int result, const char *text, const char *why)
{
	weft_redis_done_t done = r->done;
	char addr[INET_ADDRSTRLEN];
	struct weft_err err = {0};

	r->done = NULL;
	sd_event_source_set_enabled(r->timer, SD_EVENT_OFF);
	if (result < 0 && result != -EIO && result != -EKEYREJECTED)
		hang_up(r);
	else if (r->io)
		sd_event_source_set_io_events(r->io, EPOLLIN);
	if (result < 0) {
		inet_ntop(AF_INET, &r->addr.sin_addr, addr, sizeof(addr));
		weft_err_set(&err, result == -EKEYREJECTED ? EIO : result, "redis at %s:%u: %s: %s",
			addr, ntohs(r->addr.sin_port), r->command, why);
	}
	done(r->userdata, result, text, &err);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source;
	(void)usec;
	finish(userdata, -ETIMEDOUT, NULL, "no answer");
	return 0;
}

static void write_more(struct weft_redis *r)
{
	ssize_t n = send(r->fd, r->out + r->sent, r->n_out - r->sent, MSG_NOSIGNAL);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0) {
		finish(r, -errno, NULL, strerror(errno));
		return;
	}
	r->sent += (size_t)n;
	if (r->sent == r->n_out)
		sd_event_source_set_io_events(r->io, EPOLLIN);
}

static void take_reply(struct weft_redis *r)
{
	struct weft_redis_reply reply;
	int n = weft_redis_parse(r->in, r->n_in, &reply);
	_cleanup_(freep) char *text = NULL;

	if (n == -EAGAIN)
		return;
	if (n < 0) {
		finish(r, n, NULL, "its answer is not understood");
		return;
	}
	text = strndup(r->in + reply.text, reply.size);
	r->n_in = 0; /* nothing else was asked */
	if (!text)
		finish(r, -ENOMEM, NULL, "out of memory");
	else if (reply.kind == '-')
		finish(r, weft_redis_lasting(text) ? -EKEYREJECTED : -EIO, NULL, text);
	else
		finish(r, 0, text, NULL);
}

static void read_more(struct weft_redis *r)
{
	size_t room = 2 * WEFT_REDIS_MAX_REPLY - r->n_in;
	ssize_t n = recv(r->fd, r->in + r->n_in, room, 0);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		if (r->done)
			finish(r, n < 0 ? -errno : -ECONNRESET, NULL,
				n < 0 ? strerror(errno) : "the connection was closed");
		else
			hang_up(r);
		return;
	}
	r->n_in += (size_t)n;
	if (r->done)
		take_reply(r);
	else
		r->n_in = 0;
}

static int on_io(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct weft_redis *r = userdata;
	socklen_t len = sizeof(int);
	int error = 0;

	(void)source;
	getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len);
	if (error && r->done)
		finish(r, -error, NULL, strerror(error));
	else if (r->done && r->sent < r->n_out && events & EPOLLOUT)
		write_more(r);
	else
		read_more(r);
	return 0;
}

static int connect_to(struct weft_redis *r)
{
	_cleanup_(closep) int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int result;

	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&r->addr, sizeof(r->addr)) < 0 && errno != EINPROGRESS)
		return -errno;
	result = sd_event_add_io(r->event, &r->io, fd, EPOLLOUT, on_io, r);
	if (result < 0)
		return result;
	r->fd = TAKE_FD(fd);
	return 0;
}

static int compose(struct weft_redis *r, const char *const *argv)
{
	size_t size = 0;
	unsigned n = 0;
	FILE *f;

	free(r->out);
	r->out = NULL;
	while (argv[n])
		n++;
	f = open_memstream(&r->out, &size);
	if (!f)
		return -ENOMEM;
	fprintf(f, "*%u\r\n", n);
	for (unsigned i = 0; i < n; i++)
		fprintf(f, "$%zu\r\n%s\r\n", strlen(argv[i]), argv[i]);
	if (fclose(f) != 0)
		return -ENOMEM;
	r->n_out = size;
	r->sent = 0;
	return 0;
}

int weft_redis_call(struct weft_redis *r, const char *const *argv, unsigned timeout_ms,
	weft_redis_done_t done, void *userdata)
{
	uint64_t now = 0;
	int result;

	if (r->done)
		return -EBUSY;
	snprintf(r->command, sizeof(r->command), "%s", argv[0]);
	result = compose(r, argv);
	if (result == 0 && r->fd < 0)
		result = connect_to(r);
	if (result < 0)
		return result;
	sd_event_source_set_io_events(r->io, EPOLLIN | EPOLLOUT);
	sd_event_now(r->event, CLOCK_MONOTONIC, &now);
	sd_event_source_set_time(r->timer, now + timeout_ms * 1000ULL);
	sd_event_source_set_enabled(r->timer, SD_EVENT_ONESHOT);
	r->n_in = 0;
	r->done = done;
	r->userdata = userdata;
	return 0;
}

int weft_redis_new(sd_event *event, struct in_addr addr, uint16_t port, struct weft_redis **ret)
{
	_cleanup_(weft_redis_freep) struct weft_redis *r = calloc(1, sizeof(*r));
	int result;

	if (!r)
		return -ENOMEM;
	r->fd = -1;
	r->event = sd_event_ref(event);
	r->addr = (struct sockaddr_in){
		.sin_family = AF_INET, .sin_addr = addr, .sin_port = htons(port)};
	r->in = malloc(2 * WEFT_REDIS_MAX_REPLY);
	if (!r->in)
		return -ENOMEM;
	result = sd_event_add_time(event, &r->timer, CLOCK_MONOTONIC, 0, 1000, on_timer, r);
	if (result < 0)
		return result;
	sd_event_source_set_enabled(r->timer, SD_EVENT_OFF);
	*ret = TAKE_PTR(r);
	return 0;
}
