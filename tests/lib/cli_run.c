/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/cli_run.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ctrl/base/util.h"
#include "ctrl/cli/cli.h"

#define MAX_WORDS 32

static int split(char *line, char **argv)
{
	char *save = NULL;
	int n = 0;

	for (char *w = strtok_r(line, " ", &save); w && n < MAX_WORDS;
		w = strtok_r(NULL, " ", &save))
		argv[n++] = w;
	return n;
}

struct cli_run cli_run_with(
	const struct fake_route *routes, const char *line, unsigned flags, const char *input)
{
	struct fake_api *api = routes ? fake_api_start(routes) : NULL;
	char *words = weft_strf(
		"weft -H %s %s", api ? fake_api_host(api) : "unix:/nonexistent/weftd.sock", line);
	char *argv[MAX_WORDS + 1] = {0};
	struct cli_run r = {0};
	size_t n_out, n_err;
	FILE *out = open_memstream(&r.out, &n_out), *err = open_memstream(&r.err, &n_err);
	FILE *in = fmemopen((void *)(input ? input : ""), input ? strlen(input) : 1, "r");
	uint64_t start = weft_now_ns();

	r.status = weft_cli(split(words, argv), argv,
		&(struct cli_io){in, out, err, "/nonexistent", !(flags & CLI_RUN_ASCII)});
	r.seconds = (double)(weft_now_ns() - start) / 1e9;
	fclose(in);
	fclose(out);
	fclose(err);
	r.requests = api ? fake_api_stop(api) : strdup("");
	free(words);
	return r;
}

struct cli_run cli_run(const struct fake_route *routes, const char *line)
{
	return cli_run_with(routes, line, 0, NULL);
}

void cli_run_done(struct cli_run *r)
{
	free(r->out);
	free(r->err);
	free(r->requests);
	*r = (struct cli_run){0};
}

static int same(const char *what, const char *got, const char *want)
{
	if (!want || strcmp(got, want) == 0)
		return 1;
	print_error("%s is\n%s\nand should be\n%s\n", what, got, want);
	return 0;
}

void cli_run_check(const struct cli_run *r, int status, const char *out, const char *err,
	const char *file, int line)
{
	int ok = same("stdout", r->out, out) & same("stderr", r->err, err);

	if (r->status != status) {
		print_error(
			"exit status %d, should be %d; stderr: %s\n", r->status, status, r->err);
		ok = 0;
	}
	_assert_true((LargestIntegralType)ok, "assert_run", file, line);
}
