/* SPDX-License-Identifier: Apache-2.0 */
#include "ctrl/cli/client.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "ctrl/base/util.h"
#include "ctrl/cli/value.h"

#define LAST_LOOK_MS 250

#define TOKEN_FILE_MAX 65536
#define ANSWER_MAX     (64u << 20)
#define ANSWER_MS      30000 /* time for one answer when --timeout does not say */
#define FOLLOWED_MS    5000  /* the same while following, where the next try is near */
#define LATE_MS        15000 /* a stream that should have ended so long ago hangs */

struct sink {
	char *data;
	size_t size, room;
	bool too_large;

	/* a stream: each line is handed on as it comes */
	CURL *curl;
	cli_line_t line;
	void *userdata;
	int r; /* of line(): negative ends it */
};

void cli_reply_done(struct cli_reply *r)
{
	free(r->body);
	json_decref(r->doc);
	*r = (struct cli_reply){0};
}

int cli_parse_host(const char *host, struct cli *cli, struct weft_err *err)
{
	struct sockaddr_un un;

	if (strncmp(host, "https://", 8) == 0 && host[8] && !strpbrk(host + 8, "/?#@ ")) {
		cli->socket = cli->url = host;
		return 0;
	}
	if (strncmp(host, "unix:", 5) != 0 || !host[5]) {
		weft_err_set(
			err, EINVAL, "host \"%s\": neither unix:PATH nor https://HOST:PORT", host);
		return weft_err_hint(
			err, "weft -H " CLI_DEFAULT_HOST " ..., or the same in WEFT_HOST");
	}
	if (strlen(host + 5) >= sizeof(un.sun_path))
		return weft_err_set(err, EINVAL,
			"host \"%s\": a socket's path has at most %zu characters", host,
			sizeof(un.sun_path) - 1);
	cli->socket = host + 5;
	cli->url = NULL;
	return 0;
}

char *cli_path(const char *prefix, const char *name, const char *suffix)
{
	char *escaped = curl_easy_escape(NULL, name, 0);
	char *path = escaped ? weft_strf("%s%s%s", prefix, escaped, suffix) : NULL;

	curl_free(escaped);
	return path;
}

/* The whole lines of what has come so far. A refusal is no stream: its body is kept. */
static size_t hand_on(struct sink *k, size_t n)
{
	char *start = k->data, *end;
	long status = 0;

	curl_easy_getinfo(k->curl, CURLINFO_RESPONSE_CODE, &status);
	if (status >= 300)
		return n;
	while ((end = memchr(start, '\n', (size_t)(k->data + k->size - start)))) {
		*end = '\0';
		k->r = *start ? k->line(k->userdata, start) : 0; /* empty: it is still there */
		if (k->r < 0)
			return 0;
		start = end + 1;
	}
	k->size -= (size_t)(start - k->data);
	memmove(k->data, start, k->size + 1);
	return n;
}

static size_t on_data(char *data, size_t one, size_t n, void *userdata)
{
	struct sink *k = userdata;

	if (n > ANSWER_MAX - k->size) {
		k->too_large = true;
		return 0;
	}
	if (k->size + n + 1 > k->room) {
		size_t room = (k->size + n + 1) * 2;
		char *p = realloc(k->data, room);

		if (!p)
			return 0;
		k->data = p;
		k->room = room;
	}
	memcpy(k->data + k->size, data, n * one);
	k->size += n;
	k->data[k->size] = '\0';
	return k->line ? hand_on(k, n) : n;
}

/* Called by libcurl at least once a second: ^C ends a request that hangs. */
static int on_progress(void *userdata, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
	const struct cli *cli = userdata;
	struct pollfd p = {.fd = cli->signal_fd, .events = POLLIN};

	(void)a, (void)b, (void)c, (void)d;
	return poll(&p, 1, 0) > 0;
}

static uint64_t time_left(const struct cli *cli)
{
	uint64_t now = weft_now_ns();

	return cli->deadline_ns > now ? (cli->deadline_ns - now) / 1000000 + 1 : 1;
}

static uint64_t time_for_answer(const struct cli *cli)
{
	uint64_t limit = cli->signal_fd >= 0 ? FOLLOWED_MS : ANSWER_MS, left;

	if (!cli->deadline_ns)
		return limit;
	left = time_left(cli);
	/* A last look at the end says why it is not done. */
	if (left < LAST_LOOK_MS)
		left = LAST_LOOK_MS;
	return cli->signal_fd >= 0 && left > limit ? limit : left;
}

/* A stream lasts as long as was asked for, and ends at --timeout at the latest. */
static uint64_t time_for_stream(const struct cli *cli, unsigned seconds)
{
	uint64_t limit = seconds * 1000ULL + LATE_MS, left = limit;

	if (cli->deadline_ns)
		left = time_left(cli);
	return left < limit ? left : limit;
}

/* Why nobody could be reached, and what to do about it. All of it is exit status 6. */
static int explain_connect(const struct cli *cli, long why, struct weft_err *err)
{
	if (cli->url) {
		weft_err_set(err, ECONNREFUSED, "cannot reach weftd at %s: %s", cli->socket,
			why ? strerror((int)why) : "connecting failed");
		return weft_err_hint(err, "does it run with --listen, and at that address?");
	}
	if (why == ENOENT) {
		weft_err_set(err, ECONNREFUSED, "cannot reach weftd at %s: there is no such socket",
			cli->socket);
		return weft_err_hint(err, "start it: sudo weftd --role=all; or say where it "
					  "listens: -H unix:PATH or WEFT_HOST");
	}
	if (why == ECONNREFUSED) {
		weft_err_set(err, ECONNREFUSED,
			"cannot reach weftd at %s: nobody listens there, the daemon has ended",
			cli->socket);
		return weft_err_hint(err, "start it again: sudo weftd --role=all; instances and "
					  "traffic went on meanwhile");
	}
	if (why == EACCES || why == EPERM) {
		weft_err_set(err, ECONNREFUSED, "cannot reach weftd at %s: permission denied",
			cli->socket);
		return weft_err_hint(err, "run weft as root: sudo weft ...");
	}
	weft_err_set(err, ECONNREFUSED, "cannot reach weftd at %s: %s", cli->socket,
		why ? strerror((int)why) : "connecting failed");
	return weft_err_hint(err, "weft doctor");
}

/* The daemon has ended or was restarted; a trace ends so, too, whose token was taken back. What
 * only asks may be asked again; of what was to change something nobody knows whether it was done.
 */
static int explain_cut(struct cli *cli, struct weft_err *err)
{
	cli->unanswered = true;
	weft_err_set(err, ECONNREFUSED,
		"weftd at %s closed the connection before its answer was complete", cli->socket);
	if (cli->asks)
		return weft_err_hint(err,
			"it has ended or was restarted%s: when weft status answers, say it again: "
			"weft %s%s%s",
			cli->token ? ", or took the token back" : "", cli->command->words,
			cli->n_args ? " " : "", cli->n_args ? cli->args[0] : "");
	return weft_err_hint(err,
		"it has ended or was restarted, and may have done it: look with weft "
		"status and weft events before you say it again");
}

static int explain_tls(struct cli *cli, CURLcode c, struct weft_err *err)
{
	cli->unanswered = false;
	if (c == CURLE_SSL_CACERT_BADFILE) {
		weft_err_set(err, EIO, "the certificates of --ca %s cannot be read", cli->ca);
		return weft_err_hint(err, "a file in PEM");
	}
	if (c == CURLE_SSL_CONNECT_ERROR) {
		weft_err_set(err, EPROTO, "what listens at %s does not speak TLS as weftd does",
			cli->socket);
		return weft_err_hint(err, "is that the address of weftd's --listen?");
	}
	weft_err_set(err, EACCES, "the certificate of weftd at %s is not trusted: %s", cli->socket,
		cli->why[0] ? cli->why : curl_easy_strerror(c));
	return weft_err_hint(err, "--ca FILE names who signed it");
}

static int explain_transport(struct cli *cli, CURLcode c, bool too_large, struct weft_err *err)
{
	long why = 0;

	if (too_large)
		return weft_err_set(err, EPROTO, "weftd at %s: the answer is larger than %u MiB",
			cli->socket, ANSWER_MAX >> 20);
	cli->unanswered = true;
	switch (c) {
	case CURLE_ABORTED_BY_CALLBACK:
		return weft_err_set(err, EINTR, "interrupted");
	case CURLE_COULDNT_CONNECT:
		curl_easy_getinfo(cli->curl, CURLINFO_OS_ERRNO, &why);
		return explain_connect(cli, why, err);
	case CURLE_OPERATION_TIMEDOUT:
		weft_err_set(err, ETIMEDOUT, "weftd at %s did not answer in time", cli->socket);
		return weft_err_hint(err, "give it more with --timeout S, and look at weftd's log");
	case CURLE_COULDNT_RESOLVE_HOST:
		weft_err_set(err, ECONNREFUSED, "cannot reach weftd at %s: there is no such host",
			cli->socket);
		return weft_err_hint(err, "is the name right? see -H and WEFT_HOST");
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CONNECT_ERROR:
		return explain_tls(cli, c, err);
	case CURLE_GOT_NOTHING:
	case CURLE_PARTIAL_FILE:
	case CURLE_RECV_ERROR:
	case CURLE_SEND_ERROR:
		return explain_cut(cli, err);
	case CURLE_UNSUPPORTED_PROTOCOL:
	case CURLE_WEIRD_SERVER_REPLY:
	case CURLE_HTTP2:
		cli->unanswered = false;
		weft_err_set(err, EPROTO, "what listens at %s does not speak HTTP", cli->socket);
		return weft_err_hint(err, "is that weftd's socket? see -H and WEFT_HOST");
	default:
		return weft_err_set(
			err, EIO, "weftd at %s: %s", cli->socket, curl_easy_strerror(c));
	}
}

static int code_of_status(long status)
{
	switch (status) {
	case 400:
		return EINVAL;
	case 401:
		return EKEYREJECTED;
	case 403:
		return EACCES;
	case 404:
		return ENOENT;
	case 409:
		return EBUSY;
	case 413:
		return E2BIG;
	case 503:
		return ECONNREFUSED;
	case 504:
		return ETIMEDOUT;
	default:
		return EIO;
	}
}

int cli_explain_error(const json_t *error, struct weft_err *err)
{
	int code = weft_err_from_word(cli_str(error, "code", ""));

	weft_err_set(err, code ? code : EIO, "%s", cli_str(error, "message", "it failed"));
	return weft_err_hint(err, "%s", cli_str(error, "hint", ""));
}

/* {"error": {"code", "message", "hint"}}, or whatever came instead. */
static int explain_refusal(const struct cli_reply *reply, struct weft_err *err)
{
	json_auto_t *doc = json_loadb(reply->body, reply->size, 0, NULL);
	const json_t *e = json_object_get(doc, "error");
	const char *message = cli_str(e, "message", NULL);
	int code = weft_err_from_word(cli_str(e, "code", ""));

	if (!code)
		code = code_of_status(reply->status);
	if (message)
		weft_err_set(err, code, "%s", message);
	else
		weft_err_set(err, code, "weftd answered HTTP %ld: %.200s", reply->status,
			reply->size ? reply->body : "nothing more");
	return weft_err_hint(err, "%s", cli_str(e, "hint", ""));
}

static int parse_body(struct cli *cli, struct cli_reply *reply, struct weft_err *err)
{
	const char *type = NULL;
	json_error_t je;

	curl_easy_getinfo(cli->curl, CURLINFO_CONTENT_TYPE, &type);
	if (type && strncasecmp(type, "text/plain", 10) == 0)
		return 0;
	/* libcurl takes a head that breaks off for a whole one without a body */
	if (!type && reply->size == 0)
		return explain_cut(cli, err);
	reply->doc = json_loadb(reply->body, reply->size, 0, &je);
	if (!json_is_object(reply->doc)) {
		weft_err_set(err, EPROTO, "weftd's answer is not %s",
			reply->doc ? "a JSON object" : "JSON");
		return weft_err_hint(err,
			"is %s weftd's socket? weft and weftd should be of one "
			"version (weft --version)",
			cli->socket);
	}
	return 0;
}

/* Whoever has read a token has its role, so it is not used as if nobody else had it. */
static int check_token_file(const struct cli *cli, struct weft_err *err)
{
	struct stat st;

	if (stat(cli->token_file, &st) < 0) {
		weft_err_set(err, errno, "token file %s: %s", cli->token_file, strerror(errno));
		return weft_err_hint(err, "--token-file FILE, or WEFT_TOKEN_FILE");
	}
	if (!S_ISREG(st.st_mode) || !(st.st_mode & 027))
		return 0;
	weft_err_set(err, EPERM, "token file %s: others could read or write it", cli->token_file);
	return weft_err_hint(err,
		"chmod 600 %s; if somebody may have read it, weft token new makes another token",
		cli->token_file);
}

/* The first line of the file. */
static int read_token(struct cli *cli, struct weft_err *err)
{
	char *text = NULL;
	int r = check_token_file(cli, err);

	if (r < 0)
		return r;
	r = weft_read_file(cli->token_file, TOKEN_FILE_MAX, &text, NULL);
	if (r < 0)
		return weft_err_set(err, r, "token file %s: %s", cli->token_file, strerror(-r));
	text[strcspn(text, "\r\n")] = '\0';
	for (const char *p = text; *p; p++)
		if (*p <= ' ' || *p > '~')
			*text = '\0';
	if (!*text) {
		free(text);
		weft_err_set(
			err, EINVAL, "token file %s: its first line is no token", cli->token_file);
		return weft_err_hint(err, "weft token new NAME --role ROLE makes one");
	}
	cli->token = text;
	return 0;
}

static int make_handle(struct cli *cli)
{
	if (!cli->curl)
		cli->curl = curl_easy_init();
	if (!cli->curl)
		return -ENOMEM;
	curl_easy_reset(cli->curl); /* keeps the connection */
	if (!cli->url)
		curl_easy_setopt(cli->curl, CURLOPT_UNIX_SOCKET_PATH, cli->socket);
	if (cli->ca)
		curl_easy_setopt(cli->curl, CURLOPT_CAINFO, cli->ca);
	cli->why[0] = '\0';
	curl_easy_setopt(cli->curl, CURLOPT_ERRORBUFFER, cli->why);
	curl_easy_setopt(cli->curl, CURLOPT_PROTOCOLS_STR, cli->url ? "https" : "http");
	curl_easy_setopt(cli->curl, CURLOPT_PROXY, "");
	curl_easy_setopt(cli->curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(cli->curl, CURLOPT_PATH_AS_IS, 1L);
	curl_easy_setopt(cli->curl, CURLOPT_USERAGENT, "weft/" WEFT_VERSION);
	curl_easy_setopt(cli->curl, CURLOPT_TIMEOUT_MS, (long)time_for_answer(cli));
	curl_easy_setopt(cli->curl, CURLOPT_WRITEFUNCTION, on_data);
	curl_easy_setopt(cli->curl, CURLOPT_NOPROGRESS, cli->signal_fd >= 0 ? 0L : 1L);
	curl_easy_setopt(cli->curl, CURLOPT_XFERINFOFUNCTION, on_progress);
	curl_easy_setopt(cli->curl, CURLOPT_XFERINFODATA, cli);
	return 0;
}

static int make_ready(struct cli *cli, struct weft_err *err)
{
	cli->unanswered = false;
	if (cli->token_file && !cli->token) {
		int r = read_token(cli, err);

		if (r < 0)
			return r;
	}
	return make_handle(cli) < 0 ? weft_err_set(err, ENOMEM, "out of memory") : 0;
}

static CURLcode perform(struct cli *cli, const char *method, const char *path, const char *body,
	size_t size, struct sink *sink)
{
	_cleanup_(freep) char *url =
		weft_strf("%s%s", cli->url ? cli->url : "http://localhost", path);
	struct curl_slist *headers = NULL;
	CURLcode c;

	cli->asks = strcmp(method, "GET") == 0;
	headers = curl_slist_append(NULL, "Expect:");
	if (cli->if_version != UINT64_MAX && strcmp(method, "GET") != 0) {
		char match[48];
		struct curl_slist *more;

		snprintf(match, sizeof(match), "If-Match: \"%" PRIu64 "\"", cli->if_version);
		more = curl_slist_append(headers, match);
		if (!more)
			curl_slist_free_all(headers);
		headers = more; /* without it the request would be another one */
	}
	if (!url || !headers) {
		curl_slist_free_all(headers);
		return CURLE_OUT_OF_MEMORY;
	}
	if (cli->token) {
		curl_easy_setopt(cli->curl, CURLOPT_HTTPAUTH, (long)CURLAUTH_BEARER);
		curl_easy_setopt(cli->curl, CURLOPT_XOAUTH2_BEARER, cli->token);
	}
	if (strcmp(method, "POST") == 0) {
		struct curl_slist *more =
			curl_slist_append(headers, "Content-Type: application/json");

		headers = more ? more : headers;
		curl_easy_setopt(cli->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)size);
		curl_easy_setopt(cli->curl, CURLOPT_POSTFIELDS, body ? body : "");
	} else if (strcmp(method, "GET") != 0) {
		curl_easy_setopt(cli->curl, CURLOPT_CUSTOMREQUEST, method);
	}
	curl_easy_setopt(cli->curl, CURLOPT_URL, url);
	curl_easy_setopt(cli->curl, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(cli->curl, CURLOPT_WRITEDATA, sink);
	c = curl_easy_perform(cli->curl);
	curl_easy_setopt(cli->curl, CURLOPT_HTTPHEADER, NULL);
	curl_slist_free_all(headers);
	return c;
}

int cli_call(struct cli *cli, const char *method, const char *path, const char *body, size_t size,
	struct cli_reply *ret, struct weft_err *err)
{
	_cleanup_(cli_reply_done) struct cli_reply reply = {0};
	struct sink sink = {0};
	CURLcode c;
	int r;

	int ready = make_ready(cli, err);

	if (ready < 0)
		return ready;
	c = perform(cli, method, path, body, size, &sink);
	reply.body = sink.data ? sink.data : strdup("");
	reply.size = sink.size;
	if (c != CURLE_OK)
		return explain_transport(cli, c, sink.too_large, err);
	if (!reply.body)
		return weft_err_set(err, ENOMEM, "out of memory");
	cli->contacted = true;
	curl_easy_getinfo(cli->curl, CURLINFO_RESPONSE_CODE, &reply.status);
	if (reply.status >= 300)
		return explain_refusal(&reply, err);
	r = parse_body(cli, &reply, err);
	if (r < 0)
		return r;
	*ret = reply;
	reply = (struct cli_reply){0};
	return 0;
}

int cli_stream(struct cli *cli, const char *path, unsigned seconds, cli_line_t line, void *userdata,
	struct weft_err *err)
{
	_cleanup_(cli_reply_done) struct cli_reply reply = {0};
	struct sink sink = {.line = line, .userdata = userdata};
	CURLcode c;

	int ready = make_ready(cli, err);

	if (ready < 0)
		return ready;
	curl_easy_setopt(cli->curl, CURLOPT_TIMEOUT_MS, (long)time_for_stream(cli, seconds));
	sink.curl = cli->curl;
	c = perform(cli, "GET", path, NULL, 0, &sink);
	reply.body = sink.data ? sink.data : strdup("");
	reply.size = sink.size;
	curl_easy_getinfo(cli->curl, CURLINFO_RESPONSE_CODE, &reply.status);
	cli->contacted |= reply.status > 0;
	cli->streamed = reply.status > 0 && reply.status < 300;
	if (sink.r < 0)
		return sink.r;
	if (c != CURLE_OK)
		return explain_transport(cli, c, sink.too_large, err);
	return reply.status >= 300 ? explain_refusal(&reply, err) : 0;
}

int cli_get(struct cli *cli, const char *path, struct cli_reply *ret, struct weft_err *err)
{
	return cli_call(cli, "GET", path, NULL, 0, ret, err);
}
