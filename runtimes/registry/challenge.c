/* SPDX-License-Identifier: Apache-2.0 */
#include "runtimes/registry/challenge.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

/* challenges = scheme [ 1*SP ( token68 / params ) ] *( OWS "," OWS ( scheme ... / param ) ): what
 * stands between two commas is a parameter of the scheme before when a '=' follows its first word,
 * else it begins with a scheme. */
struct cursor {
	const char *p, *end;
};

#define SPACE " \t"

static bool is_token_char(char c)
{
	return c > 0x20 && c < 0x7f && !strchr("()<>@,;:\\\"/[]?={}", c);
}

static void skip(struct cursor *c, const char *chars)
{
	while (c->p < c->end && *c->p && strchr(chars, *c->p))
		c->p++;
}

static size_t token(struct cursor *c, const char **ret)
{
	*ret = c->p;
	while (c->p < c->end && is_token_char(*c->p))
		c->p++;
	return (size_t)(c->p - *ret);
}

/* Into buf, without its quotes and escapes; false when it does not fit or does not end. */
static bool quoted(struct cursor *c, char *buf, size_t size)
{
	size_t n = 0;

	for (c->p++; c->p < c->end && *c->p != '"'; c->p++) {
		if (*c->p == '\\' && c->p + 1 < c->end)
			c->p++;
		if ((unsigned char)*c->p < 0x20 || n + 1 >= size)
			return false;
		buf[n++] = *c->p;
	}
	buf[n] = '\0';
	if (c->p == c->end)
		return false;
	c->p++;
	return true;
}

static bool value(struct cursor *c, char *buf, size_t size)
{
	const char *text;
	size_t n;

	if (c->p < c->end && *c->p == '"')
		return quoted(c, buf, size);
	/* A URL without quotes is wrong, and is sent all the same. */
	text = c->p;
	while (c->p<c->end && * c->p> 0x20 && *c->p != ',' && *c->p < 0x7f)
		c->p++;
	n = (size_t)(c->p - text);
	if (n >= size)
		return false;
	memcpy(buf, text, n);
	buf[n] = '\0';
	return true;
}

static bool is(const char *word, const char *s, size_t n)
{
	return strlen(word) == n && strncasecmp(word, s, n) == 0;
}

static void keep(struct weft_challenge *c, const char *name, size_t n, const char *text)
{
	if (is("realm", name, n) && strlen(text) < sizeof(c->realm))
		strcpy(c->realm, text);
	else if (is("service", name, n) && strlen(text) < sizeof(c->service))
		strcpy(c->service, text);
	else if (is("scope", name, n) && strlen(text) < sizeof(c->scope))
		strcpy(c->scope, text);
}

/* A Bearer challenge is of use only when it says where. */
static void settle(const struct weft_challenge *c, struct weft_challenge *best)
{
	if (c->scheme == WEFT_CHALLENGE_BEARER && !*c->realm)
		return;
	if (c->scheme > best->scheme)
		*best = *c;
}

static enum weft_challenge_scheme scheme_of(const char *name, size_t n)
{
	if (is("Bearer", name, n))
		return WEFT_CHALLENGE_BEARER;
	return is("Basic", name, n) ? WEFT_CHALLENGE_BASIC : WEFT_CHALLENGE_NONE;
}

void weft_challenge_parse(const char *text, size_t size, struct weft_challenge *ret)
{
	struct cursor c = {text, text + size};
	struct weft_challenge now = {}, best = {};
	char buf[sizeof(now.realm)];

	while (c.p < c.end) {
		const char *name;
		size_t n;

		skip(&c, SPACE ",");
		n = token(&c, &name);
		if (n == 0)
			break;
		skip(&c, SPACE);
		if (c.p < c.end && *c.p == '=') {
			c.p++;
			skip(&c, SPACE);
			if (!value(&c, buf, sizeof(buf)))
				break;
			keep(&now, name, n, buf);
			continue;
		}
		settle(&now, &best);
		now = (struct weft_challenge){.scheme = scheme_of(name, n)};
	}
	settle(&now, &best);
	*ret = best;
}
