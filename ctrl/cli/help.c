/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "ctrl/cli/cli.h"

#define MAX_WORDS 3

static char *join(char *const *words, size_t n)
{
	char *all = strdup("");

	for (size_t i = 0; i < n && i < MAX_WORDS && all; i++) {
		char *more = weft_strf("%s%s%s", all, i ? " " : "", words[i]);

		free(all);
		all = more;
	}
	return all;
}

static size_t count_words(const char *s)
{
	size_t n = 1;

	for (; *s; s++)
		n += *s == ' ';
	return n;
}

/* "service list" is found by {"service", "list", ...} and by {"service"} alone. */
const struct cli_command *cli_find_command(char *const *words, size_t n, size_t *ret_used)
{
	for (const struct cli_command *c = cli_commands; c->words; c++) {
		size_t want = count_words(c->words);
		_cleanup_(freep) char *given = join(words, want < n ? want : n);

		if (!given)
			return NULL;
		if (n >= want && strcmp(given, c->words) == 0) {
			*ret_used = want;
			return c;
		}
		if (n == want - 1 && n > 0 && strncmp(given, c->words, strlen(given)) == 0 &&
			strcmp(c->words + strlen(given), " list") == 0) {
			*ret_used = n;
			return c;
		}
	}
	return NULL;
}

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
	unsigned m = a < b ? a : b;

	return m < c ? m : c;
}

/* Levenshtein's distance of two short words; far apart when either is long. */
static unsigned distance(const char *a, const char *b)
{
	size_t na = strlen(a), nb = strlen(b);
	unsigned row[32];

	if (na > 31 || nb > 31)
		return 99;
	for (size_t j = 0; j <= nb; j++)
		row[j] = (unsigned)j;
	for (size_t i = 1; i <= na; i++) {
		unsigned diagonal = row[0];

		row[0] = (unsigned)i;
		for (size_t j = 1; j <= nb; j++) {
			unsigned above = row[j];

			row[j] =
				min3(row[j] + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1]));
			diagonal = above;
		}
	}
	return row[nb];
}

int cli_unknown_command(char *const *words, size_t n, struct weft_err *err)
{
	_cleanup_(freep) char *given = join(words, n);
	const char *nearest = NULL;
	unsigned best = 4;

	if (!given)
		return weft_err_set(err, ENOMEM, "out of memory");
	for (const struct cli_command *c = cli_commands; c->words; c++) {
		size_t want = count_words(c->words);
		_cleanup_(freep) char *part = join(words, want < n ? want : n);
		unsigned d = part ? distance(part, c->words) : 99;

		if (d < best) {
			best = d;
			nearest = c->words;
		}
	}
	weft_err_set(err, EINVAL, "there is no command \"weft %s\"", given);
	if (nearest)
		return weft_err_hint(err, "weft %s", nearest);
	for (const struct cli_command *c = cli_commands; c->words; c++) {
		size_t len = strlen(words[0]);

		if (strncmp(c->words, words[0], len) == 0 && c->words[len] == ' ')
			return weft_err_hint(err, "weft %s --help", words[0]);
	}
	return weft_err_hint(err, "weft --help");
}

static void print_command(FILE *f, const struct cli_command *c)
{
	_cleanup_(freep) char *left = weft_strf("%s %s", c->words, c->args);

	fprintf(f, "  %-22s  %s\n", left ? left : c->words, c->help);
}

bool cli_help_noun(FILE *f, const char *noun)
{
	size_t len = strlen(noun);
	bool found = false;

	for (const struct cli_command *c = cli_commands; c->words; c++) {
		if (strncmp(c->words, noun, len) != 0 || c->words[len] != ' ')
			continue;
		if (!found)
			fprintf(f, "usage: weft %s VERB [NAME...] [FLAGS]\n\n", noun);
		found = true;
		print_command(f, c);
	}
	if (found)
		fprintf(f, "\nweft %s VERB --help explains one.\n", noun);
	return found;
}

void cli_help(FILE *f, const struct cli_command *command)
{
	if (command) {
		fprintf(f, "usage: weft %s%s%s [FLAGS]\n\n", command->words,
			*command->args ? " " : "", command->args);
		fprintf(f, "%s\n", command->help);
		if (command->more)
			fprintf(f, "%s\n", command->more);
		fputs("\n", f);
		cli_help_options(f, command);
	} else {
		fputs("usage: weft [NOUN VERB [NAME...]] [FLAGS]\n\n"
		      "weft moves a live service between a container, a gVisor sandbox and a "
		      "unikernel.\n\n",
			f);
		for (const struct cli_command *c = cli_commands; c->words; c++)
			print_command(f, c);
		fputs("\nflags of every command:\n", f);
	}
	cli_help_options(f, NULL);
	fputs("\nexit status: 0 ok, 1 failed, 2 usage, 3 not found, 4 conflict, 5 timeout,\n"
	      "  6 daemon unreachable, 7 partly done\n",
		f);
	if (!command)
		fputs("weft COMMAND --help explains one; weft(1) has it all.\n", f);
}

int cli_cmd_help(struct cli *cli, struct weft_err *err)
{
	const struct cli_command *command;
	size_t used = 0;

	if (cli->n_args == 0) {
		cli_help(cli->io.out, NULL);
		return 0;
	}
	command = cli_find_command(cli->args, cli->n_args, &used);
	if (command && used == cli->n_args && strcmp(cli->args[used - 1], "list") == 0) {
		cli_help(cli->io.out, command);
		return 0;
	}
	if (cli->n_args == 1 && cli_help_noun(cli->io.out, cli->args[0]))
		return 0;
	if (!command)
		return cli_unknown_command(cli->args, cli->n_args, err);
	cli_help(cli->io.out, command);
	return 0;
}
