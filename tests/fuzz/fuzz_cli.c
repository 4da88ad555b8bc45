/* SPDX-License-Identifier: Apache-2.0 */
/* The API's answers as weft shows them: any JSON at all, as a table of every kind of cell, as a
 * record, and as a swap in both ways of watching. The sources are taken in whole, since the
 * command line is no part of the library. */
#include <stddef.h>
#include <stdint.h>

#include "ctrl/cli/swap_view.c"
#include "ctrl/cli/table.c"
#include "ctrl/cli/value.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct cli_column columns[] = {
		{"TEXT", "id", cli_cell_text, CLI_COL_STATE},
		{"COUNT", "flows_old", cli_cell_count, CLI_COL_RIGHT},
		{"BYTES", "flows_old", cli_cell_bytes, 0},
		{"MIB", "flows_old", cli_cell_mib, 0},
		{"SHARE", "weight_new", cli_cell_share, 0},
		{"CPU", "started_ms", cli_cell_cpu, 0},
		{"SECONDS", "duration_ms", cli_cell_seconds, 0},
		{"DURATION", "duration_ms", cli_cell_duration, 0},
		{"AGE", "started_ms", cli_cell_age, CLI_COL_WIDE},
	};
	json_auto_t *doc = json_loadb((const char *)data, size, 0, NULL);
	struct cli cli = {.signal_fd = -1, .output = CLI_WIDE, .colored = true};
	struct cli_swap_view lines = {0}, terminal = {0};

	if (!doc)
		return 0;
	cli.io.out = fopen("/dev/null", "we");
	if (!cli.io.out)
		return 0;
	for (int utf8 = 0; utf8 < 2; utf8++) {
		cli.io.utf8 = utf8;
		cli.tty = false;
		cli_swap_update(&cli, &lines, doc, 1700000000000);
		cli.tty = true;
		cli_swap_update(&cli, &terminal, doc, 1700000000000);
		cli_table(&cli, columns, ARRAY_SIZE(columns), cli_items(doc));
		cli_record(&cli, columns, ARRAY_SIZE(columns), doc);
	}
	fclose(cli.io.out);
	return 0;
}
