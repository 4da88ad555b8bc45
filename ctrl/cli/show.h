/* SPDX-License-Identifier: Apache-2.0 */
/* Commands that get a resource and show it: once, or again and again with --watch. */
#ifndef WEFT_CLI_SHOW_H
#define WEFT_CLI_SHOW_H

#include <stdbool.h>

#include "ctrl/cli/client.h"

/* Write the document for people (-o table and wide). */
typedef int (*cli_render_t)(const struct cli *cli, const json_t *doc);

struct cli_view {
	const char *path;
	const char *name_key; /* of the object or of each item, for -o name */
	cli_render_t render;
	const char *empty; /* talk when there are no items, or NULL */

	/* Which items are shown at all, but for -o json; NULL: all. */
	bool (*keep)(const struct cli *cli, const json_t *item);
	/* Counters of an item, and the keys that together tell it from the others; both end with
	 * NULL. While watching, what a counter has grown by in a second is put beside it, as
	 * "KEY/s", for columns with CLI_COL_RATE. */
	const char *const *rates, *const *identity;
};

int cli_show(struct cli *cli, const struct cli_view *view, struct weft_err *err);

/* The body as it came; a newline is added on a terminal only, or where documents follow another. */
void cli_put_body(const struct cli *cli, const struct cli_reply *reply, bool more);
/* The key of the object, or of each of its items, a line each. */
void cli_put_names(const struct cli *cli, const json_t *doc, const char *key);
/* What was done to the object that the command names: "peer b: removed" for people, the answer for
 * -o json, the answer's key for -o name. what may be NULL: out of memory. */
int cli_put_done(const struct cli *cli, const struct cli_reply *reply, const char *noun,
	const char *key, const char *what);

/* diff.c: an element of "changes": "memory 100 -> 200", or NULL. */
char *cli_fmt_change(const struct cli *cli, const json_t *change);
/* service.c: and say so; with --wait once it is gone. more: others may follow. */
int cli_delete_service(struct cli *cli, const char *name, bool more, struct weft_err *err);

/* one() for each of the names that the command was given. Each is tried; the first failure decides
 * the exit status, unless others went well. */
typedef int (*cli_one_t)(
	struct cli *cli, const char *name, const void *userdata, struct weft_err *err);
int cli_each(struct cli *cli, const char *noun, cli_one_t one, const void *userdata,
	struct weft_err *err);

#endif
