/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP GET (the process has to ignore SIGPIPE) on the caller's sd-event loop, by libcurl without
 * threads: host names are looked up by a short-lived child (resolve.c). Redirects are followed
 * here, so that what proves who we are goes to the origin it is meant for and to nobody else. */
#ifndef WEFT_RUNTIMES_REGISTRY_HTTP_H
#define WEFT_RUNTIMES_REGISTRY_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/err.h"

struct weft_http;
struct weft_http_call;

/* On failure *ret is untouched. event is referenced until free(). */
int weft_http_new(sd_event *event, struct weft_http **ret);
/* Cancels all calls. Not from within a callback. NULL is fine. */
void weft_http_free(struct weft_http *http);
WEFT_DEFINE_CLEANUP(struct weft_http *, weft_http_free);
sd_event *weft_http_event(const struct weft_http *http); /* its loop, not referenced */

struct weft_http_head {
	int status;
	char content_type[128];
	char digest[96]; /* Docker-Content-Digest */
	char etag[256];  /* ETag, with its quotation marks */
	char last_modified[64];
	char authenticate[4096]; /* WWW-Authenticate; several are joined by ", " */
	uint64_t length;         /* of the body, UINT64_MAX: not said */
	uint64_t range_start;    /* 206: where it begins, UINT64_MAX: not said */
	uint64_t range_of;       /* 206: of so many bytes in all, UINT64_MAX: not said */
	unsigned retry_after_s;  /* 0: not said */
};

struct weft_http_result {
	int r; /* 0: an answer came, whole as far as one can tell; else a negative errno, err says
		  why */
	struct weft_err err;
	bool transient; /* another try may do better */
	const struct weft_http_head *head;
};

/* A piece of the body of a 2xx answer: 0, -EAGAIN to have it again after weft_http_continue(), any
 * other errno to end the call with. May neither cancel nor free. */
typedef int (*weft_http_data_t)(
	void *userdata, const struct weft_http_head *head, const char *data, size_t size);
/* Once, from the loop, with the call gone. */
typedef void (*weft_http_done_t)(void *userdata, const struct weft_http_result *result);

struct weft_http_request {
	const char *url;
	const char *const
		*headers; /* "Accept: ...", NULL-terminated; NULL: none. To every origin */
	const char
		*authorization; /* the header's value, to the URL's own origin alone; NULL: none */
	const char *ca;         /* file of certificates trusted beside the system's; NULL */
	bool plain;             /* http: is allowed, also for redirects */
	uint64_t offset;        /* ask for what follows that many bytes */
	weft_http_data_t data;
	weft_http_done_t done;
	void *userdata;
};

/* -ENOMEM, or 0 and then `done` comes unless it is cancelled. Strings are copied. */
int weft_http_get(struct weft_http *http, const struct weft_http_request *request,
	struct weft_http_call **ret);
void weft_http_continue(struct weft_http_call *call);
void weft_http_cancel(struct weft_http_call *call); /* NULL is fine */

/* --- resolve.c: addresses of a host -------------------------------------------------------------
 */

struct weft_resolve;
/* addresses: "192.0.2.1,[2001:db8::1]", as CURLOPT_RESOLVE has them; NULL: none, and why. Once,
 * from the loop; may free it. */
typedef void (*weft_resolved_t)(void *userdata, const char *addresses, const char *why);
int weft_resolve(sd_event *event, const char *host, weft_resolved_t done, void *userdata,
	struct weft_resolve **ret);
void weft_resolve_free(struct weft_resolve *r); /* NULL is fine */

/* What getent says, as above; -ENOENT: no address in it (exposed for the fuzzer). */
int weft_resolve_parse(const char *output, char *ret, size_t size);

/* Is host an address already? */
bool weft_resolve_is_address(const char *host);

/* --- http_head.c: headers -----------------------------------------------------------------------
 */

/* Take note of one line, with its line end; a status line begins anew. */
void weft_http_head_line(struct weft_http_head *head, const char *line, size_t size);

#endif
