/* SPDX-License-Identifier: Apache-2.0 */
/* weft trace: which hop of a service's packets takes how long. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "ctrl/base/util.h"
#include "ctrl/cli/follow.h"
#include "ctrl/cli/show.h"
#include "ctrl/cli/table.h"
#include "ctrl/cli/value.h"

#define DEFAULT_MS 10000
#define SLACK_MS   30000 /* for the probes to be loaded, and for the answer */

/* --- cells --- */

/* Hops are short: "0.57µs", "12.5µs", from 100 µs on like other times. */
static char *cell_ns(const struct cli *cli, const json_t *row, const char *key)
{
	const json_t *v = json_object_get(row, key);
	double ns = json_is_number(v) ? json_number_value(v) : -1;
	const char *unit = cli->io.utf8 ? "µs" : "us";

	if (ns < 0)
		return strdup("-");
	if (ns < 9995)
		return weft_strf("%.2f%s", ns / 1e3, unit);
	if (ns < 99950)
		return weft_strf("%.1f%s", ns / 1e3, unit);
	return strdup(cli_fmt_ns((uint64_t)ns, cli->io.utf8).s);
}

static const struct cli_column hop_columns[] = {
	{"WAY", "way", cli_cell_text, 0},
	{"HOP", "name", cli_cell_text, 0},
	{"PART", "part", cli_cell_text, 0},
	{"FROM", "from", cli_cell_text, CLI_COL_WIDE},
	{"TO", "to", cli_cell_text, CLI_COL_WIDE},
	{"P50", "p50_ns", cell_ns, CLI_COL_RIGHT},
	{"P90", "p90_ns", cell_ns, CLI_COL_RIGHT},
	{"P99", "p99_ns", cell_ns, CLI_COL_RIGHT},
	{"MAX", "max_ns", cell_ns, CLI_COL_RIGHT},
	{"MEAN", "mean_ns", cell_ns, CLI_COL_RIGHT | CLI_COL_WIDE},
	{"COUNT", "count", cli_cell_text, CLI_COL_RIGHT},
};

static const struct cli_column part_columns[] = {
	{"PART", "part", cli_cell_text, 0},
	{"P50", "p50_ns", cell_ns, CLI_COL_RIGHT},
	{"MEAN", "mean_ns", cell_ns, CLI_COL_RIGHT},
	{"SHARE", "share", cli_cell_share, CLI_COL_RIGHT},
};

/* --- a group --- */

static void add_row(json_t *rows, const char *way, const json_t *hist)
{
	json_t *row = json_deep_copy(hist);

	json_object_set_new(row, "way", json_string(way));
	json_array_append_new(rows, row);
}

static void add_way(json_t *rows, const json_t *way)
{
	const char *direction = cli_str(way, "direction", "-");
	const json_t *hop;
	size_t i;

	json_array_foreach (json_object_get(way, "hops"), i, hop)
		add_row(rows, strcmp(cli_str(hop, "from", ""), "read") == 0 ? "backend" : direction,
			hop);
	if (cli_u64(json_object_get(way, "round_trip"), "count"))
		add_row(rows, "round trip", json_object_get(way, "round_trip"));
}

/* The ways that most packets took, one there and one back; with -o wide the others, too. */
static json_t *rows_of(const struct cli *cli, const json_t *group, uint64_t *ret_others)
{
	const char *before = "";
	json_t *rows = json_array();
	const json_t *way;
	size_t i;

	json_array_foreach (json_object_get(group, "ways"), i, way) {
		const char *direction = cli_str(way, "direction", "-");
		bool first = strcmp(direction, before) != 0;

		if (first || cli->output == CLI_WIDE)
			add_way(rows, way);
		else
			*ret_others += cli_u64(way, "packets");
		before = direction;
	}
	return rows;
}

static int put_group(const struct cli *cli, const json_t *group)
{
	_cleanup_(freep) char *name = cli_clean(cli_str(group, "name", "-"), cli->io.utf8);
	uint64_t others = 0;
	json_auto_t *rows = rows_of(cli, group, &others);
	int r;

	if (!name)
		return -ENOMEM;
	fprintf(cli->io.out, "\n%s\n", name);
	r = cli_table(cli, hop_columns, ARRAY_SIZE(hop_columns), rows);
	if (r < 0)
		return r;
	if (others)
		fprintf(cli->io.out, "(%" PRIu64 " packets took other ways: -o wide)\n", others);
	fputc('\n', cli->io.out);
	return cli_table(
		cli, part_columns, ARRAY_SIZE(part_columns), json_object_get(group, "parts"));
}

/* --- all of it --- */

static void put_packets(const struct cli *cli, const json_t *doc, const char *direction)
{
	const json_t *p = json_object_get(json_object_get(doc, "packets"), direction);
	uint64_t begun = cli_u64(p, "begun"), read = cli_u64(p, "read"), lost = cli_u64(p, "lost");

	fprintf(cli->io.out, "%s: %" PRIu64 " packets, %" PRIu64 " followed to their reader",
		direction, begun, read);
	if (lost)
		fprintf(cli->io.out, ", %" PRIu64 " dropped", lost);
	fputc('\n', cli->io.out);
}

static void put_cost(const struct cli *cli, const json_t *doc)
{
	const json_t *cost = json_object_get(doc, "cost");
	_cleanup_(freep) char *hook = cell_ns(cli, cost, "hook_ns");
	_cleanup_(freep) char *packet = cell_ns(cli, cost, "packet_ns");

	if (hook && packet)
		fprintf(cli->io.out,
			"the probes themselves (%" PRIu64
			") cost %s a hook, %s a packet, which is part "
			"of the times\n",
			cli_u64(cost, "probes"), hook, packet);
}

static int render(const struct cli *cli, const json_t *doc)
{
	const json_t *groups = json_object_get(doc, "groups"), *group;
	int r = 0;
	size_t i;

	fprintf(cli->io.out, "%s, %s of %s\n", cli_str(doc, "service", "-"),
		cli_fmt_duration(cli_u64(doc, "t_ms")).s,
		cli_fmt_duration(cli_u64(doc, "duration_ms")).s);
	put_packets(cli, doc, "request");
	put_packets(cli, doc, "reply");
	json_array_foreach (groups, i, group)
		if (r == 0)
			r = put_group(cli, group);
	if (json_array_size(groups)) {
		fputc('\n', cli->io.out);
		put_cost(cli, doc);
	} else {
		fputs("no packet was followed to its reader: is there traffic, from this node to "
		      "this node?\n",
			cli->io.out);
	}
	return r;
}

struct following {
	struct cli *cli;
	struct cli_reply last;
	bool shown;
	int r;
	struct weft_err err;
};

static int show(struct following *f)
{
	struct cli *cli = f->cli;

	if (cli->output == CLI_JSON) {
		cli_put_body(cli, &f->last, true);
		return 0;
	}
	if (cli->output == CLI_NAME) {
		cli_put_names(cli, f->last.doc, "service");
		return 0;
	}
	if (cli->watch && cli->tty)
		fputs(f->shown ? "\033[H\033[J" : "\033[2J\033[H", cli->io.out);
	else if (f->shown)
		fputc('\n', cli->io.out);
	f->shown = true;
	return render(cli, f->last.doc);
}

/* Each line is a document; the one that says what went wrong is the last. */
static int on_line(void *userdata, const char *line)
{
	size_t size = strlen(line);
	struct following *f = userdata;
	json_t *doc = json_loadb(line, size, 0, NULL);

	if (!json_is_object(doc)) {
		json_decref(doc);
		return weft_err_set(&f->err, EPROTO, "weftd's answer is not JSON");
	}
	if (json_object_get(doc, "error")) {
		cli_explain_error(json_object_get(doc, "error"), &f->err);
		json_decref(doc);
		return -f->err.code;
	}
	cli_reply_done(&f->last);
	f->last.doc = doc;
	f->last.body = strndup(line, size);
	f->last.size = size;
	if (!f->last.body)
		return -ENOMEM;
	/* the first one says that it has begun, nothing more */
	if (f->cli->watch && cli_u64(doc, "t_ms") > 0 &&
		json_is_null(json_object_get(doc, "ended")))
		f->r = show(f);
	return f->r < 0 || fflush(f->cli->io.out) != 0 ? -EPIPE : 0;
}

/* weftd has gone away: what there is until then is shown, and that it is not all. */
static int broken(struct following *f, int r, struct weft_err *err)
{
	struct weft_err why = *err;

	if (!f->cli->watch && cli_u64(f->last.doc, "t_ms") > 0 && show(f) < 0)
		return -EPIPE;
	weft_err_set(err, r, "the trace broke off after %s: %s",
		cli_fmt_duration(cli_u64(f->last.doc, "t_ms")).s, why.msg);
	return weft_err_hint(err, "%s", why.hint);
}

static int finish(struct following *f, int r, struct weft_err *err)
{
	const char *ended = cli_str(f->last.doc, "ended", NULL);

	if (f->err.code) {
		*err = f->err;
		r = -f->err.code;
	}
	if (f->last.doc && (r == -EINTR || (r == -ETIMEDOUT && cli_expired(f->cli)))) {
		*err = (struct weft_err){0};
		r = 0; /* ^C, --timeout: what there is until now */
	}
	if (f->last.doc && r < 0 && f->cli->unanswered)
		return broken(f, r, err);
	if (r < 0)
		return r;
	if (!f->last.doc)
		return weft_err_set(err, EPROTO, "weftd said nothing");
	r = show(f);
	if (ended && strcmp(ended, "time") != 0)
		cli_say(f->cli, "the trace ended early: %s", ended);
	return r;
}

int cli_cmd_trace(struct cli *cli, struct weft_err *err)
{
	_cleanup_(cli_follow_endp) struct cli *following = NULL;
	uint64_t ms = cli->duration_ms == UINT64_MAX ? DEFAULT_MS : cli->duration_ms;
	_cleanup_(freep) char *path = cli_path("/v1/trace/", cli->args[0], "");
	_cleanup_(freep) char *url =
		path ? weft_strf("%s?duration_ms=%" PRIu64 "&interval_ms=1000", path, ms) : NULL;
	struct following f = {.cli = cli};
	int r;

	if (!url)
		return weft_err_set(err, ENOMEM, "out of memory");
	r = cli_follow_begin(cli, err);
	if (r < 0)
		return r;
	following = cli;
	r = cli_stream(cli, url, (unsigned)((ms + SLACK_MS) / 1000), on_line, &f, err);
	r = finish(&f, r, err);
	cli_reply_done(&f.last);
	return r;
}
