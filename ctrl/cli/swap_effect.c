/* SPDX-License-Identifier: Apache-2.0 */
/* What each phase of a swap did to the old and the new instances. */
#include <string.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "ctrl/cli/swap_view.h"
#include "ctrl/cli/table.h"
#include "ctrl/cli/value.h"

static char *cell_us(const struct cli *cli, const json_t *row, const char *key)
{
	uint64_t us = cli_u64(row, key);

	return strdup(us ? cli_fmt_ns(us * 1000, cli->io.utf8).s : "-");
}

static char *cell_cpu(const struct cli *cli, const json_t *row, const char *key)
{
	uint64_t cpu = cli_u64(row, key), took = cli_u64(row, "took_ms");

	(void)cli;
	return took ? weft_strf("%.1f %%", 100.0 * (double)cpu / (double)took) : strdup("-");
}

static const struct cli_column columns[] = {
	{"PHASE", "name", cli_cell_text, 0},
	{"INSTANCES", "side", cli_cell_text, 0},
	{"REQUESTS", "requests", cli_cell_count, CLI_COL_RIGHT},
	{"FAILED", "failed", cli_cell_count, CLI_COL_RIGHT},
	{"P50", "p50_us", cell_us, CLI_COL_RIGHT},
	{"P90", "p90_us", cell_us, CLI_COL_RIGHT},
	{"P99", "p99_us", cell_us, CLI_COL_RIGHT},
	{"CPU", "cpu_ms", cell_cpu, CLI_COL_RIGHT},
};

static void add(json_t *rows, const json_t *phase, const char *side)
{
	const json_t *effect = json_object_get(phase, side);
	uint64_t begun = cli_u64(phase, "started_ms"), end = cli_u64(phase, "ended_ms");
	json_t *row;

	if (!end) /* it goes on */
		end = weft_realtime_ms();

	if (cli_u64(effect, "requests") == 0 && cli_u64(effect, "cpu_ms") == 0)
		return;
	row = json_deep_copy(effect);
	json_object_set_new(row, "name", json_string(cli_str(phase, "name", "?")));
	json_object_set_new(row, "side", json_string(side));
	json_object_set_new(
		row, "took_ms", json_integer((json_int_t)(end > begun ? end - begun : 0)));
	json_array_append_new(rows, row);
}

int cli_swap_effects(const struct cli *cli, const json_t *swap)
{
	json_auto_t *rows = json_array();
	const json_t *phase;
	size_t i;

	json_array_foreach (json_object_get(swap, "phases"), i, phase) {
		add(rows, phase, "old");
		add(rows, phase, "new");
	}
	if (json_array_size(rows) == 0)
		return 0;
	fprintf(cli->io.out, "\n");
	return cli_table(cli, columns, ARRAY_SIZE(columns), rows);
}
