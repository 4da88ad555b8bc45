/* SPDX-License-Identifier: Apache-2.0 */
/* The API over the daemon's socket, or over TLS. */
#ifndef WEFT_CLI_CLIENT_H
#define WEFT_CLI_CLIENT_H

#include <jansson.h>
#include <stddef.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/cli/cli.h"

struct cli_reply {
	long status; /* HTTP */
	char *body;  /* NUL-terminated, as it came */
	size_t size;
	json_t *doc; /* NULL for an answer that is not JSON by its Content-Type */
};

void cli_reply_done(struct cli_reply *r); /* frees what it holds; {0} is fine */

/* One request. A refusal (HTTP status 300 and above) is an error with the daemon's text and the
 * errno of its code. No answer is -ECONNREFUSED (-ETIMEDOUT when it takes too long, -EINTR when ^C
 * came while following) with cli->unanswered set; an answer that is no HTTP or no JSON object is
 * -EPROTO. body may be NULL. */
int cli_call(struct cli *cli, const char *method, const char *path, const char *body, size_t size,
	struct cli_reply *ret, struct weft_err *err);
int cli_get(struct cli *cli, const char *path, struct cli_reply *ret, struct weft_err *err);

/* An answer that goes on, for so many seconds: line is called with each line of it, without its
 * newline, and ends it by a negative errno, which is returned then. Errors are those of
 * cli_call(); 0 when the stream has ended. */
typedef int (*cli_line_t)(void *userdata, const char *line);
int cli_stream(struct cli *cli, const char *path, unsigned seconds, cli_line_t line, void *userdata,
	struct weft_err *err);

/* The API's {"code", "message", "hint"}. Returns -err->code. */
int cli_explain_error(const json_t *error, struct weft_err *err);

/* prefix + name, percent-encoded, + suffix. NULL when out of memory. */
char *cli_path(const char *prefix, const char *name, const char *suffix);

/* -H: "unix:PATH" or "https://HOST:PORT", which cli points into then. */
int cli_parse_host(const char *host, struct cli *cli, struct weft_err *err);

#endif
