/* SPDX-License-Identifier: Apache-2.0 */
#include "ctrl/cli/table.h"

#include <errno.h>
#include <libsmartcols.h>
#include <string.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "ctrl/cli/value.h"

static void table_unref(struct libscols_table *t)
{
	scols_unref_table(t);
}
WEFT_DEFINE_CLEANUP(struct libscols_table *, table_unref);

static struct libscols_table *new_table(const struct cli *cli)
{
	struct libscols_table *t = scols_new_table();

	if (!t)
		return NULL;
	scols_table_set_stream(t, cli->io.out);
	/* a column is never cut to the terminal's width: names are there to be copied */
	scols_table_set_termforce(t, SCOLS_TERMFORCE_NEVER);
	scols_table_set_column_separator(t, "  ");
	scols_table_enable_colors(t, cli->colored);
	scols_table_enable_noheadings(t, cli->no_headers);
	return t;
}

static const char *state_color(const char *s)
{
	static const struct {
		const char *word, *color;
	} known[] = {
		{"ok", "green"},
		{"ready", "green"},
		{"running", "green"},
		{"done", "green"},
		{"failed", "red"},
		{"unusable", "red"},
		{"rolled-back", "red"},
		{"-", NULL},
	};

	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (strcmp(known[i].word, s) == 0)
			return known[i].color;
	return "yellow";
}

static int set_cell(struct libscols_line *line, size_t n, const char *text, bool state)
{
	const char *color = state ? state_color(text) : NULL;
	int r = scols_line_set_data(line, n, text);

	if (r == 0 && color)
		r = scols_cell_set_color(scols_line_get_cell(line, n), color);
	return r;
}

static bool is_shown(const struct cli *cli, const struct cli_column *c)
{
	return (!(c->flags & CLI_COL_WIDE) || cli->output == CLI_WIDE) &&
	       (!(c->flags & CLI_COL_RATE) || cli->watch);
}

static int add_row(const struct cli *cli, struct libscols_table *t,
	const struct cli_column *columns, size_t n, const json_t *row)
{
	struct libscols_line *line = scols_table_new_line(t, NULL);
	size_t at = 0;
	int r = line ? 0 : -ENOMEM;

	for (size_t i = 0; i < n && r == 0; i++) {
		_cleanup_(freep) char *text = NULL;

		if (!is_shown(cli, &columns[i]))
			continue;
		text = columns[i].cell(cli, row, columns[i].key);
		r = text ? set_cell(line, at++, text, columns[i].flags & CLI_COL_STATE) : -ENOMEM;
	}
	return r;
}

int cli_table(const struct cli *cli, const struct cli_column *columns, size_t n, const json_t *rows)
{
	_cleanup_(table_unrefp) struct libscols_table *t = new_table(cli);
	const json_t *row;
	int r = t ? 0 : -ENOMEM;
	size_t k;

	for (size_t i = 0; i < n && r == 0; i++) {
		if (!is_shown(cli, &columns[i]))
			continue;
		/* a title that is not shown must not take its width either */
		if (!scols_table_new_column(t, cli->no_headers ? "" : columns[i].title, 0,
			    columns[i].flags & CLI_COL_RIGHT ? SCOLS_FL_RIGHT : 0))
			r = -ENOMEM;
	}
	json_array_foreach ((json_t *)rows, k, row)
		if (r == 0)
			r = add_row(cli, t, columns, n, row);
	return r == 0 ? scols_print_table(t) : r;
}

int cli_record(const struct cli *cli, const struct cli_column *columns, size_t n, const json_t *obj)
{
	_cleanup_(table_unrefp) struct libscols_table *t = new_table(cli);

	if (!t || !scols_table_new_column(t, "", 0, 0) || !scols_table_new_column(t, "", 0, 0))
		return -ENOMEM;
	scols_table_enable_noheadings(t, 1);
	for (size_t i = 0; i < n; i++) {
		_cleanup_(freep) char *text = NULL;
		struct libscols_line *line;
		int r;

		if (columns[i].flags & CLI_COL_RATE)
			continue;
		text = columns[i].cell(cli, obj, columns[i].key);
		line = scols_table_new_line(t, NULL);
		r = text && line ? scols_line_set_data(line, 0, columns[i].title) : -ENOMEM;

		if (r == 0)
			r = set_cell(line, 1, text, columns[i].flags & CLI_COL_STATE);
		if (r < 0)
			return r;
	}
	return scols_print_table(t);
}

static char *nothing(void)
{
	return strdup("-");
}

static char *list_text(const json_t *list)
{
	char *all = NULL;
	const json_t *v;
	size_t i;

	json_array_foreach ((json_t *)list, i, v) {
		const char *s = json_string_value(v);
		char *more;

		if (!s)
			continue;
		more = weft_strf("%s%s%s", all ? all : "", all ? "," : "", s);
		free(all);
		all = more;
		if (!all)
			return NULL;
	}
	return all ? all : nothing();
}

char *cli_cell_text(const struct cli *cli, const json_t *row, const char *key)
{
	const json_t *v = json_object_get(row, key);

	(void)cli;
	if (json_is_string(v) && *json_string_value(v))
		return strdup(json_string_value(v));
	if (json_is_integer(v))
		return weft_strf("%" JSON_INTEGER_FORMAT, json_integer_value(v));
	if (json_is_real(v))
		return weft_strf("%g", json_real_value(v));
	if (json_is_boolean(v))
		return strdup(json_is_true(v) ? "yes" : "no");
	if (json_is_array(v))
		return list_text(v);
	return nothing();
}

char *cli_cell_count(const struct cli *cli, const json_t *row, const char *key)
{
	(void)cli;
	return cli_is_null(row, key) ? nothing() : strdup(cli_fmt_count(cli_u64(row, key)).s);
}

char *cli_cell_bytes(const struct cli *cli, const json_t *row, const char *key)
{
	(void)cli;
	return cli_is_null(row, key) ? nothing() : strdup(cli_fmt_bytes(cli_u64(row, key)).s);
}

char *cli_cell_mib(const struct cli *cli, const json_t *row, const char *key)
{
	uint64_t mib = cli_u64(row, key);

	(void)cli;
	return mib ? strdup(cli_fmt_bytes(mib > UINT64_MAX >> 20 ? UINT64_MAX : mib << 20).s)
		   : nothing();
}

char *cli_cell_share(const struct cli *cli, const json_t *row, const char *key)
{
	(void)cli;
	return cli_is_null(row, key) ? nothing() : weft_strf("%.0f%%", cli_share(row, key) * 100);
}

char *cli_cell_cpu(const struct cli *cli, const json_t *row, const char *key)
{
	return cli_is_null(row, key) ? nothing()
				     : strdup(cli_fmt_ns(cli_u64(row, key), cli->io.utf8).s);
}

char *cli_cell_seconds(const struct cli *cli, const json_t *row, const char *key)
{
	uint64_t s = cli_u64(row, key);

	(void)cli;
	return cli_is_null(row, key)
		       ? nothing()
		       : strdup(cli_fmt_age(s > UINT64_MAX / 1000 ? UINT64_MAX : s * 1000).s);
}

char *cli_cell_duration(const struct cli *cli, const json_t *row, const char *key)
{
	(void)cli;
	return cli_is_null(row, key) ? nothing() : strdup(cli_fmt_duration(cli_u64(row, key)).s);
}

char *cli_cell_age(const struct cli *cli, const json_t *row, const char *key)
{
	uint64_t then = cli_u64(row, key), now = weft_realtime_ms();

	(void)cli;
	return then ? strdup(cli_fmt_age(now > then ? now - then : 0).s) : nothing();
}
