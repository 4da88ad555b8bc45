/* SPDX-License-Identifier: Apache-2.0 */
/* A swap for people: its phases with a mark each. Drawn in place on a terminal, as lines that are
 * appended elsewhere. */
#ifndef WEFT_CLI_SWAP_VIEW_H
#define WEFT_CLI_SWAP_VIEW_H

#include <jansson.h>

#include "ctrl/cli/cli.h"

/* What has been shown so far. Starts as {0}. */
struct cli_swap_view {
	unsigned drawn; /* lines on the terminal that the next drawing replaces */
	unsigned talk;  /* cli->talk then: talk in between moved them away */
	bool headed;
	size_t n_begun, n_ended; /* phases whose beginning and end are said */
	unsigned percent;        /* last said share */
	uint64_t flows, flows_ms;
};

/* "done" or "rolled-back": it will not change any more. */
/* A table of what its phases did, if anything is known of it. */
int cli_swap_effects(const struct cli *cli, const json_t *swap);

bool cli_swap_ended(const json_t *swap);

/* All of it, at most width columns wide (0: no limit). Returns the number of lines. */
unsigned cli_swap_print(const struct cli *cli, const json_t *swap, uint64_t now_ms, unsigned width);

/* Bring the reader up to date, in place or by new lines as cli->tty says. */
void cli_swap_update(
	struct cli *cli, struct cli_swap_view *view, const json_t *swap, uint64_t now_ms);

#endif
