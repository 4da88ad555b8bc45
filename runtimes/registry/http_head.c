/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ctrl/base/util.h"
#include "runtimes/registry/http.h"

#define MAX_RETRY_AFTER 3600

static bool named(const char *line, size_t size, const char *name, const char **ret, size_t *ret_n)
{
	size_t n = strlen(name);

	if (size <= n || line[n] != ':' || strncasecmp(line, name, n) != 0)
		return false;
	line += n + 1;
	size -= n + 1;
	while (size > 0 && isspace((unsigned char)*line))
		line++, size--;
	while (size > 0 && isspace((unsigned char)line[size - 1]))
		size--;
	*ret = line;
	*ret_n = size;
	return true;
}

/* Too long is as good as not said. */
static void copy(char *ret, size_t room, const char *s, size_t n)
{
	if (n >= room || memchr(s, '\0', n))
		n = 0;
	memcpy(ret, s, n);
	ret[n] = '\0';
}

static void append(char *ret, size_t room, const char *s, size_t n)
{
	size_t used = strlen(ret);

	if (used + n + 3 > room || memchr(s, '\0', n))
		return;
	snprintf(ret + used, room - used, "%s%.*s", used ? ", " : "", (int)n, s);
}

static bool number(const char *s, size_t n, uint64_t max, uint64_t *ret)
{
	char text[24];

	if (n == 0 || n >= sizeof(text))
		return false;
	memcpy(text, s, n);
	text[n] = '\0';
	return weft_parse_u64(text, 0, max, ret) == 0;
}

/* "bytes 100-199/200" */
static void range(struct weft_http_head *head, const char *s, size_t n)
{
	const char *dash = memchr(s, '-', n), *slash = memchr(s, '/', n);

	if (dash && n > 6 && strncasecmp(s, "bytes ", 6) == 0 && dash > s + 6)
		(void)number(s + 6, (size_t)(dash - s) - 6, UINT64_MAX - 1, &head->range_start);
	if (slash) /* "*" is no number: not said */
		(void)number(
			slash + 1, (size_t)(s + n - slash) - 1, UINT64_MAX - 1, &head->range_of);
}

/* "HTTP/1.1 200 OK" */
static void begin(struct weft_http_head *head, const char *line, size_t size)
{
	const char *space = memchr(line, ' ', size);
	uint64_t status = 0;

	*head = (struct weft_http_head){
		.length = UINT64_MAX, .range_start = UINT64_MAX, .range_of = UINT64_MAX};
	if (space && line + size - space > 3 && number(space + 1, 3, 999, &status))
		head->status = (int)status;
}

void weft_http_head_line(struct weft_http_head *head, const char *line, size_t size)
{
	const char *s;
	uint64_t v;
	size_t n;

	if (size > 5 && strncmp(line, "HTTP/", 5) == 0)
		begin(head, line, size);
	else if (named(line, size, "content-type", &s, &n))
		copy(head->content_type, sizeof(head->content_type), s, n);
	else if (named(line, size, "docker-content-digest", &s, &n))
		copy(head->digest, sizeof(head->digest), s, n);
	else if (named(line, size, "etag", &s, &n))
		copy(head->etag, sizeof(head->etag), s, n);
	else if (named(line, size, "last-modified", &s, &n))
		copy(head->last_modified, sizeof(head->last_modified), s, n);
	else if (named(line, size, "www-authenticate", &s, &n))
		append(head->authenticate, sizeof(head->authenticate), s, n);
	else if (named(line, size, "content-range", &s, &n))
		range(head, s, n);
	else if (named(line, size, "content-length", &s, &n))
		(void)number(s, n, UINT64_MAX - 1, &head->length);
	else if (named(line, size, "retry-after", &s, &n) && number(s, n, MAX_RETRY_AFTER, &v))
		head->retry_after_s = (unsigned)v; /* a date is taken for not said */
}
