/* SPDX-License-Identifier: Apache-2.0 */
#include "loadgen/target.h"

#include <curl/curl.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <string.h>

#include "ctrl/base/util.h"
#include "loadgen/protocol.h"

static void curl_freep(char **s)
{
	curl_free(*s);
}

static void curl_url_freep(CURLU **u)
{
	curl_url_cleanup(*u);
}

static void addrinfo_freep(struct addrinfo **a)
{
	if (*a)
		freeaddrinfo(*a);
}

void load_target_free(struct load_target *t)
{
	if (!t)
		return;
	free(t->authority);
	free(t->path);
	free(t);
}

/* Wait for a connection to come about. 0 or a negative errno. */
static int probe(const struct addrinfo *a, uint64_t timeout_ns)
{
	_cleanup_(closep) int fd = -1;
	uint64_t end = weft_now_ns() + timeout_ns;
	socklen_t len = sizeof(int);
	int error = 0;

	fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, a->ai_addr, a->ai_addrlen) == 0)
		return 0;
	if (errno != EINPROGRESS)
		return -errno;
	for (;;) {
		struct pollfd p = {.fd = fd, .events = POLLOUT};
		uint64_t now = weft_now_ns();
		int n;

		if (now >= end)
			return -ETIMEDOUT;
		n = poll(&p, 1, (int)((end - now) / 1000000 + 1));
		if (n > 0)
			break;
		if (n < 0 && errno != EINTR)
			return -errno;
	}
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
		return -errno;
	return -error;
}

static int resolve(struct load_target *t, const char *url, const char *host, const char *port,
	uint64_t timeout_ns, struct weft_err *err)
{
	_cleanup_(addrinfo_freep) struct addrinfo *list = NULL;
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
	int r;

	r = getaddrinfo(host, port, &hints, &list);
	if (r != 0) {
		weft_err_set(err, ENOENT, "%s: host %s: %s", url, host, gai_strerror(r));
		return weft_err_hint(err, "is the name right? an address works without a resolver");
	}
	for (struct addrinfo *a = list; a; a = a->ai_next) {
		r = probe(a, timeout_ns);
		if (r == 0) {
			memcpy(&t->address, a->ai_addr, a->ai_addrlen);
			t->address_len = a->ai_addrlen;
			return 0;
		}
	}
	weft_err_set(err, ECONNREFUSED, "%s: cannot connect: %s", url, strerror(-r));
	return weft_err_hint(err, "is the service up? try: curl -v %s", url);
}

static int bad_url(struct weft_err *err, const char *url, const char *why)
{
	weft_err_set(err, EINVAL, "URL %s: %s", url, why);
	return weft_err_hint(err, "give it as http://10.30.0.2:80/path");
}

/* Host, port and path of the URL to the target; host and port to the caller too. */
static int take_apart(const char *url, CURLU *u, struct load_target *t, char **ret_host,
	char **ret_port, struct weft_err *err)
{
	_cleanup_(curl_freep) char *scheme = NULL, *host = NULL, *port = NULL, *path = NULL;
	_cleanup_(curl_freep) char *query = NULL, *user = NULL;
	CURLUcode c;

	c = curl_url_set(u, CURLUPART_URL, url, CURLU_NON_SUPPORT_SCHEME);
	if (c != CURLUE_OK)
		return bad_url(err, url, curl_url_strerror(c));
	if (curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK)
		return bad_url(err, url, "no protocol");
	t->protocol = load_protocol_find(scheme);
	if (!t->protocol)
		return bad_url(err, url, "unknown protocol");
	if (curl_url_get(u, CURLUPART_USER, &user, 0) == CURLUE_OK)
		return bad_url(err, url, "a user name is not supported");
	if (curl_url_get(u, CURLUPART_HOST, &host, 0) != CURLUE_OK || !*host)
		return bad_url(err, url, "no host");
	curl_url_get(u, CURLUPART_PORT, &port, 0);
	curl_url_get(u, CURLUPART_PATH, &path, 0);
	curl_url_get(u, CURLUPART_QUERY, &query, 0);

	if (port && strcmp(port, t->protocol->port) != 0)
		t->authority = weft_strf("%s:%s", host, port);
	else
		t->authority = strdup(host);
	t->path = weft_strf("%s%s%s", path ? path : "/", query ? "?" : "", query ? query : "");
	/* The resolver wants an IPv6 address without its brackets. */
	if (host[0] == '[' && host[strlen(host) - 1] == ']')
		*ret_host = strndup(host + 1, strlen(host) - 2);
	else
		*ret_host = strdup(host);
	*ret_port = strdup(port ? port : t->protocol->port);
	return t->authority && t->path && *ret_host && *ret_port ? 0 : -ENOMEM;
}

int load_target_open(
	const char *url, uint64_t timeout_ns, struct load_target **ret, struct weft_err *err)
{
	_cleanup_(load_target_freep) struct load_target *t = calloc(1, sizeof(*t));
	_cleanup_(curl_url_freep) CURLU *u = curl_url();
	_cleanup_(freep) char *host = NULL, *port = NULL;
	int r = -ENOMEM;

	if (t && u)
		r = take_apart(url, u, t, &host, &port, err);
	if (r == 0)
		r = resolve(t, url, host, port, timeout_ns, err);
	if (r == -ENOMEM) /* take_apart left no text */
		weft_err_set(err, ENOMEM, "URL %s: out of memory", url);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(t);
	return 0;
}
