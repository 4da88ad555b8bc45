/* SPDX-License-Identifier: Apache-2.0 */
#include "ctrl/health/probe.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "ctrl/base/util.h"

struct weft_probe {
	sd_event *event;
	struct weft_probe_config config;
	char *path;
	weft_probe_done_t done;
	void *userdata;
	sd_event_source *io, *timer;
	int fd;
	unsigned attempts;
	uint64_t deadline_us, attempt_us; /* end of all, begin of this one */
	char answer[16];                  /* the status line's beginning */
	size_t n_answer;
	enum { CONNECTING, READING, PAUSING } phase;
	char reason[128];
	uint32_t rtt_us;
};

static int on_io(sd_event_source *s, int fd, uint32_t events, void *userdata);
static int on_timer(sd_event_source *s, uint64_t usec, void *userdata);

static void close_attempt(struct weft_probe *p)
{
	p->io = sd_event_source_disable_unref(p->io);
	if (p->fd >= 0)
		close(TAKE_FD(p->fd));
}

void weft_probe_free(struct weft_probe *p)
{
	if (!p)
		return;
	close_attempt(p);
	sd_event_source_disable_unref(p->timer);
	sd_event_unref(p->event);
	free(p->path);
	free(p);
}

static void finish(struct weft_probe *p, int r)
{
	char text[INET_ADDRSTRLEN];
	struct weft_err err = {0};

	close_attempt(p);
	sd_event_source_set_enabled(p->timer, SD_EVENT_OFF);
	if (r < 0) {
		inet_ntop(AF_INET, &p->config.addr, text, sizeof(text));
		weft_err_set(&err, r, "no answer from %s:%u%s within %u ms (%u attempts, last: %s)",
			text, p->config.port, p->path ? p->path : "", p->config.timeout_ms,
			p->attempts, p->reason);
	}
	p->done(p->userdata, r, p->attempts, &err);
}

/* Never beyond the deadline, which then ends the attempt as well. */
static void arm(struct weft_probe *p, unsigned ms)
{
	uint64_t at = 0;

	sd_event_now(p->event, CLOCK_MONOTONIC, &at);
	at += (uint64_t)ms * 1000;
	sd_event_source_set_time(p->timer, at < p->deadline_us ? at : p->deadline_us);
	sd_event_source_set_enabled(p->timer, SD_EVENT_ONESHOT);
}

static void fail_attempt(struct weft_probe *p, const char *reason)
{
	close_attempt(p);
	snprintf(p->reason, sizeof(p->reason), "%s", reason);
	p->phase = PAUSING;
	arm(p, p->config.interval_ms);
}

static void start_attempt(struct weft_probe *p)
{
	struct sockaddr_in sa = {.sin_family = AF_INET,
		.sin_addr = p->config.addr,
		.sin_port = htons(p->config.port)};

	p->attempts++;
	sd_event_now(p->event, CLOCK_MONOTONIC, &p->attempt_us);
	p->n_answer = 0;
	p->phase = CONNECTING;
	p->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (p->fd < 0)
		return fail_attempt(p, strerror(errno));
	if (connect(p->fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 && errno != EINPROGRESS)
		return fail_attempt(p, strerror(errno));
	if (sd_event_add_io(p->event, &p->io, p->fd, EPOLLOUT, on_io, p) < 0)
		return fail_attempt(p, "cannot watch the socket");
	arm(p, p->config.attempt_ms);
}

static void send_request(struct weft_probe *p)
{
	_cleanup_(freep) char *request = weft_strf("GET %s HTTP/1.1\r\nHost: weft-probe\r\n"
						   "User-Agent: weft\r\nConnection: close\r\n\r\n",
		p->path);

	ssize_t n = request ? send(p->fd, request, strlen(request), MSG_NOSIGNAL) : -1;

	if (n < 0)
		return fail_attempt(p, strerror(errno));
	if ((size_t)n < strlen(request))
		return fail_attempt(p, "does not take the request");
	p->phase = READING;
	sd_event_source_set_io_events(p->io, EPOLLIN);
}

/* The status of an answer that begins so; -EAGAIN: too little has come, 0: it is not HTTP/1. */
static int status_of(const char *answer, size_t n)
{
	static const char form[] = "HTTP/1.d ddd";

	for (size_t i = 0; i < n && i < sizeof(form) - 1; i++)
		if (form[i] == 'd' ? !isdigit((unsigned char)answer[i]) : answer[i] != form[i])
			return 0;
	if (n < sizeof(form) - 1)
		return -EAGAIN;
	return (answer[9] - '0') * 100 + (answer[10] - '0') * 10 + answer[11] - '0';
}

/* "HTTP/1.1 200" is all that is looked at; the rest of the answer is left in the socket. */
static void read_answer(struct weft_probe *p)
{
	ssize_t n = recv(p->fd, p->answer + p->n_answer, sizeof(p->answer) - p->n_answer, 0);
	char reason[96];
	int status;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0)
		return fail_attempt(p, n < 0 ? strerror(errno) : "closed without an answer");
	p->n_answer += (size_t)n;
	status = status_of(p->answer, p->n_answer);
	if (status == -EAGAIN)
		return;
	if (status < 100)
		return fail_attempt(p, "answered, but not in HTTP");
	if (status < 400)
		return finish(p, 0);
	snprintf(reason, sizeof(reason), "HTTP status %d", status);
	fail_attempt(p, reason);
}

uint32_t weft_probe_rtt_us(const struct weft_probe *p)
{
	return p->rtt_us;
}

/* Of the handshake: how long it takes until we look does not count. */
static void take_rtt(struct weft_probe *p)
{
	struct tcp_info info = {0};
	socklen_t len = sizeof(info);

	if (getsockopt(p->fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0)
		p->rtt_us = info.tcpi_rtt;
}

static int on_io(sd_event_source *s, int fd, uint32_t events, void *userdata)
{
	struct weft_probe *p = userdata;
	socklen_t len = sizeof(int);
	int error = 0;

	(void)s;
	(void)events;
	if (p->phase == READING) {
		read_answer(p);
		return 0;
	}
	getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len);
	if (!error)
		take_rtt(p);
	if (error)
		fail_attempt(p, strerror(error));
	else if (p->path)
		send_request(p);
	else
		finish(p, 0);
	return 0;
}

static const char *silence(const struct weft_probe *p)
{
	return p->phase == CONNECTING ? "connection not accepted" : "connected, but no answer";
}

static int on_timer(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct weft_probe *p = userdata;
	uint64_t now = usec;

	(void)s;
	sd_event_now(p->event, CLOCK_MONOTONIC, &now);
	if (now < p->deadline_us) {
		if (p->phase == PAUSING)
			start_attempt(p);
		else
			fail_attempt(p, silence(p));
		return 0;
	}
	/* Cut short, this attempt says less than the one before it. */
	if (p->phase != PAUSING &&
		(!p->reason[0] || now - p->attempt_us >= p->config.attempt_ms * 500ULL))
		snprintf(p->reason, sizeof(p->reason), "%s", silence(p));
	finish(p, -ETIMEDOUT);
	return 0;
}

int weft_probe_start(sd_event *event, const struct weft_probe_config *config,
	weft_probe_done_t done, void *userdata, struct weft_probe **ret)
{
	_cleanup_(weft_probe_freep) struct weft_probe *p = calloc(1, sizeof(*p));
	uint64_t now = 0;
	int r;

	if (!p)
		return -ENOMEM;
	p->fd = -1;
	p->event = sd_event_ref(event);
	p->config = *config;
	p->done = done;
	p->userdata = userdata;
	p->phase = PAUSING;
	if (config->http_path && !(p->path = strdup(config->http_path)))
		return -ENOMEM;
	p->config.http_path = NULL;
	sd_event_now(event, CLOCK_MONOTONIC, &now);
	p->deadline_us = now + (uint64_t)config->timeout_ms * 1000;
	r = sd_event_add_time(event, &p->timer, CLOCK_MONOTONIC, now, 1000, on_timer, p);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(p);
	return 0;
}
