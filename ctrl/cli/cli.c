/* SPDX-License-Identifier: Apache-2.0 */
#include "ctrl/cli/cli.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "ctrl/cli/client.h"
#include "ctrl/cli/value.h"

void cli_say(struct cli *cli, const char *fmt, ...)
{
	_cleanup_(freep) char *text = NULL, *clean = NULL;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n < 0) {
		text = NULL;
		return;
	}
	clean = cli_clean(text, cli->io.utf8);
	fflush(cli->io.out);
	fprintf(cli->io.err, "%s\n", clean ? clean : text);
	fflush(cli->io.err);
	cli->talk++;
}

void cli_say_error(struct cli *cli, const struct weft_err *err)
{
	_cleanup_(freep) char *msg = cli_clean(err->msg, cli->io.utf8);
	_cleanup_(freep) char *hint = cli_clean(err->hint, cli->io.utf8);

	fflush(cli->io.out);
	fprintf(cli->io.err, "%serror:%s %s\n", cli->colored ? "\033[1;31m" : "",
		cli->colored ? "\033[0m" : "", msg ? msg : err->msg);
	if (hint && *hint)
		fprintf(cli->io.err, "hint: %s\n", hint);
	fflush(cli->io.err);
	cli->talk++;
}

static bool want_color(const struct cli *cli)
{
	const char *term = getenv("TERM"), *no = getenv("NO_COLOR");

	if (cli->color && strcmp(cli->color, "auto") != 0)
		return strcmp(cli->color, "always") == 0;
	return cli->tty && !(no && *no) && term && strcmp(term, "dumb") != 0;
}

static int check_args(const struct cli *cli, struct weft_err *err)
{
	const struct cli_command *c = cli->command;
	size_t named = cli->n_args;

	if (cli->n_args < c->min_args || cli->n_args > c->max_args) {
		if (cli->n_args > c->max_args)
			weft_err_set(err, EINVAL, "weft %s: unexpected argument \"%s\"", c->words,
				cli->args[c->max_args]);
		else
			weft_err_set(err, EINVAL, "weft %s: %s is missing", c->words, c->args);
		return weft_err_hint(
			err, "usage: weft %s%s%s [FLAGS]", c->words, *c->args ? " " : "", c->args);
	}
	/* what a command in an instance is given may well be empty */
	if (c->run == cli_cmd_instance_exec)
		named = c->min_args;
	for (size_t i = 0; i < named; i++)
		if (!*cli->args[i])
			return weft_err_set(
				err, EINVAL, "weft %s: an empty name names nothing", c->words);
	return cli_check_options(cli, err);
}

/* Help is asked for, or a noun stands without a verb that could be meant. */
static int run_help(struct cli *cli, struct weft_err *err)
{
	if (cli->command || cli->n_args == 0) {
		cli_help(cli->io.out, cli->command);
		return 0;
	}
	return cli_cmd_help(cli, err);
}

static int find_command(struct cli *cli, struct weft_err *err)
{
	static char status[] = "status";
	char *const bare[] = {status};
	size_t used = 0;

	if (cli->n_args == 0 && cli->help)
		return 0;
	if (cli->n_args == 0) {
		cli->command = cli_find_command(bare, 1, &used);
		return 0;
	}
	cli->command = cli_find_command(cli->args, cli->n_args, &used);
	/* What is explained of a noun are all of its verbs, and not the one that it stands for. */
	if (cli->command && cli->help && cli->n_args == 1 && strchr(cli->command->words, ' '))
		cli->command = NULL;
	if (!cli->command && cli->help)
		return 0;
	if (!cli->command && cli->n_args == 1 && cli_help_noun(cli->io.err, cli->args[0]))
		return weft_err_set(err, EINVAL, "weft %s: what of it?", cli->args[0]);
	if (!cli->command)
		return cli_unknown_command(cli->args, cli->n_args, err);
	memmove(cli->args, cli->args + used, (cli->n_args - used) * sizeof(*cli->args));
	cli->n_args -= used;
	return 0;
}

static int dispatch(struct cli *cli, struct weft_err *err)
{
	int r = find_command(cli, err);

	if (r < 0)
		return r;
	if (cli->help)
		return run_help(cli, err);
	r = check_args(cli, err);
	if (r < 0)
		return r;
	if (cli->timeout_ms != UINT64_MAX)
		cli->deadline_ns = weft_now_ns() + cli->timeout_ms * 1000000;
	return cli->command->run(cli, err);
}

static int run(struct cli *cli, int argc, char *argv[], struct weft_err *err)
{
	const char *host = getenv("WEFT_HOST"), *token = getenv("WEFT_TOKEN_FILE");
	int r = cli_parse_options(cli, argc, argv, err);

	cli->tty = isatty(fileno(cli->io.out)) == 1;
	cli->colored = want_color(cli);
	if (r < 0)
		return r;
	if (cli->version) {
		fprintf(cli->io.out, "weft %s\n", WEFT_VERSION);
		return 0;
	}
	if (!cli->socket)
		r = cli_parse_host(host && *host ? host : CLI_DEFAULT_HOST, cli, err);
	if (!cli->token_file && token && *token)
		cli->token_file = token;
	return r < 0 ? r : dispatch(cli, err);
}

int weft_cli(int argc, char *argv[], const struct cli_io *io)
{
	struct cli cli = {
		.io = *io,
		.timeout_ms = UINT64_MAX,
		.duration_ms = UINT64_MAX,
		.drain_ms = UINT64_MAX,
		.hold_ms = UINT64_MAX,
		.at_a_time = UINT64_MAX,
		.tail = UINT64_MAX,
		.since = UINT64_MAX,
		.limit = UINT64_MAX,
		.after = UINT64_MAX,
		.weight = UINT64_MAX,
		.port = UINT64_MAX,
		.mtu = UINT64_MAX,
		.if_version = UINT64_MAX,
		.signal_fd = -1,
	};
	struct weft_err err = {0};
	int r = run(&cli, argc, argv, &err);

	if (r < 0) {
		if (!err.code) /* a handler that ran out of memory has no text */
			weft_err_set(&err, r, "%s", strerror(-r));
		cli_say_error(&cli, &err);
		r = weft_err_exit(err.code);
	}
	if ((fflush(io->out) != 0 || ferror(io->out)) && r == 0) {
		weft_err_set(&err, EIO, "the result could not be written: %s", strerror(errno));
		cli_say_error(&cli, &err);
		r = 1;
	}
	curl_easy_cleanup(cli.curl);
	if (cli.token)
		explicit_bzero(cli.token, strlen(cli.token));
	free(cli.token);
	free(cli.args);
	return r;
}
