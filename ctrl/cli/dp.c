/* SPDX-License-Identifier: Apache-2.0 */
/* What the data plane holds and counts. */
#include <inttypes.h>
#include <string.h>

#include "ctrl/base/util.h"
#include "ctrl/cli/show.h"
#include "ctrl/cli/table.h"
#include "ctrl/cli/value.h"

static char *cell_rtt(const struct cli *cli, const json_t *row, const char *key)
{
	double us = json_number_value(json_object_get(row, key));

	if (cli_is_null(row, key) || !(us >= 0 && us < 1e12))
		return strdup("-");
	return strdup(cli_fmt_ns((uint64_t)(us * 1000), cli->io.utf8).s);
}

static char *cell_load(const struct cli *cli, const json_t *row, const char *key)
{
	double load = json_number_value(json_object_get(row, key));

	(void)cli;
	if (cli_is_null(row, key) || !(load >= 0 && load < 1e6))
		return strdup("-");
	return weft_strf("%.2f", load);
}

static const struct cli_column lb_columns[] = {
	{"SERVICE", "service", cli_cell_text, 0},
	{"POLICY", "policy", cli_cell_text, 0},
	{"VIP", "vip", cli_cell_text, 0},
	{"PUBLISHED", "published", cli_cell_text, CLI_COL_WIDE},
	{"BACKEND", "instance", cli_cell_text, 0},
	{"RUNTIME", "virtualization", cli_cell_text, 0},
	{"ADDRESS", "addr", cli_cell_text, 0},
	{"VIP6", "vip6", cli_cell_text, CLI_COL_WIDE},
	{"ADDRESS6", "addr6", cli_cell_text, CLI_COL_WIDE},
	{"WEIGHT", "weight", cli_cell_text, CLI_COL_RIGHT},
	{"SHARE", "share", cli_cell_share, CLI_COL_RIGHT},
	{"RTT", "rtt_us", cell_rtt, CLI_COL_RIGHT | CLI_COL_WIDE},
	{"LOAD", "load", cell_load, CLI_COL_RIGHT | CLI_COL_WIDE},
	{"FLOWS", "flows", cli_cell_count, CLI_COL_RIGHT},
	{"NEW-FLOWS", "new_flows", cli_cell_count, CLI_COL_RIGHT},
	{"NEW/S", "new_flows/s", cli_cell_count, CLI_COL_RIGHT | CLI_COL_RATE},
	{"PACKETS", "packets", cli_cell_count, CLI_COL_RIGHT},
	{"PACKETS/S", "packets/s", cli_cell_count, CLI_COL_RIGHT | CLI_COL_RATE},
	{"BYTES", "bytes", cli_cell_bytes, CLI_COL_RIGHT},
	{"BYTES/S", "bytes/s", cli_cell_bytes, CLI_COL_RIGHT | CLI_COL_RATE},
};

static const struct cli_column flow_columns[] = {
	{"SERVICE", "service", cli_cell_text, 0},
	{"BACKEND", "instance", cli_cell_text, 0},
	{"PEER", "peer", cli_cell_text, CLI_COL_WIDE},
	{"DIRECTION", "direction", cli_cell_text, 0},
	{"STATE", "state", cli_cell_text, 0},
	{"IDLE", "idle_s", cli_cell_seconds, CLI_COL_RIGHT},
};

static const struct cli_column drop_columns[] = {
	{"REASON", "reason", cli_cell_text, 0},
	{"PACKETS", "packets", cli_cell_count, CLI_COL_RIGHT},
	{"PACKETS/S", "packets/s", cli_cell_count, CLI_COL_RIGHT | CLI_COL_RATE},
	{"MEANING", "text", cli_cell_text, 0},
};

static const struct cli_column stat_columns[] = {
	{"KIND", "kind", cli_cell_text, 0},
	{"NAME", "name", cli_cell_text, 0},
	{"NEW-FLOWS", "new_flows", cli_cell_count, CLI_COL_RIGHT},
	{"NEW/S", "new_flows/s", cli_cell_count, CLI_COL_RIGHT | CLI_COL_RATE},
	{"PACKETS", "packets", cli_cell_count, CLI_COL_RIGHT},
	{"PACKETS/S", "packets/s", cli_cell_count, CLI_COL_RIGHT | CLI_COL_RATE},
	{"BYTES", "bytes", cli_cell_bytes, CLI_COL_RIGHT},
	{"BYTES/S", "bytes/s", cli_cell_bytes, CLI_COL_RIGHT | CLI_COL_RATE},
	{"RX-PACKETS", "rx_packets", cli_cell_count, CLI_COL_RIGHT},
	{"RX-PACKETS/S", "rx_packets/s", cli_cell_count, CLI_COL_RIGHT | CLI_COL_RATE},
	{"RX-BYTES", "rx_bytes", cli_cell_bytes, CLI_COL_RIGHT},
	{"RX-BYTES/S", "rx_bytes/s", cli_cell_bytes, CLI_COL_RIGHT | CLI_COL_RATE},
};

static int render_lb(const struct cli *cli, const json_t *doc)
{
	return cli_table(cli, lb_columns, ARRAY_SIZE(lb_columns), cli_items(doc));
}

static int render_flows(const struct cli *cli, const json_t *doc)
{
	uint64_t total = cli_u64(doc, "total"), shown = json_array_size(cli_items(doc));
	int r = cli_table(cli, flow_columns, ARRAY_SIZE(flow_columns), cli_items(doc));

	if (r == 0 && !cli_is_null(doc, "next"))
		fprintf(cli->io.err,
			"%" PRIu64 " of %" PRIu64 " entries; more: --after %" PRIu64 "\n", shown,
			total, cli_u64(doc, "next"));
	if (r == 0 && cli->output == CLI_WIDE)
		fprintf(cli->io.err, "%" PRIu64 " of %" PRIu64 " entries in use\n", total,
			cli_u64(doc, "capacity"));
	return r;
}

static bool has_counted(const struct cli *cli, const json_t *drop)
{
	return cli->all || cli_u64(drop, "packets") > 0;
}

static int render_drops(const struct cli *cli, const json_t *doc)
{
	return cli_table(cli, drop_columns, ARRAY_SIZE(drop_columns), cli_items(doc));
}

static int render_stats(const struct cli *cli, const json_t *doc)
{
	return cli_table(cli, stat_columns, ARRAY_SIZE(stat_columns), cli_items(doc));
}

static const char *const counters[] = {
	"new_flows", "packets", "bytes", "rx_packets", "rx_bytes", NULL};

/* With --service, of that one only. */
static char *path_of(const struct cli *cli, const char *path)
{
	_cleanup_(freep) char *query = weft_strf("%s?service=", path);

	if (!cli->service)
		return strdup(path);
	return query ? cli_path(query, cli->service, "") : NULL;
}

int cli_cmd_dp_lb(struct cli *cli, struct weft_err *err)
{
	_cleanup_(freep) char *path = path_of(cli, "/v1/dp/lb");
	static const char *const identity[] = {"service", "instance", "policy", NULL};
	const struct cli_view view = {
		.path = path,
		.name_key = "instance",
		.render = render_lb,
		.empty = "no backends",
		.rates = counters,
		.identity = identity,
	};

	return cli_show(cli, &view, err);
}

/* The path with one more of what is asked for; takes path. */
static char *with(char *path, const char *key, const char *value)
{
	_cleanup_(freep) char *before = path;
	_cleanup_(freep) char *query = NULL;

	if (!path || !value)
		return TAKE_PTR(before);
	query = weft_strf("%s%c%s=", path, strchr(path, '?') ? '&' : '?', key);
	return query ? cli_path(query, value, "") : NULL;
}

static char *with_number(char *path, const char *key, uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64, value);
	return with(path, key, value == UINT64_MAX ? NULL : text);
}

int cli_cmd_dp_flows(struct cli *cli, struct weft_err *err)
{
	char *query = with(path_of(cli, "/v1/dp/flows"), "instance", cli->instance);

	query = with(query, "peer", cli->peer);
	query = with_number(with_number(query, "limit", cli->limit), "after", cli->after);

	_cleanup_(freep) char *path = query;
	const struct cli_view view = {
		.path = path, .name_key = "instance", .render = render_flows, .empty = "no flows"};

	return cli_show(cli, &view, err);
}

int cli_cmd_dp_drops(struct cli *cli, struct weft_err *err)
{
	static const char *const identity[] = {"reason", NULL};
	const struct cli_view view = {
		.path = "/v1/dp/drops",
		.name_key = "reason",
		.render = render_drops,
		.empty = "no packet was dropped",
		.keep = has_counted,
		.rates = counters,
		.identity = identity,
	};

	return cli_show(cli, &view, err);
}

int cli_cmd_dp_stats(struct cli *cli, struct weft_err *err)
{
	_cleanup_(freep) char *path = path_of(cli, "/v1/dp/stats");
	static const char *const identity[] = {"kind", "name", NULL};
	const struct cli_view view = {
		.path = path,
		.name_key = "name",
		.render = render_stats,
		.empty = "nothing counted yet",
		.rates = counters,
		.identity = identity,
	};

	return cli_show(cli, &view, err);
}
