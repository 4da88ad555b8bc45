/* SPDX-License-Identifier: Apache-2.0 */
#include "loadgen/protocol.h"

#include <string.h>

#include "ctrl/base/util.h"

static const char *const class_names[] = {
	[LOAD_OK] = "ok",
	[LOAD_CONNECT_REFUSED] = "connect_refused",
	[LOAD_CONNECT_TIMEOUT] = "connect_timeout",
	[LOAD_CONNECT_RESET] = "connect_reset",
	[LOAD_CONNECT_FAILED] = "connect_failed",
	[LOAD_RESET] = "reset",
	[LOAD_CLOSED] = "closed",
	[LOAD_TIMEOUT] = "timeout",
	[LOAD_HTTP_4XX] = "http_4xx",
	[LOAD_HTTP_5XX] = "http_5xx",
	[LOAD_MALFORMED] = "malformed",
	[LOAD_OVERLOAD] = "overload",
};
_Static_assert(ARRAY_SIZE(class_names) == LOAD_CLASS_COUNT, "a name for each class");

const char *load_class_name(enum load_class c)
{
	return class_names[c];
}

const struct load_protocol *load_protocol_find(const char *scheme)
{
	static const struct load_protocol *const all[] = {&load_http};

	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		if (strcmp(scheme, all[i]->scheme) == 0)
			return all[i];
	return NULL;
}
