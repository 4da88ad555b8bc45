/* SPDX-License-Identifier: Apache-2.0 */
#include "ctrl/cli/show.h"

#include <errno.h>
#include <string.h>

#include "ctrl/base/util.h"
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

int cli_put_done(const struct cli *cli, const struct cli_reply *reply, const char *noun,
	const char *key, const char *what)
{
	_cleanup_(freep) char *line = NULL, *clean = NULL;

	if (cli->output == CLI_JSON) {
		cli_put_body(cli, reply, false);
		return 0;
	}
	if (cli->output == CLI_NAME) {
		cli_put_names(cli, reply->doc, key);
		return 0;
	}
	line = what ? weft_strf("%s %s: %s", noun, cli->args[0], what) : NULL;
	clean = line ? cli_clean(line, cli->io.utf8) : NULL;
	if (!clean)
		return -ENOMEM;
	fprintf(cli->io.out, "%s\n", clean);
	return 0;
}

int cli_each(struct cli *cli, const char *noun, cli_one_t one, const void *userdata,
	struct weft_err *err)
{
	size_t failed = 0;
	int first = 0;

	for (size_t i = 0; i < cli->n_args; i++) {
		int r = one(cli, cli->args[i], userdata, err);

		if (r == 0)
			continue;
		if (!err->code)
			weft_err_set(err, r, "%s %s: %s", noun, cli->args[i], strerror(-r));
		cli_say_error(cli, err);
		first = failed++ ? first : weft_err_exit(err->code);
		*err = (struct weft_err){0};
	}
	return failed && failed < cli->n_args ? CLI_EXIT_PARTLY : first;
}

/* --- what is shown of an answer ------------------------------------------------------------------
 */

static bool same_item(const json_t *a, const json_t *b, const char *const *identity)
{
	for (; *identity; identity++)
		if (!json_equal(json_object_get(a, *identity), json_object_get(b, *identity)))
			return false;
	return true;
}

static const json_t *find_item(const json_t *items, const json_t *item, const char *const *identity)
{
	const json_t *other;
	size_t i;

	json_array_foreach ((json_t *)items, i, other)
		if (same_item(other, item, identity))
			return other;
	return NULL;
}

/* A counter that has fallen has begun anew: what it has grown by is not known. */
static void add_rates(
	const struct cli_view *view, json_t *item, const json_t *before, uint64_t passed_ns)
{
	for (const char *const *key = view->rates; *key; key++) {
		uint64_t now = cli_u64(item, *key), then = cli_u64(before, *key);
		_cleanup_(freep) char *name = weft_strf("%s/s", *key);

		if (name && !cli_is_null(item, *key) && !cli_is_null(before, *key) && now >= then)
			json_object_set_new(item, name,
				json_real((double)(now - then) * 1e9 / (double)passed_ns));
	}
}

struct look {
	struct cli_reply reply;
	uint64_t at_ns;
};

static void look_done(struct look *l)
{
	cli_reply_done(&l->reply);
}

/* The document with the items that are wanted, and with rates where there is something before. */
static json_t *prepare(const struct cli *cli, const struct cli_view *view, const struct look *now,
	const struct look *before)
{
	const json_t *old = cli_items(before->reply.doc), *item;
	json_t *doc = json_copy(now->reply.doc), *kept = json_array();
	size_t i;

	json_array_foreach ((json_t *)cli_items(doc), i, item) {
		const json_t *prior;

		if (view->keep && !view->keep(cli, item))
			continue;
		json_array_append_new(kept, json_copy((json_t *)item));
		prior = view->rates && old ? find_item(old, item, view->identity) : NULL;
		if (prior && now->at_ns > before->at_ns)
			add_rates(view, json_array_get(kept, json_array_size(kept) - 1), prior,
				now->at_ns - before->at_ns);
	}
	if (json_is_array(cli_items(doc)))
		json_object_set(doc, "items", kept);
	json_decref(kept);
	return doc;
}

static int show_look(struct cli *cli, const struct cli_view *view, const struct look *now,
	const struct look *before)
{
	bool first = !before->reply.body || cli->tty;
	json_auto_t *doc = NULL;

	if (cli->output == CLI_JSON) {
		cli_put_body(cli, &now->reply, cli->watch);
		return 0;
	}
	doc = prepare(cli, view, now, before);
	if (!doc)
		return -ENOMEM;
	if (cli->output == CLI_NAME) {
		cli_put_names(cli, doc, view->name_key);
		return 0;
	}
	/* An empty page is not the end of it. */
	if (view->empty && first && json_array_size(cli_items(doc)) == 0 &&
		cli_is_null(doc, "next"))
		cli_say(cli, "%s", view->empty);
	return view->render(cli, doc);
}

int cli_show(struct cli *cli, const struct cli_view *view, struct weft_err *err)
{
	_cleanup_(look_done) struct look last = {0};

	if (!view->path)
		return -ENOMEM;
	for (;;) {
		_cleanup_(look_done) struct look now = {0};
		int r;

		r = cli->watch ? cli_get_patient(cli, view->path, &now.reply, err)
			       : cli_get(cli, view->path, &now.reply, err);
		if (r < 0)
			return r;
		now.at_ns = weft_now_ns();
		if (cli->watch && cli->tty && cli->output != CLI_JSON)
			fputs(last.reply.body ? "\033[H\033[J" : "\033[2J\033[H", cli->io.out);
		if (!last.reply.body || cli->tty || strcmp(last.reply.body, now.reply.body) != 0) {
			r = show_look(cli, view, &now, &last);
			if (r < 0)
				return r;
		}
		/* the reader of a pipe may be gone */
		if (!cli->watch || fflush(cli->io.out) != 0)
			return 0;
		if (cli_pause(cli, REFRESH_MS) < 0 || cli_expired(cli))
			return 0;
		look_done(&last);
		last = now;
		now = (struct look){0};
	}
}
