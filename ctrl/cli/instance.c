/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "ctrl/base/util.h"
#include "ctrl/cli/show.h"
#include "ctrl/cli/table.h"
#include "ctrl/cli/value.h"

/* A number of one of its objects: "times.start_ms". */
static char *cell_in(const struct cli *cli, const json_t *row, const char *key,
	char *(*cell)(const struct cli *cli, const json_t *row, const char *key))
{
	const char *dot = strchr(key, '.');
	_cleanup_(freep) char *name = strndup(key, (size_t)(dot - key));

	return name ? cell(cli, json_object_get(row, name), dot + 1) : NULL;
}

static char *cell_ms(const struct cli *cli, const json_t *row, const char *key)
{
	double ms = json_number_value(json_object_get(row, key));

	return ms > 0 ? strdup(cli_fmt_ns((uint64_t)(ms * 1e6), cli->io.utf8).s)
		      : cli_cell_text(cli, NULL, key);
}

static char *cell_time(const struct cli *cli, const json_t *row, const char *key)
{
	return cell_in(cli, row, key, cell_ms);
}

static char *cell_cpus(const struct cli *cli, const json_t *row, const char *key)
{
	const json_t *v = json_object_get(row, key);

	return json_is_number(v) ? weft_strf("%.0f%%", json_number_value(v) * 100)
				 : cli_cell_text(cli, NULL, key);
}

static char *cell_rate(const struct cli *cli, const json_t *row, const char *key)
{
	return cell_in(cli, row, key, cell_cpus);
}

static const struct cli_column columns[] = {
	{"INSTANCE", "id", cli_cell_text, 0},
	{"SERVICE", "service", cli_cell_text, 0},
	{"RUNTIME", "virtualization", cli_cell_text, 0},
	{"PHASE", "phase", cli_cell_text, CLI_COL_STATE},
	{"ADDRESS", "ns_addr", cli_cell_text, 0},
	{"WEIGHT", "weight", cli_cell_text, CLI_COL_RIGHT},
	{"FLOWS", "flows", cli_cell_count, CLI_COL_RIGHT},
	{"CPU", "cpu_ns", cli_cell_cpu, CLI_COL_RIGHT},
	{"MEMORY", "memory_bytes", cli_cell_bytes, CLI_COL_RIGHT},
	{"RX", "rx_bytes", cli_cell_bytes, CLI_COL_RIGHT},
	{"TX", "tx_bytes", cli_cell_bytes, CLI_COL_RIGHT},
	{"AGE", "created_ms", cli_cell_age, CLI_COL_RIGHT},
	{"CPU/S", "rates.cpu", cell_rate, CLI_COL_WIDE | CLI_COL_RIGHT},
	{"RX-PACKETS", "rx_packets", cli_cell_count, CLI_COL_WIDE | CLI_COL_RIGHT},
	{"TX-PACKETS", "tx_packets", cli_cell_count, CLI_COL_WIDE | CLI_COL_RIGHT},
	{"PREPARE", "times.prepare_ms", cell_time, CLI_COL_WIDE | CLI_COL_RIGHT},
	{"START", "times.start_ms", cell_time, CLI_COL_WIDE | CLI_COL_RIGHT},
	{"FIRST-ANSWER", "times.first_answer_ms", cell_time, CLI_COL_WIDE | CLI_COL_RIGHT},
	{"ARCH", "arch", cli_cell_text, CLI_COL_WIDE},
	{"NODE", "node", cli_cell_text, CLI_COL_WIDE},
	{"PID", "pid", cli_cell_text, CLI_COL_WIDE | CLI_COL_RIGHT},
	{"INSTANCE-IP", "inst_addr", cli_cell_text, CLI_COL_WIDE},
	{"ADDRESS6", "ns_addr6", cli_cell_text, CLI_COL_WIDE},
	{"INSTANCE-IP6", "inst_addr6", cli_cell_text, CLI_COL_WIDE},
	{"MAC", "mac", cli_cell_text, CLI_COL_WIDE},
	{"NETWORK", "network", cli_cell_text, CLI_COL_WIDE},
	{"DEVICE", "device", cli_cell_text, CLI_COL_WIDE},
	{"IMAGE", "image", cli_cell_text, CLI_COL_WIDE},
	{"DETAIL", "detail", cli_cell_text, CLI_COL_WIDE},
};

static int render_list(const struct cli *cli, const json_t *doc)
{
	return cli_table(cli, columns, ARRAY_SIZE(columns), cli_items(doc));
}

static int render_one(const struct cli *cli, const json_t *doc)
{
	return cli_record(cli, columns, ARRAY_SIZE(columns), doc);
}

int cli_cmd_instance_list(struct cli *cli, struct weft_err *err)
{
	const struct cli_view view = {
		.path = "/v1/instances",
		.name_key = "id",
		.render = render_list,
		.empty = "no instances",
	};

	return cli_show(cli, &view, err);
}

int cli_cmd_instance_show(struct cli *cli, struct weft_err *err)
{
	_cleanup_(freep) char *path = cli_path("/v1/instances/", cli->args[0], "");
	const struct cli_view view = {.path = path, .name_key = "id", .render = render_one};

	return cli_show(cli, &view, err);
}
