/* SPDX-License-Identifier: Apache-2.0 */
/* The server of every variant: echoes, counts, answers once; TCP and UDP.
 *   netserve CPU
 * One loop, as event-driven servers have one: its costs are part of every variant's figure alike.
 */
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ctrl/base/util.h"
#include "tests/bench/bench.h"

#define BATCH       64
#define SINK_BUFFER (8 << 20)

struct endpoint {
	int fd;
	void (*ready)(struct endpoint *);
	void (*accepted)(struct endpoint *); /* listeners: ready of what they accept */
	uint64_t first_ns, before;
	struct sink_report seen;
};

static int poller;
static char buffer[256 * 1024];

static struct endpoint *watch(int fd, void (*ready)(struct endpoint *))
{
	struct endpoint *e = calloc(1, sizeof(*e));
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = e};

	if (!e)
		err(1, "endpoint");
	e->fd = fd;
	e->ready = ready;
	if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) < 0)
		err(1, "epoll");
	return e;
}

static void hang_up(struct endpoint *e)
{
	close(e->fd);
	free(e);
}

/* What is there first only starts the clock: it came in no time. */
static void note(struct endpoint *e, uint64_t count)
{
	uint64_t now = weft_now_ns();

	if (!e->first_ns) {
		e->first_ns = now;
		return;
	}
	e->seen.count += count;
	e->seen.ns = now - e->first_ns;
}

static void echo(struct endpoint *e)
{
	ssize_t n = recv(e->fd, buffer, sizeof(buffer), 0);

	if (n <= 0 || send(e->fd, buffer, (size_t)n, MSG_NOSIGNAL) != n)
		hang_up(e);
}

static void answer_once(struct endpoint *e)
{
	ssize_t n = recv(e->fd, buffer, sizeof(buffer), 0);

	if (n > 0)
		(void)send(e->fd, buffer, (size_t)n, MSG_NOSIGNAL);
	hang_up(e);
}

static void swallow(struct endpoint *e)
{
	ssize_t n = recv(e->fd, buffer, sizeof(buffer), 0);

	if (n > 0 && e->before < STREAM_WARM_UP) {
		e->before += (uint64_t)n;
		return;
	}
	if (n > 0) {
		note(e, (uint64_t)n);
		return;
	}
	if (n == 0)
		(void)send(e->fd, &e->seen, sizeof(e->seen), MSG_NOSIGNAL);
	hang_up(e);
}

static void take(struct endpoint *e)
{
	static const int on = 1;
	int fd = accept4(e->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	watch(fd, e->accepted);
}

static void echo_datagram(struct endpoint *e)
{
	struct sockaddr_in from;
	socklen_t size = sizeof(from);
	ssize_t n = recvfrom(e->fd, buffer, sizeof(buffer), 0, (void *)&from, &size);

	if (n >= 0)
		(void)sendto(e->fd, buffer, (size_t)n, 0, (void *)&from, size);
}

static void count_datagram(
	struct endpoint *e, const struct small_datagram *d, const struct sockaddr_in *from)
{
	if (d->ask) {
		(void)sendto(
			e->fd, &e->seen, sizeof(e->seen), 0, (const void *)from, sizeof(*from));
		return;
	}
	if (d->run != e->seen.run) {
		e->seen = (struct sink_report){.run = d->run};
		e->first_ns = 0;
	}
	note(e, 1);
}

static void count_datagrams(struct endpoint *e)
{
	static struct small_datagram data[BATCH];
	static struct sockaddr_in from[BATCH];
	struct mmsghdr messages[BATCH] = {0};
	struct iovec parts[BATCH];
	int n;

	for (int i = 0; i < BATCH; i++) {
		parts[i] = (struct iovec){&data[i], sizeof(data[i])};
		messages[i].msg_hdr.msg_iov = &parts[i];
		messages[i].msg_hdr.msg_iovlen = 1;
		messages[i].msg_hdr.msg_name = &from[i];
		messages[i].msg_hdr.msg_namelen = sizeof(from[i]);
	}
	n = recvmmsg(e->fd, messages, BATCH, MSG_DONTWAIT, NULL);
	for (int i = 0; i < n; i++)
		if (messages[i].msg_len >= SMALL_SIZE)
			count_datagram(e, &data[i], &from[i]);
}

static struct endpoint *listen_at(int type, uint16_t port, void (*ready)(struct endpoint *))
{
	struct sockaddr_in sa = socket_address("0.0.0.0", port);
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0), on = 1;

	if (fd < 0)
		err(1, "socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (void *)&sa, sizeof(sa)) < 0)
		err(1, "port %u", port);
	if (type == SOCK_STREAM && listen(fd, 1024) < 0)
		err(1, "port %u", port);
	return watch(fd, ready);
}

int main(int argc, char **argv)
{
	const int size = SINK_BUFFER;
	struct epoll_event events[BATCH];
	struct endpoint *sink;
	uint64_t cpu;

	if (argc != 2 || weft_parse_u64(argv[1], 0, CPU_SETSIZE - 1, &cpu) < 0)
		errx(2, "usage: netserve CPU");
	pin(cpu);
	poller = epoll_create1(EPOLL_CLOEXEC);
	if (poller < 0)
		err(1, "epoll");
	listen_at(SOCK_STREAM, PORT_ECHO, take)->accepted = echo;
	listen_at(SOCK_STREAM, PORT_SINK, take)->accepted = swallow;
	listen_at(SOCK_STREAM, PORT_ONCE, take)->accepted = answer_once;
	listen_at(SOCK_DGRAM, PORT_ECHO, echo_datagram);
	sink = listen_at(SOCK_DGRAM, PORT_SINK, count_datagrams);
	if (setsockopt(sink->fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0)
		err(1, "receive buffer");
	for (;;) {
		int n = epoll_wait(poller, events, BATCH, -1);

		if (n < 0 && errno != EINTR)
			err(1, "epoll");
		for (int i = 0; i < n; i++) {
			struct endpoint *e = events[i].data.ptr;

			e->ready(e);
		}
	}
}
