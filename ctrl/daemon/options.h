/* SPDX-License-Identifier: Apache-2.0 */
/* weftd's command line. */
#ifndef WEFT_DAEMON_OPTIONS_H
#define WEFT_DAEMON_OPTIONS_H

#include <limits.h>
#include <stdbool.h>

#include "ctrl/engine/engine.h"

struct options {
	struct weft_engine_config engine;
	const char *socket;
	bool purge;
	char node[256], libexec[PATH_MAX];
};

/* 0: go on; 1: help or version was printed; negative errno with err filled. */
int options_parse(int argc, char **argv, struct options *ret, struct weft_err *err);

#endif
