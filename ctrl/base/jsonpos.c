/* SPDX-License-Identifier: Apache-2.0 */
#include "ctrl/base/jsonpos.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define PLAIN "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"

struct cursor {
	const char *p, *end;
};

static bool more(const struct cursor *c)
{
	return c->p < c->end;
}

static bool at(const struct cursor *c, char ch)
{
	return more(c) && *c->p == ch;
}

static void skip_space(struct cursor *c)
{
	while (more(c) && (*c->p == ' ' || *c->p == '\t' || *c->p == '\n' || *c->p == '\r'))
		c->p++;
}

static void skip_string(struct cursor *c)
{
	c->p++;
	while (more(c) && *c->p != '"')
		c->p += *c->p == '\\' && c->end - c->p > 1 ? 2 : 1;
	if (more(c))
		c->p++;
}

/* Nesting is counted, not recursed into: a text may be as deep as its parser allows. */
static void skip_value(struct cursor *c)
{
	size_t depth = 0;

	while (more(c)) {
		char ch = *c->p;

		if (ch == '"') {
			skip_string(c);
		} else if (ch == '{' || ch == '[') {
			depth++;
			c->p++;
		} else if (ch == '}' || ch == ']') {
			if (depth == 0)
				return; /* the end of what encloses an empty value */
			depth--;
			c->p++;
		} else if (depth == 0) {
			while (more(c) && !strchr(" \t\r\n,]}", *c->p))
				c->p++;
			return;
		} else {
			c->p++;
		}
		if (depth == 0)
			return;
	}
}

static int hex4(const struct cursor *c, const char *p, uint32_t *ret)
{
	uint32_t v = 0;

	if (c->end - p < 4)
		return -EINVAL;
	for (int i = 0; i < 4; i++) {
		static const char digits[] = "0123456789abcdef";
		char low = (char)(p[i] >= 'A' && p[i] <= 'F' ? p[i] + 32 : p[i]);
		const char *d = low ? strchr(digits, low) : NULL;

		if (!d)
			return -EINVAL;
		v = v << 4 | (uint32_t)(d - digits);
	}
	*ret = v;
	return 0;
}

static size_t utf8(uint32_t v, char out[4])
{
	size_t n = v < 0x80 ? 1 : v < 0x800 ? 2 : v < 0x10000 ? 3 : 4;
	static const uint8_t lead[] = {0, 0, 0xc0, 0xe0, 0xf0};

	for (size_t i = n - 1; i > 0; i--, v >>= 6)
		out[i] = (char)(0x80 | (v & 0x3f));
	out[0] = (char)(lead[n] | v);
	return n;
}

/* Decode what follows a backslash; c ends up behind it. Returns the number of bytes in out. */
static size_t unescape(struct cursor *c, char out[4])
{
	static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
	uint32_t v, low;
	char ch = *c->p++;
	const char *f = ch ? strchr(from, ch) : NULL;

	if (ch != 'u') {
		out[0] = f ? to[f - from] : ch;
		return 1;
	}
	if (hex4(c, c->p, &v) < 0)
		return 0;
	c->p += 4;
	if (v >= 0xd800 && v < 0xdc00 && c->end - c->p >= 6 && hex4(c, c->p + 2, &low) == 0) {
		v = 0x10000 + ((v & 0x3ff) << 10 | (low & 0x3ff));
		c->p += 6;
	}
	return utf8(v, out);
}

/* Is the string at the cursor, decoded, equal to name? The cursor ends up behind it. */
static bool string_is(struct cursor *c, const char *name, size_t len)
{
	bool same = true;
	size_t i = 0;

	c->p++;
	while (more(c) && *c->p != '"') {
		char out[4] = {*c->p++};
		size_t n = 1;

		if (out[0] == '\\' && more(c))
			n = unescape(c, out);
		if (same && len - i >= n && memcmp(name + i, out, n) == 0)
			i += n;
		else
			same = false;
	}
	if (more(c))
		c->p++;
	return same && i == len;
}

/* One step of a path: a member or an element. */
struct step {
	bool element;
	size_t index;
	char name[256];
	size_t len;
};

static int parse_index(const char **path, struct step *s)
{
	const char *p = *path;

	s->element = true;
	for (s->index = 0; *p >= '0' && *p <= '9'; p++) {
		if (s->index > SIZE_MAX / 10 - 1)
			return -EINVAL;
		s->index = s->index * 10 + (size_t)(*p - '0');
	}
	if (p == *path || *p != ']')
		return -EINVAL;
	*path = p + 1;
	return 0;
}

static int parse_quoted(const char **path, struct step *s)
{
	struct cursor c = {*path + 1, *path + strlen(*path)};

	s->element = false;
	s->len = 0;
	while (more(&c) && *c.p != '"') {
		char out[4] = {*c.p++};
		size_t n = 1;

		if (out[0] == '\\' && more(&c))
			n = unescape(&c, out);
		if (s->len + n > sizeof(s->name))
			return -EINVAL;
		memcpy(s->name + s->len, out, n);
		s->len += n;
	}
	if (c.end - c.p < 2 || c.p[1] != ']')
		return -EINVAL;
	*path = c.p + 2;
	return 0;
}

static int parse_step(const char **path, bool first, struct step *s)
{
	const char *p = *path;

	if (*p == '[') {
		*path = ++p;
		return *p == '"' ? parse_quoted(path, s) : parse_index(path, s);
	}
	if (!first && *p++ != '.')
		return -EINVAL;
	s->element = false;
	s->len = strspn(p, PLAIN);
	if (s->len == 0 || s->len > sizeof(s->name))
		return -EINVAL;
	memcpy(s->name, p, s->len);
	*path = p + s->len;
	return 0;
}

/* Move from a container to one of its values; ret_name is where the member's name starts. */
static int enter(struct cursor *c, const struct step *s, const char **ret_name)
{
	char close = s->element ? ']' : '}';

	skip_space(c);
	if (!at(c, s->element ? '[' : '{'))
		return -ENOENT;
	c->p++;
	for (size_t i = 0;; i++) {
		bool hit = s->element && i == s->index;
		const char *name;

		skip_space(c);
		name = c->p;
		if (!more(c) || at(c, close) || (!s->element && !at(c, '"')))
			return -ENOENT;
		if (!s->element) {
			hit = string_is(c, s->name, s->len);
			skip_space(c);
			if (!at(c, ':'))
				return -ENOENT;
			c->p++;
			skip_space(c);
		}
		if (hit) {
			*ret_name = name;
			return 0;
		}
		skip_value(c);
		skip_space(c);
		if (!at(c, ','))
			return -ENOENT;
		c->p++;
	}
}

static int find(
	const char *text, size_t size, const char *path, bool want_name, struct weft_jsonpos *ret)
{
	struct cursor c = {text, text + size};
	const char *name = NULL;
	struct step s;
	int r;

	for (bool first = true; *path; first = false) {
		r = parse_step(&path, first, &s);
		if (r == 0)
			r = enter(&c, &s, &name);
		if (r < 0)
			return r;
	}
	skip_space(&c);
	if (!more(&c))
		return -ENOENT;
	weft_jsonpos_at(text, size, (size_t)((want_name && name ? name : c.p) - text), ret);
	return 0;
}

int weft_jsonpos_value(const char *text, size_t size, const char *path, struct weft_jsonpos *ret)
{
	return find(text, size, path, false, ret);
}

int weft_jsonpos_name(const char *text, size_t size, const char *path, struct weft_jsonpos *ret)
{
	return find(text, size, path, true, ret);
}

void weft_jsonpos_at(const char *text, size_t size, size_t offset, struct weft_jsonpos *ret)
{
	struct weft_jsonpos pos = {.line = 1, .column = 1};

	pos.offset = offset < size ? offset : size;
	for (size_t i = 0; i < pos.offset; i++) {
		if (text[i] == '\n') {
			pos.line++;
			pos.column = 1;
		} else if (((uint8_t)text[i] & 0xc0) != 0x80) {
			pos.column++;
		}
	}
	*ret = pos;
}

static int append(char *path, size_t size, const char *piece)
{
	size_t used = strlen(path), len = strlen(piece);

	if (used + len + 1 > size)
		return -ENAMETOOLONG;
	memcpy(path + used, piece, len + 1);
	return 0;
}

static int append_quoted(char *path, size_t size, const char *name)
{
	int r = append(path, size, "[\"");

	for (const char *p = name; r == 0 && *p; p++) {
		char piece[8] = {*p};

		if ((uint8_t)*p < 0x20)
			snprintf(piece, sizeof(piece), "\\u%04x", (uint8_t)*p);
		else if (*p == '"' || *p == '\\')
			snprintf(piece, sizeof(piece), "\\%c", *p);
		r = append(path, size, piece);
	}
	return r < 0 ? r : append(path, size, "\"]");
}

int weft_jsonpath_member(char *path, size_t size, const char *name)
{
	size_t used = strlen(path);
	int r;

	if (*name == '\0' || name[strspn(name, PLAIN)] != '\0') {
		r = append_quoted(path, size, name);
	} else {
		r = used ? append(path, size, ".") : 0;
		r = r < 0 ? r : append(path, size, name);
	}
	if (r < 0)
		path[used] = '\0';
	return r;
}

int weft_jsonpath_element(char *path, size_t size, size_t index)
{
	char piece[32];

	snprintf(piece, sizeof(piece), "[%zu]", index);
	return append(path, size, piece);
}
