/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "ctrl/base/util.h"
#include "ctrl/cli/show.h"
#include "ctrl/cli/table.h"
#include "ctrl/cli/value.h"

static const struct cli_column columns[] = {
	{"RUNTIME", "name", cli_cell_text, 0},
	{"ARCH", "arch", cli_cell_text, 0},
	{"STATE", "state", cli_cell_text, CLI_COL_STATE},
	{"DETAIL", "detail", cli_cell_text, 0},
};

static char *runtime_detail(const json_t *runtime)
{
	const char *version = cli_str(runtime, "version", ""),
		   *detail = cli_str(runtime, "detail", "");

	return weft_strf("%s%s%s", version, *version && *detail ? ": " : "", detail);
}

/* The runtimes, and the store as one more line of the same table. */
static json_t *status_rows(const json_t *status)
{
	const json_t *store = json_object_get(status, "store"), *v;
	const char *state = cli_str(store, "state", "-");
	json_t *rows = json_array();
	size_t i;

	json_array_foreach (json_object_get(status, "runtimes"), i, v) {
		_cleanup_(freep) char *detail = runtime_detail(v);
		bool usable = json_is_true(json_object_get(v, "usable"));

		json_array_append_new(rows,
			json_pack("{s:s, s:s, s:s, s:s}", "name", cli_str(v, "virtualization", "-"),
				"arch", cli_str(v, "arch", "-"), "state",
				usable ? "ok" : "unusable", "detail", detail ? detail : ""));
	}
	json_array_append_new(rows, strcmp(state, "ok") == 0
					    ? json_pack("{s:s, s:s, s:s}", "name", "STORE", "state",
						      "ok", "detail", cli_str(store, "kind", "-"))
					    : json_pack("{s:s, s:s, s:s}", "name", "STORE", "state",
						      "failed", "detail", state));
	return rows;
}

static void put_problems(const struct cli *cli, const json_t *doc)
{
	const json_t *v;
	size_t i;

	json_array_foreach (json_object_get(doc, "problems"), i, v) {
		const char *text = json_string_value(v);
		_cleanup_(freep) char *clean = text ? cli_clean(text, cli->io.utf8) : NULL;

		if (clean)
			fprintf(cli->io.out, "%s!%s %s\n", cli->colored ? "\033[31m" : "",
				cli->colored ? "\033[0m" : "", clean);
	}
}

/* What is wrong with it is among the problems. */
static void put_uplink(const struct cli *cli, const json_t *doc)
{
	const json_t *up = json_object_get(doc, "uplink");
	_cleanup_(freep) char *text = cli_fmt_uplink(doc), *line = NULL, *clean = NULL;

	if (!text || *cli_str(up, "problem", ""))
		return;
	line = weft_strf("uplink %s: %s", cli_str(up, "device", "?"), text);
	clean = line ? cli_clean(line, cli->io.utf8) : NULL;
	if (clean)
		fprintf(cli->io.out, "%s\n", clean);
}

static int render(const struct cli *cli, const json_t *doc)
{
	const json_t *node = json_object_get(doc, "node"), *dp = json_object_get(doc, "dataplane");
	json_auto_t *rows = status_rows(doc);
	_cleanup_(freep) char *line = NULL, *clean = NULL;
	const char *state = cli_str(dp, "state", "-");

	line = weft_strf("weftd %s  up %s  role %s  node %s (%s)   data plane: %s, %" PRIu64
			 " services, %" PRIu64 " instances, %s flows, %s drops",
		cli_str(doc, "version", "?"), cli_fmt_uptime(cli_u64(doc, "uptime_s")).s,
		cli_str(doc, "role", "?"), cli_str(node, "name", "?"), cli_str(node, "arch", "?"),
		strcmp(state, "ok") == 0 ? cli_str(dp, "hook", "ok") : state,
		cli_u64(doc, "services"), cli_u64(doc, "instances"),
		cli_fmt_count(cli_u64(dp, "flows")).s, cli_fmt_count(cli_u64(dp, "drops")).s);
	clean = line ? cli_clean(line, cli->io.utf8) : NULL;
	if (!clean || !rows)
		return -ENOMEM;
	fprintf(cli->io.out, "%s\n", clean);
	if (cli_u64(doc, "swaps_running"))
		fprintf(cli->io.out, "swaps running: %" PRIu64 "  (weft swap list)\n",
			cli_u64(doc, "swaps_running"));
	put_uplink(cli, doc);
	put_problems(cli, doc);
	return cli_table(cli, columns, ARRAY_SIZE(columns), rows);
}

int cli_cmd_status(struct cli *cli, struct weft_err *err)
{
	const struct cli_view view = {.path = "/v1/status", .render = render};
	_cleanup_(cli_reply_done) struct cli_reply reply = {0};
	int r;

	if (cli->output != CLI_NAME)
		return cli_show(cli, &view, err);
	r = cli_get(cli, view.path, &reply, err);
	if (r == 0)
		cli_put_names(cli, json_object_get(reply.doc, "node"), "name");
	return r;
}
