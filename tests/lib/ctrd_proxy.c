/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/ctrd_proxy.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_CONNECTIONS 16
#define BUFFER          65536
#define PREFACE         24 /* bytes a client begins with, before its frames */
#define FRAME           9
#define HEADERS         1

/* Frames of one direction as they pass. */
struct frames {
	uint8_t head[FRAME]; /* of the frame that comes next */
	size_t have, left;   /* bytes of its head, and of the body that is passing */
};

struct way {
	int client, server;
	size_t preface; /* bytes of it that have passed */
	struct frames there, back;
	uint32_t awaited; /* stream whose answer is the last thing to happen; 0: none */
};

static struct ctrd_proxy_control *control;

static void check(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "proxy: %s: %s\n", what, strerror(errno));
	abort();
}

static struct sockaddr_un address(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};

	check(strlen(path) < sizeof(a.sun_path), path);
	strcpy(a.sun_path, path);
	return a;
}

static bool write_all(int fd, const uint8_t *data, size_t size)
{
	while (size > 0) {
		ssize_t n = send(fd, data, size, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		data += n;
		size -= (size_t)n;
	}
	return true;
}

static void close_way(struct way *w)
{
	if (w->client >= 0)
		close(w->client);
	if (w->server >= 0)
		close(w->server);
	*w = (struct way){.client = -1, .server = -1};
}

static uint32_t number(const uint8_t *p, int n)
{
	uint32_t v = 0;

	while (n-- > 0)
		v = v << 8 | *p++;
	return v;
}

/* Take from the data up to the end of the next frame's head: true, and *at behind it; false when
 * the data ends before. */
static bool next_head(struct frames *f, const uint8_t *data, size_t size, size_t *at)
{
	while (*at < size) {
		size_t n = size - *at < f->left ? size - *at : f->left;

		f->left -= n;
		*at += n;
		if (n > 0)
			continue;
		f->head[f->have++] = data[(*at)++];
		if (f->have < FRAME)
			continue;
		f->have = 0;
		f->left = number(f->head, 3);
		return true;
	}
	return false;
}

static void kill_victim(void)
{
	if (control->victim > 0)
		kill(control->victim, SIGKILL);
}

/* A call begins on that stream. False: it is not to go on. */
static bool on_call(struct way *w, uint32_t stream)
{
	unsigned n = __atomic_add_fetch(&control->calls, 1, __ATOMIC_SEQ_CST);

	if (control->act == PROXY_PASS || n != control->at)
		return true;
	__atomic_add_fetch(&control->acted, 1, __ATOMIC_SEQ_CST);
	if (control->act == PROXY_KILL_BEFORE)
		kill_victim();
	if (control->act == PROXY_KILL_BEFORE || control->act == PROXY_CUT_BEFORE)
		return false;
	w->awaited = stream;
	return true;
}

/* How many bytes of what a client sends may go on: less than all when the connection is to end. */
static size_t look(struct way *w, const uint8_t *data, size_t size)
{
	size_t at = size < PREFACE - w->preface ? size : PREFACE - w->preface;

	w->preface += at;
	while (next_head(&w->there, data, size, &at))
		if (w->there.head[3] == HEADERS && !on_call(w, number(w->there.head + 5, 4)))
			return at > FRAME ? at - FRAME : 0;
	return size;
}

/* Is the awaited answer in it? */
static bool look_back(struct way *w, const uint8_t *data, size_t size)
{
	size_t at = 0;

	while (next_head(&w->back, data, size, &at))
		if (w->awaited && w->back.head[3] == HEADERS &&
			number(w->back.head + 5, 4) == w->awaited)
			return true;
	return false;
}

static void from_client(struct way *w)
{
	uint8_t buf[BUFFER];
	ssize_t n = read(w->client, buf, sizeof(buf));
	size_t pass = n > 0 ? look(w, buf, (size_t)n) : 0;

	if (n <= 0 || !write_all(w->server, buf, pass) || pass < (size_t)n)
		close_way(w);
}

static void from_server(struct way *w)
{
	uint8_t buf[BUFFER];
	ssize_t n = read(w->server, buf, sizeof(buf));

	if (n > 0 && look_back(w, buf, (size_t)n)) {
		if (control->act == PROXY_KILL_AFTER)
			kill_victim();
		close_way(w);
		return;
	}
	if (n <= 0 || !write_all(w->client, buf, (size_t)n))
		close_way(w);
}

static void take(struct way *ways, int listener, const char *target)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	int server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un a = address(target);
	int i = 0;

	while (i < MAX_CONNECTIONS && ways[i].client >= 0)
		i++;
	if (i == MAX_CONNECTIONS || connect(server, (struct sockaddr *)&a, sizeof(a)) < 0) {
		close(fd);
		close(server);
		return;
	}
	ways[i] = (struct way){.client = fd, .server = server};
}

static void __attribute__((noreturn)) serve(int listener, const char *target, pid_t parent)
{
	struct way ways[MAX_CONNECTIONS];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	for (int i = 0; i < MAX_CONNECTIONS; i++)
		ways[i] = (struct way){.client = -1, .server = -1};
	for (;;) {
		struct pollfd p[2 * MAX_CONNECTIONS + 1] = {{.fd = listener, .events = POLLIN}};

		for (int i = 0; i < MAX_CONNECTIONS; i++) {
			p[2 * i + 1] = (struct pollfd){ways[i].client, POLLIN, 0};
			p[2 * i + 2] = (struct pollfd){ways[i].server, POLLIN, 0};
		}
		if (poll(p, 2 * MAX_CONNECTIONS + 1, -1) < 0)
			continue;
		for (int i = 0; i < MAX_CONNECTIONS; i++) {
			if (p[2 * i + 1].revents)
				from_client(&ways[i]);
			if (ways[i].client >= 0 && p[2 * i + 2].revents)
				from_server(&ways[i]);
		}
		if (p[0].revents)
			take(ways, listener, target);
	}
}

void ctrd_proxy_start(struct ctrd_proxy *p, const char *socket_path, const char *target)
{
	struct sockaddr_un a = address(socket_path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	pid_t parent = getpid();

	control = mmap(
		NULL, sizeof(*control), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	check(control != MAP_FAILED, "mmap");
	unlink(socket_path);
	check(fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0 && listen(fd, 16) == 0,
		"listen");
	fflush(NULL);
	p->pid = fork();
	check(p->pid >= 0, "fork");
	if (p->pid == 0)
		serve(fd, target, parent);
	close(fd);
	p->c = control;
	snprintf(p->socket, sizeof(p->socket), "%s", socket_path);
}

void ctrd_proxy_stop(struct ctrd_proxy *p)
{
	if (p->pid <= 0)
		return;
	kill(p->pid, SIGKILL);
	waitpid(p->pid, NULL, 0);
	munmap(p->c, sizeof(*p->c));
	p->pid = 0;
}

void ctrd_proxy_set(struct ctrd_proxy *p, enum ctrd_proxy_act act, unsigned at, pid_t victim)
{
	p->c->act = PROXY_PASS;
	p->c->at = at;
	p->c->victim = victim;
	p->c->calls = p->c->acted = 0;
	p->c->act = act;
}
