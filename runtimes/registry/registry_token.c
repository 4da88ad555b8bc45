/* SPDX-License-Identifier: Apache-2.0 */
#include <jansson.h>
#include <string.h>

#include "ctrl/base/util.h"
#include "runtimes/registry/registry.h"

#define MAX_TOKEN 16384

static bool is_plain(const char *s)
{
	for (; *s; s++)
		if (*s <= 0x20 || *s >= 0x7f)
			return false;
	return true;
}

/* {"token": "..."} or, by OAuth2, {"access_token": "..."} */
char *weft_registry_token(const char *text, size_t size)
{
	json_auto_t *o = json_loadb(text, size, 0, NULL);
	const char *s = json_string_value(json_object_get(o, "token"));

	if (!s || !*s)
		s = json_string_value(json_object_get(o, "access_token"));
	return s && *s && strlen(s) <= MAX_TOKEN && is_plain(s) ? strdup(s) : NULL;
}
