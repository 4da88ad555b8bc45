/* SPDX-License-Identifier: Apache-2.0 */
#include "ctrl/api/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <gnutls/gnutls.h>
#include <inttypes.h>
#include <microhttpd.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ctrl/api/access.h"
#include "ctrl/api/later.h"
#include "ctrl/api/listen.h"
#include "ctrl/api/peers.h"
#include "ctrl/api/pipe.h"
#include "ctrl/api/route.h"
#include "ctrl/api/stream.h"
#include "ctrl/api/tls.h"
#include "ctrl/base/log.h"
#include "ctrl/base/util.h"

#define CONNECTION_MEMORY (32 << 10)
#define MAX_DISCARDED     (16U << 20)
#define WAKES             8       /* rounds of news in one turn of the loop */
#define REFUSALS_LOGGED   10      /* in a second */
#define LOOK_US           1000000 /* how much later than its deadline a peer may be let go */

/* Of the page, and of all else, which is no page. */
#define POLICY                                                                          \
	"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; " \
	"img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

enum { LOCAL, REMOTE, LISTENERS };

/* What listens on one socket. */
struct listener {
	struct weft_api *api;
	struct MHD_Daemon *mhd; /* NULL: it does not */
	sd_event_source *io;
	gid_t gid; /* LOCAL: whose the socket is */
	struct weft_api_peers peers;
};

struct weft_api {
	struct weft_api_config config;
	struct listener listeners[LISTENERS];
	struct weft_engine *engine;
	struct weft_api_streams *streams;
	struct weft_api_laters *laters;
	struct weft_api_pipes pipes;
	struct weft_tokens *tokens;
	struct weft_api_tls *tls;
	sd_event_source *timer, *post, *look;
	bool bound; /* the socket file is ours */
	uint64_t refused_s;
	unsigned refused;
};

struct body {
	char *text;
	size_t size;
	size_t discarded; /* of one too large: read to its end, so that the answer can be read */
	struct weft_api_later *later; /* its answer is still to come, or has just come */
	struct weft_api_pipe *pipe;   /* that the answer comes out of */
	struct weft_api_peer *peer;
	enum weft_api_use use;
	enum weft_api_role needs;
	bool revoked;
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

static struct weft_api_peer *peer_of(struct MHD_Connection *c)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

	return info ? info->socket_context : NULL;
}

/* last: nothing more is wanted of this connection. */
static enum MHD_Result reply_with(struct MHD_Connection *c, struct weft_api_response *a, bool last)
{
	struct MHD_Response *r =
		MHD_create_response_from_buffer(strlen(a->body), a->body, MHD_RESPMEM_MUST_FREE);
	enum MHD_Result q;
	char tag[24];

	if (!r) {
		free(a->body);
		return MHD_NO;
	}
	MHD_add_response_header(r, "Content-Type", a->type);
	MHD_add_response_header(r, "Cache-Control", "no-store");
	MHD_add_response_header(r, "Content-Security-Policy", POLICY);
	MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
	MHD_add_response_header(r, "Referrer-Policy", "no-referrer");
	if (a->version) {
		snprintf(tag, sizeof(tag), "\"%" PRIu64 "\"", a->version);
		MHD_add_response_header(r, "ETag", tag);
	}
	if (a->status == MHD_HTTP_UNAUTHORIZED)
		MHD_add_response_header(r, "WWW-Authenticate", "Bearer");
	if (last)
		MHD_add_response_header(r, "Connection", "close");
	q = MHD_queue_response(c, (unsigned)a->status, r);
	MHD_destroy_response(r);
	return q;
}

static enum MHD_Result reply(struct MHD_Connection *c, struct weft_api_response *a)
{
	return reply_with(c, a, false);
}

static void who_asks(const struct listener *l, struct MHD_Connection *c, struct weft_api_who *ret)
{
	const char *auth = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Authorization");
	const union MHD_ConnectionInfo *info;
	char address[INET6_ADDRSTRLEN] = "?";
	size_t n;

	if (l == &l->api->listeners[LOCAL]) {
		info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
		weft_api_who_local(info ? info->connect_fd : -1, l->gid, l->api->tokens, auth, ret);
		return;
	}
	weft_api_who_remote(l->api->tokens, auth, ret);
	info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
	if (info && info->client_addr->sa_family == AF_INET)
		inet_ntop(AF_INET, &((const struct sockaddr_in *)info->client_addr)->sin_addr,
			address, sizeof(address));
	else if (info)
		inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)info->client_addr)->sin6_addr,
			address, sizeof(address));
	if (ret->role != WEFT_API_NOBODY)
		snprintf(ret->user, sizeof(ret->user), "%s", ret->text);
	n = strlen(ret->text);
	snprintf(ret->text + n, sizeof(ret->text) - n, " from %s", address);
	if (ret->role == WEFT_API_NOBODY)
		snprintf(ret->user, sizeof(ret->user), "%s", ret->text);
}

/* Many refusals are one line: who is let in by nobody must not fill the disk. */
static void log_refusal(
	struct weft_api *api, const char *method, const char *url, const struct weft_api_who *who)
{
	uint64_t now = weft_now_ns() / 1000000000;

	if (now != api->refused_s) {
		if (api->refused > REFUSALS_LOGGED)
			log_warning("api: %u more requests were refused",
				api->refused - REFUSALS_LOGGED);
		api->refused_s = now;
		api->refused = 0;
	}
	if (api->refused++ < REFUSALS_LOGGED)
		log_warning("api: refused %.20s %.200s by %s, role %s", method, url, who->text,
			weft_api_role_name(who->role));
}

/* Before a byte of its body is taken. */
static enum MHD_Result begin(struct listener *l, struct MHD_Connection *c, const char *url,
	const char *method, void **state)
{
	_cleanup_(freep) char *clean = strdup(url);
	struct weft_api_peer *peer = peer_of(c);
	struct weft_api_response response;
	struct weft_err err = {0};
	struct weft_api_who who;
	struct body *b;

	if (clean)
		weft_text_clean_line(clean);
	who_asks(l, c, &who);
	if (weft_api_permit(&who, method, url, &response) != 0) {
		log_refusal(l->api, method, clean ? clean : "?", &who);
		return response.body ? reply_with(c, &response, who.role == WEFT_API_NOBODY)
				     : MHD_NO;
	}
	weft_log(strcmp(method, "GET") == 0 ? LOG_DEBUG : LOG_INFO,
		"api: %.20s %.200s by %s, role %s", method, clean ? clean : "?", who.text,
		weft_api_role_name(who.role));
	if (!peer)
		return MHD_NO;
	if (weft_api_peer_begin(&l->peers, peer, who.user, &err) < 0) {
		weft_api_error(&err, 0, &response);
		return response.body ? reply_with(c, &response, true) : MHD_NO;
	}
	b = calloc(1, sizeof(*b));
	if (!b)
		return MHD_NO;
	b->peer = peer;
	b->needs = weft_api_needs(method, url);
	peer->request = *state = b;
	return MHD_YES;
}

/* The events as a browser's EventSource wants them, and from where it left off. */
static void prefer_sse(struct MHD_Connection *c, struct weft_api_response *response)
{
	const char *accept = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Accept");
	const char *last = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Last-Event-ID");

	if (!accept || !strstr(accept, WEFT_API_SSE))
		return;
	response->type = WEFT_API_SSE;
	if (last && weft_parse_u64(last, 0, INT64_MAX, &response->since) == 0)
		response->list = false;
}

/* What is taken here is given back when the request is over. */
static int take(struct listener *l, struct body *b, const struct weft_api_response *response,
	struct weft_err *err)
{
	enum weft_api_use use = response->follow || response->pipe > 0 ? WEFT_API_STREAM
				: response->op                         ? WEFT_API_CALL
								       : WEFT_API_SHORT;
	int r = weft_api_peer_use(&l->peers, b->peer, use, err);

	if (r == 0)
		b->use = use;
	return r;
}

/* A response that is not whole yet is begun, and its end is another's affair. */
static enum MHD_Result send_response(struct listener *l, struct MHD_Connection *c, struct body *b,
	struct weft_api_response *response)
{
	struct weft_api *api = l->api;
	struct weft_err err = {0};
	int r = take(l, b, response, &err);

	if (r < 0) {
		weft_api_op_free(response->op);
		if (response->pipe > 0)
			close(response->pipe);
		weft_api_error(&err, 0, response);
		return response->body ? reply(c, response) : MHD_NO;
	}
	if (response->follow)
		prefer_sse(c, response);
	if (response->follow)
		r = weft_api_stream_start(api->streams, c, response, &err);
	else if (response->op)
		r = weft_api_later_begin(api->laters, c, response, &b->later, &err);
	else if (response->pipe > 0)
		r = weft_api_pipe_new(&api->pipes, c, response->pipe, &b->pipe, &err);
	else
		return response->body ? reply(c, response) : MHD_NO;
	if (r == 0)
		return MHD_YES;
	weft_api_error(&err, 0, response);
	return response->body ? reply(c, response) : MHD_NO;
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *c, const char *url,
	const char *method, const char *version, const char *data, size_t *size, void **state)
{
	struct listener *l = cls;
	struct weft_api *api = l->api;
	struct body *b = *state;
	struct weft_api_response response;
	struct weft_err err = {0};

	(void)version;
	if (!b)
		return begin(l, c, url, method, state);
	if (*size > 0)
		return collect(b, data, size);
	weft_api_peer_whole(b->peer);
	if (b->pipe)
		return weft_api_pipe_reply(b->pipe);
	if (b->later) {
		weft_api_later_take(b->later, &response);
		b->later = NULL;
	} else if (b->discarded) {
		weft_err_set(&err, E2BIG, "request: larger than %u bytes", WEFT_API_MAX_BODY);
		weft_api_error(&err, 0, &response);
	} else {
		struct weft_api_request request = {.method = method,
			.path = url,
			.body = b->text ? b->text : "",
			.body_size = b->size,
			.query = query,
			.userdata = c,
			.if_match = MHD_lookup_connection_value(
				c, MHD_HEADER_KIND, MHD_HTTP_HEADER_IF_MATCH)};

		weft_api_route(api->engine, &request, &response);
		return send_response(l, c, b, &response);
	}
	return response.body ? reply(c, &response) : MHD_NO;
}

static void on_completed(
	void *cls, struct MHD_Connection *c, void **state, enum MHD_RequestTerminationCode code)
{
	struct listener *l = cls;
	struct weft_api_peer *peer = peer_of(c);
	struct body *b = *state;

	(void)code;
	if (peer) {
		weft_api_peer_done(&l->peers, peer, b ? b->use : WEFT_API_SHORT);
		peer->request = NULL;
	}
	if (b) {
		free(b->text);
		weft_api_later_drop(b->later);
		weft_api_pipe_free(b->pipe);
	}
	free(b);
	*state = NULL;
}

/* The certificate in force, in place of the one that the server was begun with. */
static void take_tls(struct weft_api_peer *p, struct weft_api_tls *tls)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(p->connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);

	if (!tls || !info || !info->tls_session)
		return;
	p->tls = weft_api_tls_ref(tls);
	gnutls_credentials_set(info->tls_session, GNUTLS_CRD_CERTIFICATE, tls->credentials);
}

/* Who it is that came by the unix socket is known before he says anything. */
static const char *known(
	const struct listener *l, struct MHD_Connection *c, struct weft_api_who *who)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);

	if (l != &l->api->listeners[LOCAL] || !info)
		return NULL;
	weft_api_who_local(info->connect_fd, l->gid, NULL, NULL, who);
	return who->user;
}

static void on_connection(void *cls, struct MHD_Connection *c, void **context,
	enum MHD_ConnectionNotificationCode code)
{
	struct listener *l = cls;
	struct weft_api_peer *p = *context;
	struct weft_api_who who;

	if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
		if (p) {
			weft_api_tls_unref(p->tls);
			weft_api_peer_free(&l->peers, p);
		}
		*context = NULL;
		return;
	}
	p = weft_api_peer_new(&l->peers, c, known(l, c, &who));
	if (!p)
		return; /* its first request is not answered */
	*context = p;
	if (l == &l->api->listeners[REMOTE])
		take_tls(p, l->api->tls);
	sd_event_source_set_enabled(l->api->look, SD_EVENT_ON);
}

/* Once a second while there are connections. */
static int on_look(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct weft_api *api = userdata;
	bool any = false;

	for (int i = 0; i < LISTENERS; i++) {
		weft_api_peers_look(&api->listeners[i].peers, weft_now_ns());
		any |= api->listeners[i].peers.first != NULL;
	}
	sd_event_source_set_time(s, usec + LOOK_US);
	return sd_event_source_set_enabled(s, any ? SD_EVENT_ON : SD_EVENT_OFF);
}

static void run_all(struct weft_api *api)
{
	for (int i = 0; i < LISTENERS; i++)
		if (api->listeners[i].mhd)
			MHD_run(api->listeners[i].mhd);
}

static int on_io(sd_event_source *s, int fd, uint32_t events, void *userdata)
{
	struct listener *l = userdata;

	(void)s;
	(void)fd;
	(void)events;
	MHD_run(l->mhd);
	return 0;
}

static int on_timer(sd_event_source *s, uint64_t usec, void *userdata)
{
	(void)s;
	(void)usec;
	run_all(userdata);
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
	MHD_UNSIGNED_LONG_LONG ms, soonest = UINT64_MAX;
	uint64_t now = 0;

	(void)s;
	for (int i = 0; i < WAKES && wake(api); i++)
		run_all(api);
	for (int i = 0; i < LISTENERS; i++)
		if (api->listeners[i].mhd &&
			MHD_get_timeout(api->listeners[i].mhd, &ms) == MHD_YES && ms < soonest)
			soonest = ms;
	if (soonest == UINT64_MAX) {
		sd_event_source_set_enabled(api->timer, SD_EVENT_OFF);
		return 0;
	}
	sd_event_now(sd_event_source_get_event(api->timer), CLOCK_MONOTONIC, &now);
	sd_event_source_set_time(api->timer, now + soonest * 1000);
	sd_event_source_set_enabled(api->timer, SD_EVENT_ONESHOT);
	return 0;
}

/* Takes fd. tls NULL: plain HTTP. */
static int serve(struct listener *l, sd_event *event, int fd, const struct weft_api_tls *tls,
	struct weft_err *err)
{
	struct MHD_OptionItem secure[] = {
		{MHD_OPTION_HTTPS_MEM_CERT, 0, tls ? tls->cert : NULL},
		{MHD_OPTION_HTTPS_MEM_KEY, 0, tls ? tls->key : NULL},
		{MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)WEFT_API_TLS_PRIORITIES},
		{MHD_OPTION_END, 0, NULL},
	};
	const union MHD_DaemonInfo *info;
	int r;

	if (!tls)
		secure[0].option = MHD_OPTION_END;
	l->mhd =
		MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | (tls ? MHD_USE_TLS : 0),
			0, NULL, NULL, on_request, l, MHD_OPTION_LISTEN_SOCKET, fd,
			MHD_OPTION_NOTIFY_COMPLETED, on_completed, l, MHD_OPTION_NOTIFY_CONNECTION,
			on_connection, l, MHD_OPTION_CONNECTION_LIMIT,
			(unsigned)WEFT_API_MAX_CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT,
			(unsigned)WEFT_API_IDLE_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
			(size_t)CONNECTION_MEMORY, MHD_OPTION_ARRAY, secure, MHD_OPTION_END);
	if (!l->mhd) {
		close(fd);
		return weft_err_set(err, EIO, "%s: the HTTP server does not start",
			tls ? l->api->config.listen : l->api->config.socket);
	}
	info = MHD_get_daemon_info(l->mhd, MHD_DAEMON_INFO_EPOLL_FD);
	r = info ? sd_event_add_io(event, &l->io, info->epoll_fd, EPOLLIN, on_io, l) : -EIO;
	return r < 0 ? weft_err_set(err, r, "event loop: %s", strerror(-r)) : 0;
}

static int open_local(struct weft_api *api, sd_event *event, struct weft_err *err)
{
	struct listener *l = &api->listeners[LOCAL];
	int fd, r;

	r = weft_api_listen_unix(api->config.socket, api->config.socket_group, &fd, &l->gid, err);
	if (r < 0)
		return r;
	api->bound = true;
	return serve(l, event, fd, NULL, err);
}

static int open_remote(struct weft_api *api, sd_event *event, struct weft_err *err)
{
	int fd, r;

	r = weft_api_listen_tcp(api->config.listen, &fd, err);
	return r < 0 ? r : serve(&api->listeners[REMOTE], event, fd, api->tls, err);
}

static int watch(struct weft_api *api, sd_event *event, struct weft_err *err)
{
	int r = weft_api_streams_open(event, api->engine, &api->streams);

	if (r >= 0)
		r = sd_event_add_time(
			event, &api->timer, CLOCK_MONOTONIC, UINT64_MAX, 1, on_timer, api);
	if (r >= 0)
		r = sd_event_add_time(event, &api->look, CLOCK_MONOTONIC, 0, 0, on_look, api);
	if (r >= 0)
		r = sd_event_add_post(event, &api->post, on_post, api);
	if (r < 0)
		return weft_err_set(err, r, "event loop: %s", strerror(-r));
	api->laters = weft_api_laters_new(event, api->engine);
	return api->laters ? 0 : weft_err_set(err, ENOMEM, "out of memory");
}

int weft_api_open(sd_event *event, const struct weft_api_config *config, struct weft_engine *engine,
	struct weft_api **ret, struct weft_err *err)
{
	_cleanup_(weft_api_freep) struct weft_api *api = calloc(1, sizeof(*api));
	int r;

	if (!api)
		return weft_err_set(err, ENOMEM, "out of memory");
	api->engine = engine;
	api->config = *config;
	api->pipes.event = event;
	for (int i = 0; i < LISTENERS; i++)
		api->listeners[i] =
			(struct listener){.api = api, .peers = {.each = &api->config.each}};
	r = weft_api_reload(api, err);
	if (r == 0)
		r = watch(api, event, err);
	if (r == 0)
		r = open_local(api, event, err);
	if (r == 0 && config->listen)
		r = open_remote(api, event, err);
	if (r == 0)
		*ret = TAKE_PTR(api);
	return r;
}

int weft_api_check_listen(const char *text)
{
	union weft_api_address a;

	return weft_api_parse_listen(text, &a);
}

static int load(const struct weft_api_config *c, struct weft_api_tls **ret_tls,
	struct weft_tokens **ret_tokens, struct weft_err *err)
{
	_cleanup_(weft_api_tls_unrefp) struct weft_api_tls *tls = NULL;
	int r = 0;

	if (c->listen)
		r = weft_api_tls_load(c->tls_cert, c->tls_key, &tls, err);
	if (r == 0 && c->tokens)
		r = weft_tokens_load(c->tokens, ret_tokens, err);
	if (r == 0)
		*ret_tls = TAKE_PTR(tls);
	return r;
}

int weft_api_check(const struct weft_api_config *config, struct weft_err *err)
{
	_cleanup_(weft_api_tls_unrefp) struct weft_api_tls *tls = NULL;
	_cleanup_(weft_tokens_freep) struct weft_tokens *tokens = NULL;

	return load(config, &tls, &tokens, err);
}

/* What it goes on with ends, unless its token still allows it. true: other connections may be gone
 * with that. */
static bool check_again(struct listener *l, struct weft_api_peer *p)
{
	struct weft_api *api = l->api;
	struct body *b = p->request;
	struct weft_err err = {0};
	struct weft_api_who who;

	if (!b || b->use == WEFT_API_SHORT || b->revoked)
		return false;
	who_asks(l, p->connection, &who);
	if (who.role >= b->needs)
		return false;
	b->revoked = true;
	weft_err_set(&err, who.role == WEFT_API_NOBODY ? EKEYREJECTED : EACCES,
		"the token that this began with does not allow it any more");
	weft_err_hint(&err, "use a token with the role %s", weft_api_role_name(b->needs));
	log_info("api: what %s was doing is ended: its token does not allow it any more", who.text);
	if (b->pipe) {
		weft_api_pipe_cut(b->pipe);
		return true;
	}
	if (b->later)
		weft_api_later_end(b->later, &err);
	else
		weft_api_streams_revoke(api->streams, p->connection, &err);
	return false;
}

static void check_all_again(struct weft_api *api)
{
	for (int i = 0; i < LISTENERS; i++) {
		struct listener *l = &api->listeners[i];
		struct weft_api_peer *p = l->peers.first;

		while (p)
			p = check_again(l, p) ? l->peers.first : p->next;
	}
}

int weft_api_reload(struct weft_api *api, struct weft_err *err)
{
	struct weft_api_tls *tls = NULL;
	struct weft_tokens *tokens = NULL;
	int r = load(&api->config, &tls, &tokens, err);

	if (r < 0)
		return r;
	weft_tokens_free(api->tokens);
	api->tokens = tokens;
	weft_api_tls_unref(api->tls);
	api->tls = tls;
	check_all_again(api);
	return 0;
}

void weft_api_free(struct weft_api *api)
{
	if (!api)
		return;
	sd_event_source_disable_unref(api->post);
	sd_event_source_disable_unref(api->timer);
	sd_event_source_disable_unref(api->look);
	for (int i = 0; i < LISTENERS; i++)
		sd_event_source_disable_unref(api->listeners[i].io);
	if (api->streams)
		weft_api_streams_end(api->streams);
	if (api->laters)
		weft_api_laters_end(api->laters);
	weft_api_pipes_end(&api->pipes);
	run_all(api);
	for (int i = 0; i < LISTENERS; i++)
		if (api->listeners[i].mhd)
			MHD_stop_daemon(api->listeners[i].mhd);
	weft_api_streams_free(api->streams);
	weft_api_laters_free(api->laters);
	if (api->bound)
		unlink(api->config.socket);
	weft_tokens_free(api->tokens);
	weft_api_tls_unref(api->tls);
	free(api);
}
