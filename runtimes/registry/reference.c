/* SPDX-License-Identifier: Apache-2.0 */
#include "runtimes/registry/reference.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ctrl/base/util.h"

#define LOWER  "abcdefghijklmnopqrstuvwxyz"
#define UPPER  "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"

#define DOCKER_HOST    "docker.io"
#define DOCKER_API     "registry-1.docker.io"
#define DOCKER_LIBRARY "library/"

/* "name.example", "name:5000", "[::1]:5000", "localhost"; a first word without any of that is a
 * part of a name, as in "library/nginx". */
static bool is_host(const char *s, size_t n)
{
	size_t end = n;
	const char *colon;
	uint64_t port;
	char text[8];

	if (s[0] == '[') {
		const char *close = memchr(s, ']', n);

		if (!close || close == s + 1 ||
			strspn(s + 1, DIGITS "abcdefABCDEF:.") < (size_t)(close - s - 1))
			return false;
		end = (size_t)(close - s) + 1;
		colon = end < n ? s + end : NULL;
	} else {
		colon = memchr(s, ':', n);
		end = colon ? (size_t)(colon - s) : n;
		if (end == 0 || strspn(s, LOWER UPPER DIGITS ".-") < end || s[0] == '.' ||
			s[0] == '-' || s[end - 1] == '-')
			return false;
		if (!colon && !memchr(s, '.', n) &&
			!(n == strlen("localhost") && strncmp(s, "localhost", n) == 0))
			return false;
	}
	if (!colon)
		return true;
	if (*colon != ':' || (size_t)snprintf(text, sizeof(text), "%.*s", (int)(s + n - colon - 1),
				     colon + 1) >= sizeof(text))
		return false;
	return weft_parse_u64(text, 1, 65535, &port) == 0;
}

/* Words of lower case letters and digits, put together by '.', '_', '__' or '-', and by '/'. */
static bool is_name(const char *s, size_t n)
{
	static const char word[] = LOWER DIGITS;
	size_t i = 0;

	for (;;) {
		size_t start = i;

		while (i < n && strchr(word, s[i]))
			i++;
		if (i == start)
			return false;
		if (i == n)
			return true;
		if (s[i] == '-') {
			while (i < n && s[i] == '-')
				i++;
		} else if (s[i] == '_') {
			i += i + 1 < n && s[i + 1] == '_' ? 2 : 1;
		} else if (s[i] == '.' || s[i] == '/') {
			i++;
		} else {
			return false;
		}
	}
}

static bool is_tag(const char *s, size_t n)
{
	return n > 0 && n <= 128 && strchr(LOWER UPPER DIGITS "_", s[0]) &&
	       strspn(s, LOWER UPPER DIGITS "_.-") >= n;
}

static int refuse(const char *text, const char *why, struct weft_err *err)
{
	weft_err_set(err, EINVAL, "image %s: %s", text, why);
	return weft_err_hint(err,
		"the full path of an OCI archive on the node, or HOST/NAME:TAG in a "
		"registry: docker.io/library/nginx:1.25");
}

static int copy(char *ret, size_t size, const char *s, size_t n)
{
	if (n >= size)
		return -ENAMETOOLONG;
	memcpy(ret, s, n);
	ret[n] = '\0';
	return 0;
}

/* docker.io is served elsewhere, and has names of one word in "library". */
static int complete(struct weft_reference *r)
{
	char name[sizeof(r->name)];

	strcpy(r->api, r->host);
	if (strcmp(r->host, DOCKER_HOST) != 0 && strcmp(r->host, "index." DOCKER_HOST) != 0)
		return 0;
	strcpy(r->host, DOCKER_HOST);
	strcpy(r->api, DOCKER_API);
	if (strchr(r->name, '/'))
		return 0;
	strcpy(name, r->name);
	return (size_t)snprintf(r->name, sizeof(r->name), DOCKER_LIBRARY "%s", name) >=
			       sizeof(r->name)
		       ? -ENAMETOOLONG
		       : 0;
}

int weft_reference_parse(const char *text, struct weft_reference *ret, struct weft_err *err)
{
	const char *slash = strchr(text, '/'), *at = strchr(text, '@'), *name, *colon;
	struct weft_reference r = {};
	size_t n;

	if (!slash || !is_host(text, (size_t)(slash - text)))
		return refuse(text, "neither a full path nor the name of a registry in front", err);
	name = slash + 1;
	n = at ? (size_t)(at > name ? at - name : 0) : strlen(name);
	if (at && !weft_oci_digest_valid(at + 1))
		return refuse(text, "what follows the '@' is no sha256 digest", err);
	colon = memchr(name, ':', n);
	if (colon) {
		size_t tag = (size_t)(name + n - colon - 1);

		if (!is_tag(colon + 1, tag))
			return refuse(text, "what follows the ':' is no tag", err);
		copy(r.tag, sizeof(r.tag), colon + 1, tag);
		n = (size_t)(colon - name);
	}
	if (!is_name(name, n))
		return refuse(text,
			"a name is made of lower case letters and digits, '.', '_', '-' and '/'",
			err);
	if (copy(r.host, sizeof(r.host), text, (size_t)(slash - text)) < 0 ||
		copy(r.name, sizeof(r.name), name, n) < 0 || complete(&r) < 0)
		return refuse(text, "longer than a name may be", err);
	if (at) {
		strcpy(r.digest, at + 1);
		r.tag[0] = '\0';
	} else if (!*r.tag) {
		strcpy(r.tag, "latest");
	}
	*ret = r;
	return 0;
}

void weft_reference_format(const struct weft_reference *ref, char ret[WEFT_REFERENCE_TEXT])
{
	snprintf(ret, WEFT_REFERENCE_TEXT, "%s/%s%s%s", ref->host, ref->name,
		*ref->digest ? "@" : ":", *ref->digest ? ref->digest : ref->tag);
}
