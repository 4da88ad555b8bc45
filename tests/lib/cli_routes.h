/* SPDX-License-Identifier: Apache-2.0 */
/* What a fake API answers, in place:
 *   ROUTES(ROUTE("GET /v1/status", {.status = 200, .body = "{}"}), ...) */
#ifndef WEFT_TESTS_LIB_CLI_ROUTES_H
#define WEFT_TESTS_LIB_CLI_ROUTES_H

#include "tests/lib/cli_run.h"

#define ONE(...)                    \
	(const struct fake_reply[]) \
	{                           \
		__VA_ARGS__         \
	}
#define ROUTE(req, ...)                                                                     \
	{                                                                                   \
		req, ONE(__VA_ARGS__), sizeof(ONE(__VA_ARGS__)) / sizeof(struct fake_reply) \
	}
#define ROUTES(...)                 \
	(const struct fake_route[]) \
	{                           \
		__VA_ARGS__,        \
		{                   \
			0           \
		}                   \
	}

#endif
