/* SPDX-License-Identifier: Apache-2.0 */
/* Run the weft program inside a test and keep what it wrote. */
#ifndef WEFT_TESTS_LIB_CLI_RUN_H
#define WEFT_TESTS_LIB_CLI_RUN_H

#include "tests/lib/fake_api.h"

struct cli_run {
	int status;
	char *out, *err;
	char *requests; /* what the fake API was asked; "" without one */
	double seconds;
};

enum {
	CLI_RUN_ASCII = 1 << 0, /* not a UTF-8 locale */
};

/* line is split at blanks, after "weft". routes may be NULL: nobody listens. */
struct cli_run cli_run(const struct fake_route *routes, const char *line);
struct cli_run cli_run_with(
	const struct fake_route *routes, const char *line, unsigned flags, const char *input);
void cli_run_done(struct cli_run *r);

/* Compare all three, showing both texts when they differ. NULL: not looked at. */
#define assert_run(r, status, out, err) cli_run_check(r, status, out, err, __FILE__, __LINE__)
void cli_run_check(const struct cli_run *r, int status, const char *out, const char *err,
	const char *file, int line);

#endif
