/* SPDX-License-Identifier: Apache-2.0 */
#include "ctrl/cli/show.h"

#include <errno.h>
#include <string.h>

#include "ctrl/cli/follow.h"
#include "ctrl/cli/value.h"

#define REFRESH_MS 1000

void cli_put_body(const struct cli *cli, const struct cli_reply *reply, bool more)
{
	fwrite(reply->body, 1, reply->size, cli->io.out);
	if ((more || cli->tty) && (reply->size == 0 || reply->body[reply->size - 1] != '\n'))
		fputc('\n', cli->io.out);
}

static void put_name(const struct cli *cli, const json_t *obj, const char *key)
{
	_cleanup_(freep) char *clean = cli_clean(cli_str(obj, key, ""), cli->io.utf8);

	if (clean && *clean)
		fprintf(cli->io.out, "%s\n", clean);
}

void cli_put_names(const struct cli *cli, const json_t *doc, const char *key)
{
	const json_t *items = cli_items(doc), *item;
	size_t i;

	if (!json_is_array(items)) {
		put_name(cli, doc, key);
		return;
	}
	json_array_foreach ((json_t *)items, i, item)
		put_name(cli, item, key);
}

static int show_reply(
	struct cli *cli, const struct cli_view *view, const struct cli_reply *reply, bool first)
{
	if (cli->output == CLI_JSON) {
		cli_put_body(cli, reply, cli->watch);
		return 0;
	}
	if (cli->output == CLI_NAME) {
		cli_put_names(cli, reply->doc, view->name_key);
		return 0;
	}
	if (view->empty && first && json_array_size(cli_items(reply->doc)) == 0)
		cli_say(cli, "%s", view->empty);
	return view->render(cli, reply->doc);
}

int cli_show(struct cli *cli, const struct cli_view *view, struct weft_err *err)
{
	_cleanup_(cli_reply_done) struct cli_reply last = {0};

	if (!view->path)
		return -ENOMEM;
	for (;;) {
		_cleanup_(cli_reply_done) struct cli_reply reply = {0};
		bool first = !last.body;
		int r;

		r = cli->watch ? cli_get_patient(cli, view->path, &reply, err)
			       : cli_get(cli, view->path, &reply, err);
		if (r < 0)
			return r;
		if (cli->watch && cli->tty && cli->output != CLI_JSON)
			fputs(first ? "\033[2J\033[H" : "\033[H\033[J", cli->io.out);
		if (first || cli->tty || strcmp(last.body, reply.body) != 0) {
			r = show_reply(cli, view, &reply, first || cli->tty);
			if (r < 0)
				return r;
		}
		/* the reader of a pipe may be gone */
		if (!cli->watch || fflush(cli->io.out) != 0)
			return 0;
		if (cli_pause(cli, REFRESH_MS) < 0 || cli_expired(cli))
			return 0;
		cli_reply_done(&last);
		last = reply;
		reply = (struct cli_reply){0};
	}
}
