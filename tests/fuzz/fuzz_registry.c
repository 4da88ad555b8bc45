/* SPDX-License-Identifier: Apache-2.0 */
/* What a registry, a name service or a file of settings may say. The first byte says which. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ctrl/base/util.h"
#include "runtimes/registry/challenge.h"
#include "runtimes/registry/registry.h"

static void challenge(const uint8_t *data, size_t size)
{
	struct weft_challenge c;

	weft_challenge_parse((const char *)data, size, &c);
	assert(strlen(c.realm) < sizeof(c.realm) && strlen(c.service) < sizeof(c.service));
	assert(c.scheme != WEFT_CHALLENGE_BEARER || c.realm[0]);
}

/* Lines as libcurl hands them on, one by one. */
static void head(const uint8_t *data, size_t size)
{
	struct weft_http_head h = {};

	for (size_t at = 0; at < size;) {
		const uint8_t *end = memchr(data + at, '\n', size - at);
		size_t n = end ? (size_t)(end - data) + 1 - at : size - at;

		weft_http_head_line(&h, (const char *)data + at, n);
		at += n;
	}
	assert(h.status >= 0 && h.status <= 999 && h.retry_after_s <= 3600);
	assert(strlen(h.content_type) < sizeof(h.content_type));
	assert(strlen(h.authenticate) < sizeof(h.authenticate));
}

static void reference(const char *text)
{
	struct weft_reference ref, again;
	char full[WEFT_REFERENCE_TEXT], twice[WEFT_REFERENCE_TEXT];
	struct weft_err err = {};

	if (weft_reference_parse(text, &ref, &err) < 0) {
		assert(err.code && err.msg[0] && err.hint[0]);
		return;
	}
	/* In full it means the same. */
	weft_reference_format(&ref, full);
	assert(weft_reference_parse(full, &again, &err) == 0);
	weft_reference_format(&again, twice);
	assert(strcmp(full, twice) == 0 && strcmp(ref.api, again.api) == 0);
	assert(!strstr(ref.name, "..") && ref.name[0] != '/');
}

static void settings(const uint8_t *data, size_t size)
{
	struct weft_registry_settings s = {};
	struct weft_reference ref;
	struct weft_err err = {};

	if (weft_reference_parse("r.x:5000/a", &ref, &err) < 0)
		abort();
	if (weft_registry_settings_parse("f", (const char *)data, size, &ref, &s, &err) < 0)
		assert(err.code && !s.user && !s.password && !s.ca);
	assert(!s.user == !s.password);
	weft_registry_settings_done(&s);
}

static void addresses(const char *text)
{
	char list[96];

	if (weft_resolve_parse(text, list, sizeof(list)) == 0)
		assert(list[0] && !strpbrk(list, " \t\n"));
	else
		assert(!list[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(freep) char *text = NULL, *token = NULL;

	if (size < 1)
		return 0;
	text = strndup((const char *)data + 1, size - 1);
	if (!text)
		return 0;
	switch (data[0]) {
	case 'c':
		challenge(data + 1, size - 1);
		break;
	case 'h':
		head(data + 1, size - 1);
		break;
	case 'r':
		reference(text);
		break;
	case 's':
		settings(data + 1, size - 1);
		break;
	case 'a':
		addresses(text);
		break;
	default:
		token = weft_registry_token((const char *)data + 1, size - 1);
		assert(!token || (token[0] && !strpbrk(token, " \r\n")));
	}
	return 0;
}
