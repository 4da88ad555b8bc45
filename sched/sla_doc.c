/* SPDX-License-Identifier: Apache-2.0 */
/* Walking the descriptor: every value knows its path, so every error can name it and point at it.
 */
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/jsonpos.h"
#include "ctrl/base/util.h"
#include "sched/sla_internal.h"

void sla_clean(char *buf, size_t size, const char *s)
{
	size_t n = strlen(s), max = size - sizeof("...");
	bool cut = n > max;

	if (cut)
		for (n = max; n > 0 && ((uint8_t)s[n] & 0xc0) == 0x80; n--)
			;
	for (size_t i = 0; i < n; i++)
		buf[i] = (char)(iscntrl((unsigned char)s[i]) ? '?' : s[i]);
	strcpy(buf + n, cut ? "..." : "");
}

struct sla_quoted sla_quote(const char *s)
{
	struct sla_quoted q = {{0}};

	sla_clean(q.text, sizeof(q.text), s);
	return q;
}

/* From the root down. A path too long for the buffer ends early: it still leads to the place. */
static void render_path(const struct sla_at *at, char *path, size_t size)
{
	if (!at->up)
		return;
	render_path(at->up, path, size);
	if (at->key)
		weft_jsonpath_member(path, size, at->key);
	else
		weft_jsonpath_element(path, size, at->index);
}

/* A member that is missing has no position: its object's is the next best. */
static void locate(const struct sla_at *at, bool name, struct weft_jsonpos *ret)
{
	const struct sla_doc *doc = at->doc;

	for (; at; at = at->up) {
		char path[256] = "";
		int r;

		render_path(at, path, sizeof(path));
		r = (name ? weft_jsonpos_name : weft_jsonpos_value)(
			doc->text, doc->size, path, ret);
		if (r == 0)
			return;
		name = false;
	}
	weft_jsonpos_at(doc->text, doc->size, 0, ret);
}

static int fail(const struct sla_at *at, bool name, const char *fmt, va_list ap)
	__attribute__((format(printf, 3, 0)));
static int fail(const struct sla_at *at, bool name, const char *fmt, va_list ap)
{
	struct weft_err *err = at->doc->err;
	char path[256] = "";
	struct weft_jsonpos pos;

	weft_err_vset(err, EINVAL, fmt, ap);
	render_path(at, path, sizeof(path));
	if (path[0])
		weft_err_prefix(err, "%s", path);
	locate(at, name, &pos);
	weft_err_prefix(err, "%s:%u:%u", at->doc->name, pos.line, pos.column);
	return -EINVAL;
}

int sla_fail(const struct sla_at *at, const char *fmt, ...)
{
	va_list ap;
	int r;

	va_start(ap, fmt);
	r = fail(at, false, fmt, ap);
	va_end(ap);
	return r;
}

int sla_fail_name(const struct sla_at *at, const char *fmt, ...)
{
	va_list ap;
	int r;

	va_start(ap, fmt);
	r = fail(at, true, fmt, ap);
	va_end(ap);
	return r;
}

int sla_no_memory(const struct sla_doc *doc)
{
	return weft_err_set(doc->err, ENOMEM, "%s: out of memory", doc->name);
}

/* --- keys ----------------------------------------------------------------------------------------
 */

bool sla_near(const char *a, const char *b)
{
	size_t la = strlen(a), lb = strlen(b), head = 0, tail = 0, min = la < lb ? la : lb;
	size_t ra, rb;

	while (head < min && tolower((unsigned char)a[head]) == tolower((unsigned char)b[head]))
		head++;
	while (tail < min - head && tolower((unsigned char)a[la - tail - 1]) ==
					    tolower((unsigned char)b[lb - tail - 1]))
		tail++;
	ra = la - head - tail;
	rb = lb - head - tail;
	if (ra <= 1 && rb <= 1)
		return true;
	return ra == 2 && rb == 2 &&
	       tolower((unsigned char)a[head]) == tolower((unsigned char)b[head + 1]) &&
	       tolower((unsigned char)a[head + 1]) == tolower((unsigned char)b[head]);
}

const struct sla_key *sla_find_key(const struct sla_keys *keys, const char *name)
{
	for (size_t i = 0; i < keys->n; i++)
		if (strcmp(keys->keys[i].name, name) == 0)
			return &keys->keys[i];
	return NULL;
}

static const char *kind_name(enum sla_kind kind)
{
	static const char *const names[] = {
		[SLA_STRING] = "a string",
		[SLA_INTEGER] = "an integer",
		[SLA_NUMBER] = "a number",
		[SLA_BOOL] = "true or false",
		[SLA_STRINGS] = "an array of strings",
		[SLA_ARRAY] = "an array of objects",
		[SLA_OBJECT] = "an object",
	};

	return names[kind];
}

static bool is_kind(const json_t *v, enum sla_kind kind)
{
	switch (kind) {
	case SLA_STRING:
		return json_is_string(v);
	case SLA_INTEGER:
		return json_is_integer(v);
	case SLA_NUMBER:
		return json_is_number(v);
	case SLA_BOOL:
		return json_is_boolean(v);
	case SLA_STRINGS:
	case SLA_ARRAY:
		return json_is_array(v);
	case SLA_OBJECT:
		return json_is_object(v);
	}
	return false;
}

static int check_kind(const struct sla_at *at, enum sla_kind kind)
{
	static const char *const types[] = {
		[JSON_OBJECT] = "an object",
		[JSON_ARRAY] = "an array",
		[JSON_STRING] = "a string",
		[JSON_INTEGER] = "a number",
		[JSON_REAL] = "a number",
		[JSON_TRUE] = "true",
		[JSON_FALSE] = "false",
		[JSON_NULL] = "null",
	};

	if (!is_kind(at->value, kind)) {
		if (kind == SLA_INTEGER && json_is_real(at->value))
			return sla_fail(
				at, "must be an integer, is %g", json_real_value(at->value));
		return sla_fail(
			at, "must be %s, is %s", kind_name(kind), types[json_typeof(at->value)]);
	}
	if (kind != SLA_STRINGS && kind != SLA_ARRAY)
		return 0;
	for (size_t i = 0; i < json_array_size(at->value); i++) {
		struct sla_at item = sla_element(at, i);
		int r = check_kind(&item, kind == SLA_STRINGS ? SLA_STRING : SLA_OBJECT);

		if (r < 0)
			return r;
	}
	return 0;
}

static int check_typo(const struct sla_at *at, const struct sla_keys *keys)
{
	for (size_t i = 0; i < keys->n; i++) {
		if (!sla_near(at->key, keys->keys[i].name))
			continue;
		sla_fail_name(at, "unknown key, did you mean \"%s\"?", keys->keys[i].name);
		return weft_err_hint(at->doc->err,
			"unknown keys are ignored, but not one this close to a known one: "
			"rename it if it is meant");
	}
	return 0;
}

/* 0, false, "", [] and {} ask for nothing. */
static bool asks_nothing(const json_t *v)
{
	return json_is_false(v) || json_is_null(v) ||
	       (json_is_number(v) && json_number_value(v) == 0) ||
	       (json_is_string(v) && json_string_length(v) == 0) ||
	       (json_is_array(v) && json_array_size(v) == 0) ||
	       (json_is_object(v) && json_object_size(v) == 0);
}

static int ignore(const struct sla_at *at)
{
	struct weft_sla *sla = at->doc->sla;
	char path[256] = "", clean[sizeof(path)];

	sla->n_ignored++;
	if (sla->n_named == SLA_IGNORED_MAX)
		return 0;
	if (!sla->ignored)
		sla->ignored = calloc(SLA_IGNORED_MAX, sizeof(*sla->ignored));
	render_path(at, path, sizeof(path));
	sla_clean(clean, sizeof(clean), path);
	if (sla->ignored)
		sla->ignored[sla->n_named] = strdup(clean);
	if (!sla->ignored || !sla->ignored[sla->n_named])
		return sla_no_memory(at->doc);
	sla->n_named++;
	return 0;
}

int sla_check(const struct sla_at *at, const struct sla_keys *keys)
{
	int r = check_kind(at, SLA_OBJECT);

	/* Typos first: a missing key is best explained by the misspelt one beside it. */
	for (void *i = json_object_iter((json_t *)at->value); r == 0 && i;
		i = json_object_iter_next((json_t *)at->value, i)) {
		struct sla_at member = {
			at->doc, at, json_object_iter_key(i), 0, json_object_iter_value(i)};
		const struct sla_key *key = sla_find_key(keys, member.key);

		r = key ? check_kind(&member, key->kind) : check_typo(&member, keys);
		if (r == 0 && (!key || (key->need == SLA_IGNORED && !asks_nothing(member.value))))
			r = ignore(&member);
	}
	for (size_t i = 0; r == 0 && i < keys->n; i++) {
		struct sla_at member = {at->doc, at, keys->keys[i].name, 0, NULL};

		if (keys->keys[i].need == SLA_REQUIRED && !json_object_get(at->value, member.key))
			r = sla_fail(&member, "required, but missing");
	}
	return r;
}

/* --- values --------------------------------------------------------------------------------------
 */

bool sla_member(const struct sla_at *at, const char *key, struct sla_at *ret)
{
	const json_t *value = json_object_get(at->value, key);

	if (!value)
		return false;
	*ret = (struct sla_at){at->doc, at, key, 0, value};
	return true;
}

struct sla_at sla_element(const struct sla_at *at, size_t index)
{
	return (struct sla_at){at->doc, at, NULL, index, json_array_get(at->value, index)};
}

static int copy_string(const struct sla_at *at, size_t max, char **ret)
{
	size_t n = json_string_length(at->value);
	char *copy;

	if (n > max)
		return sla_fail(at, "must be at most %zu bytes long, is %zu", max, n);
	copy = strdup(json_string_value(at->value));
	if (!copy)
		return sla_no_memory(at->doc);
	*ret = copy;
	return 0;
}

int sla_string(const struct sla_at *at, const char *key, size_t max, char **ret)
{
	struct sla_at member;

	return sla_member(at, key, &member) ? copy_string(&member, max, ret) : 0;
}

int sla_uint(const struct sla_at *at, const char *key, uint32_t min, uint32_t max, uint32_t *ret)
{
	struct sla_at member;
	json_int_t v;

	if (!sla_member(at, key, &member))
		return 0;
	v = json_integer_value(member.value);
	if (v < min || v > max)
		return sla_fail(&member, "must be %u to %u, is %" JSON_INTEGER_FORMAT, min, max, v);
	*ret = (uint32_t)v;
	return 0;
}

int sla_millis(const struct sla_at *at, const char *key, uint32_t max_s, uint32_t *ret)
{
	struct sla_at member;
	double v;

	if (!sla_member(at, key, &member))
		return 0;
	v = json_number_value(member.value);
	if (v < 0 || v > max_s)
		return sla_fail(&member, "must be 0 to %u seconds, is %g", max_s, v);
	*ret = (uint32_t)lround(v * 1000);
	return 0;
}

int sla_strings(const struct sla_at *at, const char *key, char ***ret)
{
	_cleanup_(strv_freep) char **list = NULL;
	struct sla_at member;
	size_t n;

	if (!sla_member(at, key, &member))
		return 0;
	n = json_array_size(member.value);
	if (n > SLA_ITEMS_MAX)
		return sla_fail(&member, "must have at most %u entries, has %zu", SLA_ITEMS_MAX, n);
	if (n > 0) {
		list = calloc(n + 1, sizeof(*list));
		if (!list)
			return sla_no_memory(at->doc);
	}
	for (size_t i = 0; i < n; i++) {
		struct sla_at item = sla_element(&member, i);
		int r = copy_string(&item, SLA_ITEM_MAX, &list[i]);

		if (r < 0)
			return r;
	}
	*ret = TAKE_PTR(list);
	return 0;
}
