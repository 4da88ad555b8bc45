/* SPDX-License-Identifier: Apache-2.0 */
/* Tables and records out of the API's objects, described by columns. */
#ifndef WEFT_CLI_TABLE_H
#define WEFT_CLI_TABLE_H

#include <jansson.h>

#include "ctrl/cli/cli.h"

enum {
	CLI_COL_RIGHT = 1 << 0,
	CLI_COL_WIDE = 1 << 1,  /* only with -o wide, and in records */
	CLI_COL_STATE = 1 << 2, /* coloured by what it says */
	CLI_COL_RATE = 1 << 3,  /* only while watching */
};

/* The text of one cell, malloc'ed; NULL when out of memory. */
typedef char *(*cli_cell_t)(const struct cli *cli, const json_t *row, const char *key);

struct cli_column {
	const char *title;
	const char *key;
	cli_cell_t cell;
	unsigned flags;
};

/* A row per element of rows; nothing at all, not even titles, when there is none. */
int cli_table(
	const struct cli *cli, const struct cli_column *columns, size_t n, const json_t *rows);
/* One object, a line per column. */
int cli_record(
	const struct cli *cli, const struct cli_column *columns, size_t n, const json_t *obj);

/* "-" for a value that is missing or null. */
char *cli_cell_text(const struct cli *cli, const json_t *row, const char *key); /* lists too */
char *cli_cell_count(const struct cli *cli, const json_t *row, const char *key);
char *cli_cell_bytes(const struct cli *cli, const json_t *row, const char *key);
char *cli_cell_mib(const struct cli *cli, const json_t *row, const char *key);
char *cli_cell_share(const struct cli *cli, const json_t *row, const char *key); /* of 1 */
char *cli_cell_cpu(const struct cli *cli, const json_t *row, const char *key);   /* ns */
char *cli_cell_seconds(const struct cli *cli, const json_t *row, const char *key);
char *cli_cell_duration(const struct cli *cli, const json_t *row, const char *key); /* ms */
char *cli_cell_age(const struct cli *cli, const json_t *row, const char *key); /* of a time in ms */

#endif
