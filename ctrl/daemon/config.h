/* SPDX-License-Identifier: Apache-2.0 */
/* weftd.conf(5): one JSON object, whose keys are weftd's options with '_' for '-'. Strict: a key
 * that is unknown or there twice, and a value of another type, are errors with their position. */
#ifndef WEFT_DAEMON_CONFIG_H
#define WEFT_DAEMON_CONFIG_H

#include "ctrl/daemon/options.h"

#define CONFIG_MAX_SIZE (1U << 20)

/* Set what the file says. One that is missing is an error only if it was asked for. */
int config_read(const char *path, bool required, struct options *o, struct weft_err *err);
/* The same of a text; name is what errors call it. */
int config_parse(
	const char *name, const char *text, size_t size, struct options *o, struct weft_err *err);

#endif
