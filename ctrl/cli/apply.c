/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "ctrl/base/util.h"
#include "ctrl/cli/descriptor.h"
#include "ctrl/cli/follow.h"
#include "ctrl/cli/show.h"
#include "ctrl/cli/value.h"

#define WAIT_MS (5 * 60 * 1000)

/* "memory 100 → 200, replicas 2 → 5"; "" when nothing is said. */
static char *changes_text(const struct cli *cli, const json_t *item)
{
	const json_t *change;
	char *text = strdup("");
	size_t i;

	json_array_foreach (json_object_get(item, "changes"), i, change) {
		_cleanup_(freep) char *one = cli_fmt_change(cli, change);
		char *more = text && one ? weft_strf("%s%s%s", text, *text ? ", " : "", one) : NULL;

		free(text);
		text = more;
	}
	return text;
}

static void put_items(struct cli *cli, const json_t *doc, json_t *names)
{
	const json_t *item;
	size_t i;

	json_array_foreach ((json_t *)cli_items(doc), i, item) {
		const char *name = cli_str(item, "name", NULL);
		_cleanup_(freep) char *clean = name ? cli_clean(name, cli->io.utf8) : NULL;
		_cleanup_(freep) char *action =
			cli_clean(cli_str(item, "action", "applied"), false);
		_cleanup_(freep) char *changes = changes_text(cli, item);

		if (!clean || !action || !changes)
			continue;
		json_array_append(names, json_object_get(item, "name"));
		if (cli->output == CLI_NAME)
			fprintf(cli->io.out, "%s\n", clean);
		else if (cli->output != CLI_JSON)
			fprintf(cli->io.out, "service %s: %s%s%s\n", clean, action,
				*changes ? ": " : "", changes);
	}
	fflush(cli->io.out);
}

/* Whoever wrote them may count on them. */
static void warn_ignored(struct cli *cli, const char *file, const json_t *doc)
{
	const json_t *key;
	size_t i;

	json_array_foreach (json_object_get(doc, "ignored"), i, key) {
		const char *text = json_string_value(key);
		_cleanup_(freep) char *clean = text ? cli_clean(text, cli->io.utf8) : NULL;

		if (clean)
			cli_say(cli, "warning: %s: %s: has no effect here", file, clean);
	}
}

static int apply_one(struct cli *cli, const char *shown, const char *body, size_t size, bool more,
	void *userdata, struct weft_err *err)
{
	_cleanup_(cli_reply_done) struct cli_reply reply = {0};
	_cleanup_(freep) char *path = cli_path("/v1/apply?file=", shown, "");
	int r = path ? cli_call(cli, "POST", path, body, size, &reply, err) : -ENOMEM;

	if (r < 0)
		return r;
	if (cli->output == CLI_JSON)
		cli_put_body(cli, &reply, more);
	put_items(cli, reply.doc, userdata);
	warn_ignored(cli, shown, reply.doc);
	return 0;
}

struct waited {
	const char *name;
	char *detail, *hint; /* why it does not run yet, when last asked */
};

static int is_up(
	struct cli *cli, const struct cli_reply *reply, void *userdata, struct weft_err *err)
{
	const char *phase = reply ? cli_str(reply->doc, "phase", "") : "";
	struct waited *w = userdata;

	(void)cli;
	if (!reply)
		return weft_err_set(err, ENOENT, "service %s: deleted meanwhile", w->name);
	if (strcmp(phase, "running") == 0)
		return 1;
	if (strcmp(phase, "failed") != 0 && strcmp(phase, "deleting") != 0) {
		free(w->detail);
		free(w->hint);
		w->detail = strdup(cli_str(reply->doc, "detail", ""));
		w->hint = strdup(cli_str(reply->doc, "hint", ""));
		return 0;
	}
	weft_err_set(err, EIO, "service %s: %s: %s", w->name, phase,
		cli_str(reply->doc, "detail", "no reason is given"));
	if (*cli_str(reply->doc, "hint", ""))
		return weft_err_hint(err, "%s", cli_str(reply->doc, "hint", ""));
	return weft_err_hint(err, "weft service show %s, weft instance list", w->name);
}

static void wait_for(
	struct cli *cli, const char *name, struct cli_outcome *outcome, struct weft_err *err)
{
	_cleanup_(freep) char *path = cli_path("/v1/services/", name, "");
	struct waited w = {.name = name};
	int r = path ? cli_wait(cli, path, WAIT_MS, is_up, &w, err) : -ENOMEM;

	if (r == -ETIMEDOUT) {
		/* The detail names its object: the service or one of its instances. */
		if (w.detail && *w.detail)
			weft_err_set(
				err, r, "does not run yet: %s; the deployment goes on", w.detail);
		else
			weft_err_set(err, r, "service %s: does not run yet; the deployment goes on",
				name);
		if (w.hint && *w.hint)
			weft_err_hint(err, "%s", w.hint);
		else
			weft_err_hint(err, "weft service show %s", name);
	}
	free(w.detail);
	free(w.hint);
	if (r < 0) {
		cli_note_failure(cli, outcome, r, err);
		return;
	}
	outcome->done++;
	if (cli->output == CLI_TABLE || cli->output == CLI_WIDE)
		fprintf(cli->io.out, "service %s: running\n", name);
}

int cli_cmd_apply(struct cli *cli, struct weft_err *err)
{
	json_auto_t *names = json_array();
	struct cli_outcome outcome = {0};
	const json_t *name;
	size_t i;
	int r = cli_each_descriptor(cli, "apply", apply_one, names, &outcome, err);

	if (r < 0)
		return r;
	if (cli->wait) {
		outcome.done = 0;
		json_array_foreach (names, i, name)
			wait_for(cli, json_string_value(name), &outcome, err);
	}
	return cli_exit_status(&outcome);
}
