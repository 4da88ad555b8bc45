/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/fake_api.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define MAX_ROUTES 32

struct fake_api {
	char dir[64], host[128];
	const struct fake_route *routes;
	size_t next[MAX_ROUTES];
	int listener, stop_fd;
	pthread_t thread;
	FILE *log;
	char *log_text;
	size_t log_size;
};

static void must(bool ok, const char *what)
{
	if (!ok) {
		perror(what);
		abort();
	}
}

static void start_listening(struct fake_api *f)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};

	snprintf(un.sun_path, sizeof(un.sun_path), "%s", f->host + 5);
	f->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	must(f->listener >= 0, "socket");
	must(bind(f->listener, (struct sockaddr *)&un, sizeof(un)) == 0, "bind");
	must(listen(f->listener, 8) == 0, "listen");
}

static void stop_listening(struct fake_api *f)
{
	close(f->listener);
	unlink(f->host + 5);
}

/* true: stop was asked for. fd may be -1. */
static bool wait_on(const struct fake_api *f, int fd, int ms)
{
	struct pollfd p[2] = {{f->stop_fd, POLLIN, 0}, {fd, POLLIN, 0}};

	while (poll(p, 2, ms) < 0)
		must(errno == EINTR, "poll");
	return p[0].revents != 0;
}

/* Head and body of one request, NUL-terminated; NULL when the client went away. */
static char *read_request(const struct fake_api *f, int fd)
{
	size_t size = 0, room = 4u << 20, want = 0;
	char *buf = malloc(room + 1);

	must(buf != NULL, "malloc");
	for (;;) {
		const char *end, *length;
		ssize_t n;

		if (wait_on(f, fd, -1))
			break;
		n = recv(fd, buf + size, room - size, 0);
		if (n <= 0)
			break;
		size += (size_t)n;
		buf[size] = '\0';
		end = strstr(buf, "\r\n\r\n");
		if (!end)
			continue;
		length = strcasestr(buf, "\r\nContent-Length:");
		want = (size_t)(end - buf) + 4 +
		       (length && length < end ? strtoul(length + 17, NULL, 10) : 0);
		if (size >= want)
			return buf;
	}
	free(buf);
	return NULL;
}

static const struct fake_reply *find_reply(struct fake_api *f, const char *request)
{
	static const struct fake_reply unknown = {.status = 404, .body = "{}"};

	for (size_t i = 0; f->routes[i].request; i++) {
		const struct fake_route *r = &f->routes[i];
		size_t at = f->next[i];

		if (strcmp(r->request, request) != 0)
			continue;
		f->next[i] += at + 1 < r->n_replies;
		return &r->replies[at];
	}
	return &unknown;
}

static void send_bytes(int fd, const char *data, size_t size)
{
	while (size > 0) {
		ssize_t n = send(fd, data, size, MSG_NOSIGNAL);

		if (n <= 0)
			return;
		data += n;
		size -= (size_t)n;
	}
}

static void send_reply(const struct fake_api *f, int fd, const struct fake_reply *r)
{
	size_t size = r->body ? strlen(r->body) : 0;
	char head[256];

	if (r->delay_ms && wait_on(f, -1, (int)r->delay_ms))
		return;
	if (r->status) {
		snprintf(head, sizeof(head),
			"HTTP/1.1 %d Text\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
			"Connection: close\r\n\r\n",
			r->status, r->type ? r->type : "application/json", size);
		send_bytes(fd, head, strlen(head));
	}
	if (r->body)
		send_bytes(fd, r->body, r->cut ? r->cut : size);
	if (r->hang_ms)
		wait_on(f, -1, (int)r->hang_ms);
}

static void serve_one(struct fake_api *f, int fd)
{
	char *request = read_request(f, fd), *line_end, *body;
	const struct fake_reply *reply;

	if (!request)
		return;
	body = strstr(request, "\r\n\r\n") + 4;
	line_end = strstr(request, " HTTP/");
	must(line_end != NULL, "request line");
	*line_end = '\0';
	fprintf(f->log, "%s%s%s\n", request, *body ? " " : "", body);
	reply = find_reply(f, request);
	send_reply(f, fd, reply);
	free(request);
	if (reply->away_ms) {
		stop_listening(f);
		wait_on(f, -1, (int)reply->away_ms);
		start_listening(f);
	}
}

static void *serve(void *userdata)
{
	struct fake_api *f = userdata;

	while (!wait_on(f, f->listener, -1)) {
		int fd = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC);

		if (fd < 0)
			continue;
		serve_one(f, fd);
		close(fd);
	}
	return NULL;
}

struct fake_api *fake_api_start(const struct fake_route *routes)
{
	struct fake_api *f = calloc(1, sizeof(*f));

	must(f != NULL, "calloc");
	strcpy(f->dir, "/tmp/weft-fake-api-XXXXXX");
	must(mkdtemp(f->dir) != NULL, "mkdtemp");
	snprintf(f->host, sizeof(f->host), "unix:%s/sock", f->dir);
	f->routes = routes;
	f->log = open_memstream(&f->log_text, &f->log_size);
	f->stop_fd = eventfd(0, EFD_CLOEXEC);
	must(f->log && f->stop_fd >= 0, "open");
	start_listening(f);
	must(pthread_create(&f->thread, NULL, serve, f) == 0, "pthread_create");
	return f;
}

const char *fake_api_host(const struct fake_api *f)
{
	return f->host;
}

char *fake_api_stop(struct fake_api *f)
{
	char *text;

	must(eventfd_write(f->stop_fd, 1) == 0, "eventfd");
	pthread_join(f->thread, NULL);
	stop_listening(f);
	close(f->stop_fd);
	rmdir(f->dir);
	fclose(f->log);
	text = f->log_text;
	free(f);
	return text;
}
