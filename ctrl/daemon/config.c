/* SPDX-License-Identifier: Apache-2.0 */
#include "ctrl/daemon/config.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctrl/base/jsonpos.h"
#include "ctrl/base/util.h"

/* Put file and position before the error. at: of the key's name, or of its value. */
static int at(const char *name, const char *text, size_t size, const char *key,
	int (*find)(const char *, size_t, const char *, struct weft_jsonpos *),
	struct weft_err *err)
{
	struct weft_jsonpos pos = {0, 1, 1};
	char path[256] = "";

	if (weft_jsonpath_member(path, sizeof(path), key) == 0)
		find(text, size, path, &pos);
	return weft_err_prefix(err, "%s:%u:%u", name, pos.line, pos.column);
}

static int unknown(
	const char *name, const char *text, size_t size, const char *key, struct weft_err *err)
{
	weft_err_set(err, EINVAL, "unknown key \"%.60s\"", key);
	at(name, text, size, key, weft_jsonpos_name, err);
	return weft_err_hint(
		err, "weftd --print-config lists the keys; weftd.conf(5) explains them");
}

static int load(const char *name, const char *text, size_t size, json_t **ret, struct weft_err *err)
{
	json_error_t e;
	json_t *doc = json_loadb(text, size, JSON_REJECT_DUPLICATES, &e);

	if (!doc) {
		weft_err_set(err, EINVAL, "%s:%d:%d: %s", name, e.line > 0 ? e.line : 1,
			e.column > 0 ? e.column : 1, e.text);
		return weft_err_hint(err, "the file is one JSON object; see weftd.conf(5)");
	}
	if (!json_is_object(doc)) {
		json_decref(doc);
		weft_err_set(err, EINVAL, "%s:1:1: must be an object", name);
		return weft_err_hint(err, "{ \"mtu\": 1400 }");
	}
	*ret = doc;
	return 0;
}

int config_parse(
	const char *name, const char *text, size_t size, struct options *o, struct weft_err *err)
{
	json_auto_t *doc = NULL;
	const char *key;
	json_t *value;
	size_t n = 0;
	int r = load(name, text, size, &doc, err);

	if (r < 0)
		return r;
	json_object_foreach (doc, key, value) {
		int setting = options_setting(key);
		char *s;

		if (setting < 0)
			return unknown(name, text, size, key, err);
		if (!json_is_string(value) && !json_is_integer(value)) {
			weft_err_set(err, EINVAL, "%s must be a string or a whole number", key);
			return at(name, text, size, key, weft_jsonpos_value, err);
		}
		s = json_is_string(value) ? strdup(json_string_value(value))
					  : weft_strf("%lld", (long long)json_integer_value(value));
		if (!s)
			return weft_err_set(err, ENOMEM, "%s: out of memory", name);
		o->owned[n++] = s;
		if (options_set(o, setting, key, s, err) < 0)
			return at(name, text, size, key, weft_jsonpos_value, err);
	}
	return 0;
}

int config_read(const char *path, bool required, struct options *o, struct weft_err *err)
{
	char *text = NULL;
	size_t size;
	int r = weft_read_file(path, CONFIG_MAX_SIZE, &text, &size);

	if (r == -ENOENT && !required)
		return 0;
	if (r < 0) {
		weft_err_set(err, r, "configuration %s: %s", path, strerror(-r));
		return weft_err_hint(err, "give another file: --config=FILE");
	}
	r = config_parse(path, text, size, o, err);
	free(text);
	return r;
}
