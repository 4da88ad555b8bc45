/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/load_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"

enum { CLIENTS_MAX = 1024 };

struct client {
	int fd;
	unsigned matched; /* bytes of the empty line that ends a request */
	unsigned requests;
};

struct server {
	const struct mode *mode;
	int listen_fd;
	unsigned requests;
	struct client clients[CLIENTS_MAX];
	struct pollfd polls[CLIENTS_MAX + 2];
};

#define OK "HTTP/1.1 200 OK\r\n"

static void forget(struct client *c)
{
	close(c->fd);
	c->fd = -1;
}

static void reply(struct client *c, const char *text)
{
	if (send(c->fd, text, strlen(text), MSG_NOSIGNAL) < 0)
		forget(c);
}

static void reply_and_close(struct client *c, const char *text)
{
	reply(c, text);
	if (c->fd >= 0)
		forget(c);
}

static void answer_ok(struct server *s, struct client *c)
{
	(void)s;
	reply(c, OK "Content-Length: 5\r\n\r\nhello");
}

static void answer_chunked(struct server *s, struct client *c)
{
	(void)s;
	reply(c, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" OK
		 "Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n1\r\n");
	if (c->fd >= 0)
		reply(c, "!\r\n0\r\nTrailer: x\r\n\r\n");
}

static void answer_close(struct server *s, struct client *c)
{
	(void)s;
	reply_and_close(c, OK "Connection: close\r\nContent-Length: 5\r\n\r\nhello");
}

static void answer_to_eof(struct server *s, struct client *c)
{
	(void)s;
	reply_and_close(c, OK "\r\nhello");
}

static void answer_early_close(struct server *s, struct client *c)
{
	(void)s;
	reply_and_close(c, OK "Content-Length: 5\r\n\r\nhello");
}

static void answer_cut(struct server *s, struct client *c)
{
	(void)s;
	reply_and_close(c, OK "Content-Length: 500\r\n\r\nhello");
}

static void answer_reset(struct server *s, struct client *c)
{
	struct linger hard = {1, 0};

	if (s->requests % 10) {
		answer_ok(s, c);
		return;
	}
	setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	forget(c);
}

static void answer_stale(struct server *s, struct client *c)
{
	if (c->requests == 1)
		answer_ok(s, c);
	else
		forget(c);
}

static void answer_stall(struct server *s, struct client *c)
{
	if (s->requests == 1000)
		usleep(1000000);
	answer_ok(s, c);
}

static void answer_silent(struct server *s, struct client *c)
{
	(void)s;
	(void)c;
}

static void answer_vanish(struct server *s, struct client *c)
{
	answer_ok(s, c);
	if (s->requests < 200)
		return;
	for (int i = 0; i < CLIENTS_MAX; i++)
		if (s->clients[i].fd >= 0)
			forget(&s->clients[i]);
	closep(&s->listen_fd);
	s->listen_fd = -1;
}

static void answer_missing(struct server *s, struct client *c)
{
	(void)s;
	reply(c, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
}

static void answer_unavailable(struct server *s, struct client *c)
{
	(void)s;
	reply(c, "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
}

static void answer_garbage(struct server *s, struct client *c)
{
	(void)s;
	reply(c, "SSH-2.0-OpenSSH_9.2\r\n");
}

static void answer_stray(struct server *s, struct client *c)
{
	(void)s;
	reply(c, OK "Content-Length: 4\r\n\r\nhello");
}

static const struct mode {
	const char *name;
	void (*answer)(struct server *s, struct client *c); /* NULL: do not accept either */
} modes[] = {
	{"ok", answer_ok},
	{"chunked", answer_chunked},
	{"close", answer_close},
	{"to_eof", answer_to_eof},
	{"early_close", answer_early_close},
	{"cut", answer_cut},
	{"reset", answer_reset},
	{"stale", answer_stale},
	{"stall", answer_stall},
	{"silent", answer_silent},
	{"deaf", NULL},
	{"vanish", answer_vanish},
	{"missing", answer_missing},
	{"unavailable", answer_unavailable},
	{"garbage", answer_garbage},
	{"stray", answer_stray},
};

static const struct mode *find_mode(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(modes); i++)
		if (strcmp(modes[i].name, name) == 0)
			return &modes[i];
	return NULL;
}

static void accept_one(struct server *s)
{
	int fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK), on = 1;

	if (fd < 0)
		return;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	for (int i = 0; i < CLIENTS_MAX; i++) {
		if (s->clients[i].fd < 0) {
			s->clients[i] = (struct client){.fd = fd};
			return;
		}
	}
	close(fd);
}

static void serve_client(struct server *s, struct client *c)
{
	static const char end[] = "\r\n\r\n";
	char buf[4096];
	ssize_t n = recv(c->fd, buf, sizeof(buf), 0);

	if (n == 0 || (n < 0 && errno != EAGAIN))
		forget(c);
	for (ssize_t i = 0; i < n && c->fd >= 0; i++) {
		c->matched = buf[i] == end[c->matched] ? c->matched + 1 : buf[i] == '\r';
		if (c->matched < 4)
			continue;
		c->matched = 0;
		c->requests++;
		s->requests++;
		s->mode->answer(s, c);
	}
}

/* Until end_fd can be read (-1: for ever). */
static void serve(struct server *s, int end_fd)
{
	for (;;) {
		s->polls[0] = (struct pollfd){.fd = end_fd, .events = POLLIN};
		s->polls[1] = (struct pollfd){
			.fd = s->mode->answer ? s->listen_fd : -1, .events = POLLIN};
		for (int i = 0; i < CLIENTS_MAX; i++)
			s->polls[i + 2] = (struct pollfd){.fd = s->clients[i].fd, .events = POLLIN};
		if (poll(s->polls, CLIENTS_MAX + 2, -1) < 0 || s->polls[0].revents)
			return;
		for (int i = 0; i < CLIENTS_MAX; i++)
			if (s->polls[i + 2].revents && s->clients[i].fd == s->polls[i + 2].fd)
				serve_client(s, &s->clients[i]);
		if (s->polls[1].revents)
			accept_one(s);
	}
}

static int server_open(const char *mode, struct server *s, uint16_t *ret_port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);

	*s = (struct server){.mode = find_mode(mode)};
	if (!s->mode)
		return -EINVAL;
	for (int i = 0; i < CLIENTS_MAX; i++)
		s->clients[i].fd = -1;
	s->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s->listen_fd < 0 || bind(s->listen_fd, (struct sockaddr *)&a, sizeof(a)) < 0 ||
		listen(s->listen_fd, s->mode->answer ? 1024 : 0) < 0 ||
		getsockname(s->listen_fd, (struct sockaddr *)&a, &len) < 0)
		return -errno;
	*ret_port = ntohs(a.sin_port);
	return 0;
}

int load_server_start(const char *mode, struct load_server *ret)
{
	static struct server s;
	uint16_t port = 0;
	pid_t pid, parent = getpid();
	int r = server_open(mode, &s, &port);

	if (r < 0)
		return r;
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() == parent)
			serve(&s, -1);
		_exit(1);
	}
	close(s.listen_fd);
	if (pid < 0)
		return -EAGAIN;
	ret->pid = pid;
	ret->port = port;
	snprintf(ret->url, sizeof(ret->url), "http://127.0.0.1:%u/", port);
	return 0;
}

void load_server_stop(struct load_server *s)
{
	if (s->pid <= 0)
		return;
	kill(s->pid, SIGKILL);
	waitpid(s->pid, NULL, 0);
	s->pid = 0;
}

int load_server_main(const char *mode)
{
	static struct server s;
	uint16_t port = 0;

	if (server_open(mode, &s, &port) < 0)
		return 2;
	printf("%u\n", port);
	fflush(stdout);
	serve(&s, STDIN_FILENO);
	return 0;
}
