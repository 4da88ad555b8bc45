/* SPDX-License-Identifier: Apache-2.0 */
#include "ctrl/api/server.h"

#include <errno.h>
#include <microhttpd.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "ctrl/api/later.h"
#include "ctrl/api/pipe.h"
#include "ctrl/api/route.h"
#include "ctrl/api/stream.h"
#include "ctrl/base/log.h"
#include "ctrl/base/util.h"

#define MAX_CONNECTIONS    512
#define CROWDED            384 /* from here on peers that say nothing have to hurry */
#define CONNECTION_TIMEOUT 30  /* s: a peer that says nothing any more is let go */
#define HURRIED_TIMEOUT    1   /* s */
#define CONNECTION_MEMORY  (32 << 10)
#define BACKLOG            1024
#define MAX_DISCARDED      (16U << 20)
#define WAKES              8 /* rounds of news in one turn of the loop */

struct weft_api {
	struct MHD_Daemon *mhd;
	struct weft_engine *engine;
	struct weft_api_streams *streams;
	struct weft_api_laters *laters;
	struct weft_api_pipes pipes;
	sd_event_source *io, *timer, *post;
	char *path;
	struct peer *peers;
	unsigned n_peers;
};

/* One connection, whatever it has said so far. */
struct peer {
	struct peer *prev, *next;
	struct MHD_Connection *connection;
};

struct body {
	char *text;
	size_t size;
	size_t discarded; /* of one too large: read to its end, so that the answer can be read */
	struct weft_api_later *later; /* its answer is still to come, or has just come */
	struct weft_api_pipe *pipe;   /* that the answer comes out of */
};

static const char *query(void *userdata, const char *key)
{
	return MHD_lookup_connection_value(userdata, MHD_GET_ARGUMENT_KIND, key);
}

static enum MHD_Result collect(struct body *b, const char *data, size_t *size)
{
	char *p;

	if (b->discarded || b->size + *size > WEFT_API_MAX_BODY) {
		b->discarded += *size;
		*size = 0;
		return b->discarded > MAX_DISCARDED ? MHD_NO : MHD_YES;
	}
	p = realloc(b->text, b->size + *size + 1);
	if (!p)
		return MHD_NO;
	b->text = p;
	memcpy(b->text + b->size, data, *size);
	b->size += *size;
	b->text[b->size] = '\0';
	*size = 0;
	return MHD_YES;
}

static enum MHD_Result reply(struct MHD_Connection *c, struct weft_api_response *a)
{
	struct MHD_Response *r =
		MHD_create_response_from_buffer(strlen(a->body), a->body, MHD_RESPMEM_MUST_FREE);
	enum MHD_Result q;

	if (!r) {
		free(a->body);
		return MHD_NO;
	}
	MHD_add_response_header(r, "Content-Type", a->type);
	MHD_add_response_header(r, "Cache-Control", "no-store");
	q = MHD_queue_response(c, (unsigned)a->status, r);
	MHD_destroy_response(r);
	return q;
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *c, const char *url,
	const char *method, const char *version, const char *data, size_t *size, void **state)
{
	struct weft_api *api = cls;
	struct body *b = *state;
	struct weft_api_response response;
	struct weft_err err = {0};

	(void)version;
	if (!b) {
		*state = calloc(1, sizeof(*b));
		return *state ? MHD_YES : MHD_NO;
	}
	if (*size > 0)
		return collect(b, data, size);
	if (b->pipe)
		return weft_api_pipe_reply(b->pipe);
	if (b->later) {
		weft_api_later_take(b->later, &response);
		b->later = NULL;
	} else if (b->discarded) {
		weft_err_set(&err, E2BIG, "request: larger than %u bytes", WEFT_API_MAX_BODY);
		weft_api_error(&err, 0, &response);
	} else {
		struct weft_api_request request = {
			method, url, b->text ? b->text : "", b->size, query, c};

		weft_api_route(api->engine, &request, &response);
		if (response.follow) {
			if (weft_api_stream_start(api->streams, c, &response, &err) == 0)
				return MHD_YES;
			weft_api_error(&err, 0, &response);
		} else if (response.op) {
			if (weft_api_later_begin(api->laters, c, &response, &b->later, &err) == 0)
				return MHD_YES;
			weft_api_error(&err, 0, &response);
		} else if (response.pipe > 0) {
			if (weft_api_pipe_new(&api->pipes, c, response.pipe, &b->pipe, &err) == 0)
				return MHD_YES;
			weft_api_error(&err, 0, &response);
		}
	}
	return response.body ? reply(c, &response) : MHD_NO;
}

static void on_completed(
	void *cls, struct MHD_Connection *c, void **state, enum MHD_RequestTerminationCode code)
{
	struct body *b = *state;

	(void)cls;
	(void)c;
	(void)code;
	if (b) {
		free(b->text);
		weft_api_later_drop(b->later);
		weft_api_pipe_free(b->pipe);
	}
	free(b);
	*state = NULL;
}

static void hurry(struct peer *p)
{
	MHD_set_connection_option(
		p->connection, MHD_CONNECTION_OPTION_TIMEOUT, (unsigned)HURRIED_TIMEOUT);
}

static void forget_peer(struct weft_api *api, struct peer *p)
{
	if (p->prev)
		p->prev->next = p->next;
	else
		api->peers = p->next;
	if (p->next)
		p->next->prev = p->prev;
	api->n_peers--;
	free(p);
}

/* Idle connections must not keep others from being heard: from a certain number on, each has a
 * second. One that cannot be remembered is not told to hurry, and that is all. */
static void on_connection(void *cls, struct MHD_Connection *c, void **context,
	enum MHD_ConnectionNotificationCode code)
{
	struct weft_api *api = cls;
	struct peer *p = *context;

	if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
		if (p)
			forget_peer(api, p);
		*context = NULL;
		return;
	}
	p = calloc(1, sizeof(*p));
	if (!p)
		return;
	p->connection = c;
	p->next = api->peers;
	if (p->next)
		p->next->prev = p;
	api->peers = p;
	*context = p;
	if (++api->n_peers < CROWDED)
		return;
	for (p = api->peers; p; p = p->next)
		hurry(p);
}

static int on_io(sd_event_source *s, int fd, uint32_t events, void *userdata)
{
	struct weft_api *api = userdata;

	(void)s;
	(void)fd;
	(void)events;
	MHD_run(api->mhd);
	return 0;
}

static int on_timer(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct weft_api *api = userdata;

	(void)s;
	(void)usec;
	MHD_run(api->mhd);
	return 0;
}

static bool wake(struct weft_api *api)
{
	bool later = weft_api_laters_wake(api->laters);

	return weft_api_streams_wake(api->streams) || later;
}

/* After every turn of the loop: libmicrohttpd's next deadline may have changed. It is 0 when there
 * is more to read than was read. */
static int on_post(sd_event_source *s, void *userdata)
{
	struct weft_api *api = userdata;
	MHD_UNSIGNED_LONG_LONG ms;
	uint64_t now = 0;

	(void)s;
	for (int i = 0; i < WAKES && wake(api); i++)
		MHD_run(api->mhd);
	if (MHD_get_timeout(api->mhd, &ms) != MHD_YES) {
		sd_event_source_set_enabled(api->timer, SD_EVENT_OFF);
		return 0;
	}
	sd_event_now(sd_event_source_get_event(api->timer), CLOCK_MONOTONIC, &now);
	sd_event_source_set_time(api->timer, now + ms * 1000);
	sd_event_source_set_enabled(api->timer, SD_EVENT_ONESHOT);
	return 0;
}

/* A weftd that was killed while it forked leaves a child that holds the socket until it execs: only
 * one that goes on listening is somebody. */
static bool somebody_listens(const struct sockaddr_un *sa)
{
	const struct timespec pause = {.tv_nsec = 50000000};

	for (int i = 0; i < 20; i++) {
		_cleanup_(closep) int fd =
			socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

		if (fd < 0 || (connect(fd, (const struct sockaddr *)sa, sizeof(*sa)) < 0 &&
				      errno != EAGAIN))
			return false;
		nanosleep(&pause, NULL);
	}
	return true;
}

static int bound(const char *path, int *ret_fd, struct weft_err *err)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	_cleanup_(closep) int fd = -1;
	struct stat st;
	mode_t mask;
	int r;

	if (strlen(path) >= sizeof(sa.sun_path))
		return weft_err_set(err, ENAMETOOLONG, "socket %s: the path is longer than %zu",
			path, sizeof(sa.sun_path) - 1);
	strcpy(sa.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return weft_err_set(err, errno, "socket %s: %s", path, strerror(errno));
	if (somebody_listens(&sa)) {
		weft_err_set(err, EADDRINUSE, "socket %s: another weftd is listening on it", path);
		return weft_err_hint(
			err, "weft -H unix:%s status; or choose another --socket", path);
	}
	if (lstat(path, &st) == 0) {
		if (!S_ISSOCK(st.st_mode)) {
			weft_err_set(
				err, EEXIST, "socket %s: there is a file that is no socket", path);
			return weft_err_hint(err, "choose another --socket");
		}
		unlink(path);
	}
	mask = umask(0117);
	r = bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 ? -errno : 0;
	umask(mask);
	if (r < 0 || listen(fd, BACKLOG) < 0)
		return weft_err_set(err, r < 0 ? -r : errno, "socket %s: %s", path,
			strerror(r < 0 ? -r : errno));
	*ret_fd = TAKE_FD(fd);
	return 0;
}

int weft_api_open(sd_event *event, const char *socket_path, struct weft_engine *engine,
	struct weft_api **ret, struct weft_err *err)
{
	_cleanup_(weft_api_freep) struct weft_api *api = calloc(1, sizeof(*api));
	_cleanup_(closep) int fd = -1;
	const union MHD_DaemonInfo *info;
	int r;

	if (!api)
		return weft_err_set(err, ENOMEM, "out of memory");
	api->engine = engine;
	r = bound(socket_path, &fd, err);
	if (r < 0)
		return r;
	api->path = strdup(socket_path);
	r = weft_api_streams_open(event, weft_engine_events(engine), &api->streams);
	if (r < 0)
		return weft_err_set(err, r, "event loop: %s", strerror(-r));
	api->laters = weft_api_laters_new(engine);
	if (!api->laters)
		return weft_err_set(err, ENOMEM, "out of memory");
	api->mhd = MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL,
		on_request, api, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_NOTIFY_COMPLETED,
		on_completed, NULL, MHD_OPTION_NOTIFY_CONNECTION, on_connection, api,
		MHD_OPTION_CONNECTION_LIMIT, (unsigned)MAX_CONNECTIONS,
		MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)CONNECTION_TIMEOUT,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY, MHD_OPTION_END);
	if (!api->mhd)
		return weft_err_set(
			err, EIO, "socket %s: the HTTP server does not start", socket_path);
	TAKE_FD(fd); /* libmicrohttpd closes it */
	api->pipes = (struct weft_api_pipes){.event = event, .mhd = api->mhd};
	info = MHD_get_daemon_info(api->mhd, MHD_DAEMON_INFO_EPOLL_FD);
	r = info ? sd_event_add_io(event, &api->io, info->epoll_fd, EPOLLIN, on_io, api) : -EIO;
	if (r >= 0)
		r = sd_event_add_time(
			event, &api->timer, CLOCK_MONOTONIC, UINT64_MAX, 1, on_timer, api);
	if (r >= 0)
		r = sd_event_add_post(event, &api->post, on_post, api);
	if (r < 0)
		return weft_err_set(err, r, "event loop: %s", strerror(-r));
	*ret = TAKE_PTR(api);
	return 0;
}

void weft_api_free(struct weft_api *api)
{
	if (!api)
		return;
	sd_event_source_disable_unref(api->post);
	sd_event_source_disable_unref(api->timer);
	sd_event_source_disable_unref(api->io);
	if (api->streams)
		weft_api_streams_end(api->streams);
	if (api->laters)
		weft_api_laters_end(api->laters);
	if (api->mhd) {
		weft_api_pipes_end(&api->pipes);
		MHD_run(api->mhd);
		MHD_stop_daemon(api->mhd);
	}
	weft_api_streams_free(api->streams);
	weft_api_laters_free(api->laters);
	if (api->path)
		unlink(api->path);
	free(api->path);
	free(api);
}
