/* SPDX-License-Identifier: Apache-2.0 */
#include "ctrl/cli/value.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *cli_str(const json_t *obj, const char *key, const char *fallback)
{
	const char *s = json_string_value(json_object_get(obj, key));

	return s ? s : fallback;
}

uint64_t cli_u64(const json_t *obj, const char *key)
{
	const json_t *v = json_object_get(obj, key);

	if (json_is_integer(v))
		return json_integer_value(v) > 0 ? (uint64_t)json_integer_value(v) : 0;
	if (json_is_real(v) && json_real_value(v) > 0 && json_real_value(v) < 9e18)
		return (uint64_t)json_real_value(v);
	return 0;
}

double cli_share(const json_t *obj, const char *key)
{
	double v = json_number_value(json_object_get(obj, key));

	return v > 1 ? 1 : v > 0 ? v : 0;
}

const json_t *cli_items(const json_t *doc)
{
	return json_object_get(doc, "items");
}

bool cli_is_null(const json_t *obj, const char *key)
{
	const json_t *v = json_object_get(obj, key);

	return !v || json_is_null(v);
}

/* Three significant digits at most: 4.9k, 49k, 490k. */
static struct cli_text scaled(double n, double base, const char *const *units, size_t n_units)
{
	struct cli_text t;
	size_t u = 0;

	while (u + 1 < n_units && n >= base - (u ? 0.5 : 0)) {
		n /= base;
		u++;
	}
	snprintf(t.s, sizeof(t.s), u && n < 9.95 ? "%.1f%s" : "%.0f%s", n, units[u]);
	return t;
}

struct cli_text cli_fmt_count(uint64_t n)
{
	static const char *const units[] = {"", "k", "M", "G", "T", "P"};

	return scaled((double)n, 1000, units, 6);
}

struct cli_text cli_fmt_bytes(uint64_t n)
{
	static const char *const units[] = {" B", " KiB", " MiB", " GiB", " TiB", " PiB"};

	return scaled((double)n, 1024, units, 6);
}

struct cli_text cli_fmt_duration(uint64_t ms)
{
	uint64_t s = ms / 1000;
	struct cli_text t;

	if (ms < 9950)
		snprintf(t.s, sizeof(t.s), "%.1fs", (double)ms / 1000);
	else if (s < 60)
		snprintf(t.s, sizeof(t.s), "%.0fs", (double)ms / 1000);
	else if (s < 3600)
		snprintf(t.s, sizeof(t.s), "%" PRIu64 "m%" PRIu64 "s", s / 60, s % 60);
	else if (s < 86400)
		snprintf(t.s, sizeof(t.s), "%" PRIu64 "h%" PRIu64 "m", s / 3600, s / 60 % 60);
	else
		snprintf(t.s, sizeof(t.s), "%" PRIu64 "d%" PRIu64 "h", s / 86400, s / 3600 % 24);
	return t;
}

struct cli_text cli_fmt_age(uint64_t ms)
{
	static const struct {
		uint64_t s;
		char unit;
	} steps[] = {{86400, 'd'}, {3600, 'h'}, {60, 'm'}, {1, 's'}};
	struct cli_text t = {"0s"};

	for (size_t i = 0; i < 4; i++) {
		if (ms / 1000 < steps[i].s)
			continue;
		snprintf(t.s, sizeof(t.s), "%" PRIu64 "%c", ms / 1000 / steps[i].s, steps[i].unit);
		break;
	}
	return t;
}

struct cli_text cli_fmt_uptime(uint64_t s)
{
	uint64_t ms = s > UINT64_MAX / 1000 ? UINT64_MAX : s * 1000;

	return s < 60 ? cli_fmt_age(ms) : cli_fmt_duration(ms);
}

struct cli_text cli_fmt_ns(uint64_t ns, bool utf8)
{
	struct cli_text t;

	if (ns < 999500)
		snprintf(t.s, sizeof(t.s), "%.0f%s", (double)ns / 1e3, utf8 ? "µs" : "us");
	else if (ns < 999500000)
		snprintf(t.s, sizeof(t.s), ns < 9950000 ? "%.1fms" : "%.0fms", (double)ns / 1e6);
	else
		return cli_fmt_duration(ns / 1000000);
	return t;
}

/* jansson hands out valid UTF-8 only; C1 controls are 0xc2 0x80..0x9f there. */
char *cli_clean(const char *s, bool utf8)
{
	char *copy = malloc(strlen(s) + 1), *to = copy;

	if (!copy)
		return NULL;
	for (const unsigned char *p = (const unsigned char *)s; *p; p++) {
		if (*p == 0xc2 && p[1] >= 0x80 && p[1] <= 0x9f) {
			*to++ = '?';
			p++;
		} else if (*p == '\n' || *p == '\t') {
			*to++ = ' ';
		} else if (*p < 0x20 || *p == 0x7f) {
			*to++ = '?';
		} else if (*p < 0x80 || utf8) {
			*to++ = (char)*p;
		} else if (*p >= 0xc0) {
			*to++ = '?'; /* one for the whole character */
		}
	}
	*to = '\0';
	return copy;
}

static bool starts_character(char c)
{
	return ((unsigned char)c & 0xc0) != 0x80;
}

size_t cli_columns(const char *s)
{
	size_t n = 0;

	for (; *s; s++)
		n += starts_character(*s);
	return n;
}

void cli_cut(char *s, size_t n)
{
	for (; *s; s++)
		if (starts_character(*s) && n-- == 0)
			break;
	*s = '\0';
}
