/* SPDX-License-Identifier: Apache-2.0 */
/* What has happened on the node, and what happens now. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "ctrl/base/util.h"
#include "ctrl/cli/follow.h"
#include "ctrl/cli/show.h"
#include "ctrl/cli/table.h"
#include "ctrl/cli/value.h"

#define FOLLOW_S 60 /* then asked for anew */

static char *cell_time(const struct cli *cli, const json_t *row, const char *key)
{
	uint64_t us = cli_u64(row, key);
	time_t s = (time_t)(us / 1000000);
	char text[32];
	struct tm tm;

	(void)cli;
	if (!us || !localtime_r(&s, &tm) || !strftime(text, sizeof(text), "%F %T", &tm))
		return strdup("-");
	return weft_strf("%s.%03u", text, (unsigned)(us / 1000 % 1000));
}

static char *cell_clock(const struct cli *cli, const json_t *row, const char *key)
{
	uint64_t us = cli_u64(row, key);

	(void)cli;
	return weft_strf("%" PRIu64 ".%06u", us / 1000000, (unsigned)(us % 1000000));
}

static int append_pair(char **text, const char *key, const json_t *value)
{
	json_auto_t *one = json_pack("{s:O}", "v", (json_t *)value);
	_cleanup_(freep) char *shown = one ? cli_cell_text(NULL, one, "v") : NULL;
	char *more = shown ? weft_strf("%s%s%s=%s", *text, **text ? " " : "", key, shown) : NULL;

	if (!more)
		return -ENOMEM;
	free(*text);
	*text = more;
	return 0;
}

/* "by=hand shop.web.1=70 shop.web.2=30": one level of objects is opened. */
static char *cell_data(const struct cli *cli, const json_t *row, const char *key)
{
	_cleanup_(freep) char *text = strdup("");
	const char *name, *inner;
	json_t *value, *v;
	int r = text ? 0 : -ENOMEM;

	json_object_foreach (json_object_get(row, key), name, value) {
		if (!json_is_object(value) && r == 0)
			r = append_pair(&text, name, value);
		json_object_foreach (value, inner, v)
			if (r == 0)
				r = append_pair(&text, inner, v);
	}
	if (r < 0)
		return NULL;
	return *text ? cli_clean(text, cli->io.utf8) : strdup("-");
}

static const struct cli_column columns[] = {
	{"SEQ", "seq", cli_cell_text, CLI_COL_RIGHT},
	{"TIME", "t_us", cell_time, 0},
	{"MONOTONIC", "mono_us", cell_clock, CLI_COL_WIDE | CLI_COL_RIGHT},
	{"KIND", "kind", cli_cell_text, 0},
	{"OBJECT", "object", cli_cell_text, 0},
	{"EVENT", "action", cli_cell_text, CLI_COL_STATE},
	{"DETAIL", "data", cell_data, 0},
};
/* of lines that are written before the next is known */
static const int widths[ARRAY_SIZE(columns)] = {5, 23, 18, 8, 16, 10, 0};

static int render(const struct cli *cli, const json_t *doc)
{
	return cli_table(cli, columns, ARRAY_SIZE(columns), cli_items(doc));
}

static void put_seqs(const struct cli *cli, const json_t *doc)
{
	const json_t *item;
	size_t i;

	json_array_foreach ((json_t *)cli_items(doc), i, item)
		fprintf(cli->io.out, "%" PRIu64 "\n", cli_u64(item, "seq"));
}

struct following {
	struct cli *cli;
	uint64_t since;
	bool headed;
};

static void put_cells(const struct cli *cli, const json_t *event)
{
	for (size_t i = 0; i < ARRAY_SIZE(columns); i++) {
		const struct cli_column *c = &columns[i];
		_cleanup_(freep) char *text = NULL, *clean = NULL;
		int pad;

		if ((c->flags & CLI_COL_WIDE) && cli->output != CLI_WIDE)
			continue;
		text = event ? c->cell(cli, event, c->key) : strdup(c->title);
		clean = text ? cli_clean(text, cli->io.utf8) : NULL;
		if (!clean)
			continue;
		pad = widths[i] - (int)cli_columns(clean);
		pad = pad > 0 ? pad : 0;
		if (c->flags & CLI_COL_RIGHT)
			fprintf(cli->io.out, "%*s%s", pad, "", clean);
		else
			fprintf(cli->io.out, "%s%*s", clean, pad, "");
		fputs(i + 1 < ARRAY_SIZE(columns) ? "  " : "\n", cli->io.out);
	}
}

static int on_line(void *userdata, const char *line)
{
	struct following *f = userdata;
	struct cli *cli = f->cli;
	json_auto_t *event = json_loads(line, 0, NULL);

	if (!json_is_object(event))
		return -EPROTO;
	f->since = cli_u64(event, "seq");
	if (cli->output == CLI_JSON)
		fprintf(cli->io.out, "%s\n", line);
	else if (cli->output == CLI_NAME)
		fprintf(cli->io.out, "%" PRIu64 "\n", f->since);
	else if (!f->headed && !cli->no_headers)
		put_cells(cli, NULL);
	f->headed = true;
	if (cli->output == CLI_TABLE || cli->output == CLI_WIDE)
		put_cells(cli, event);
	return fflush(cli->io.out) == 0 ? 0 : -EPIPE;
}

/* How long the daemon is asked to go on: not beyond --timeout. */
static unsigned seconds_left(const struct cli *cli)
{
	uint64_t now = weft_now_ns(), left;

	if (!cli->deadline_ns)
		return FOLLOW_S;
	left = cli->deadline_ns > now ? (cli->deadline_ns - now) / 1000000000 + 1 : 0;
	return left < FOLLOW_S ? (unsigned)left : FOLLOW_S;
}

static int follow(struct cli *cli, struct weft_err *err)
{
	struct following f = {.cli = cli, .since = cli->since == UINT64_MAX ? 0 : cli->since};
	uint64_t away_ns = 0;
	int r;

	do {
		unsigned seconds = seconds_left(cli);
		_cleanup_(freep) char *path =
			weft_strf("/v1/events?since=%" PRIu64 "&wait=%u", f.since, seconds);
		r = path ? cli_stream(cli, path, seconds, on_line, &f, err) : -ENOMEM;
		if (r == -EPROTO && !err->code)
			weft_err_set(err, EPROTO, "weftd's events are not JSON");
		if (r == -EPIPE)
			return 0;  /* the reader of a pipe is gone */
		if (cli->streamed) /* it was back, and is away anew */
			away_ns = 0;
		r = cli_patience(cli, r, cli->contacted, &away_ns, err);
	} while ((r == 0 && !cli_expired(cli)) || r == -EAGAIN);
	return r == -EINTR || cli_expired(cli) ? 0 : r;
}

int cli_cmd_events(struct cli *cli, struct weft_err *err)
{
	_cleanup_(freep) char *path = cli->since == UINT64_MAX
					      ? strdup("/v1/events")
					      : weft_strf("/v1/events?since=%" PRIu64, cli->since);
	const struct cli_view view = {.path = path,
		.name_key = "seq",
		.render = render,
		.empty = "nothing has happened yet"};
	_cleanup_(cli_reply_done) struct cli_reply reply = {0};
	int r;

	if (cli->watch) {
		_cleanup_(cli_follow_endp) struct cli *followed = NULL;

		r = cli_follow_begin(cli, err);
		if (r < 0)
			return r;
		followed = cli;
		return follow(followed, err);
	}
	if (cli->output != CLI_NAME)
		return cli_show(cli, &view, err);
	r = path ? cli_get(cli, path, &reply, err) : -ENOMEM;
	if (r == 0)
		put_seqs(cli, reply.doc);
	return r;
}
