/* SPDX-License-Identifier: Apache-2.0 */
/* weftd's configuration file. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctrl/daemon/config.c"
#include "ctrl/daemon/options.c"
#include "ctrl/daemon/options_net.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *const argv[] = {(char *)"weftd", NULL};
	struct weft_err err = {0};
	struct options o;

	if (options_parse(1, (char **)argv, &o, &err) != 0)
		abort();
	if (config_parse("f", (const char *)data, size, &o, &err) < 0) {
		unsigned line = 0, column = 0;
		int message = 0;

		sscanf(err.msg, "f:%u:%u: %n", &line, &column, &message);
		if (!line || !column || !message)
			abort();
	} else if (o.engine.mtu < 576 || o.engine.state_dir[0] != '/') {
		abort();
	}
	options_free(&o);
	return 0;
}
