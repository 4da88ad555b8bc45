/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "ctrl/base/util.h"
#include "ctrl/health/redis.h"

/* The first line's length without its end, or -EAGAIN, -E2BIG. */
static int line_length(const char *data, size_t n)
{
	const char *end = memchr(data, '\n', n);

	if (!end)
		return n > WEFT_REDIS_MAX_REPLY ? -E2BIG : -EAGAIN;
	if (end == data || end[-1] != '\r')
		return -EBADMSG;
	return (int)(end - data - 1);
}

int weft_redis_parse(const char *data, size_t n, struct weft_redis_reply *ret)
{
	int line = line_length(data, n);
	char number[12] = "";
	uint64_t size;
	size_t whole;

	if (line < 0)
		return line;
	if (line == 0 || !strchr("+-:$", data[0]))
		return -EBADMSG;
	if (data[0] != '$') {
		*ret = (struct weft_redis_reply){data[0], 1, (size_t)line - 1};
		return line + 2;
	}
	if (line == 3 && memcmp(data, "$-1", 3) == 0) {
		*ret = (struct weft_redis_reply){'$', 3, 0};
		return line + 2;
	}
	if ((size_t)line > sizeof(number) - 1)
		return -E2BIG;
	memcpy(number, data + 1, (size_t)line - 1);
	if (weft_parse_u64(number, 0, UINT32_MAX, &size) < 0)
		return -EBADMSG;
	if (size > WEFT_REDIS_MAX_REPLY)
		return -E2BIG;
	whole = (size_t)line + 2 + size + 2;
	if (n < whole)
		return -EAGAIN;
	if (memcmp(data + whole - 2, "\r\n", 2) != 0)
		return -EBADMSG;
	*ret = (struct weft_redis_reply){'$', (size_t)line + 2, size};
	return (int)whole;
}

bool weft_redis_lasting(const char *error)
{
	static const char *const lasting[] = {
		"NOAUTH ", "WRONGPASS ", "NOPERM ", "DENIED ", "ERR unknown command"};

	for (size_t i = 0; i < ARRAY_SIZE(lasting); i++)
		if (strncmp(error, lasting[i], strlen(lasting[i])) == 0)
			return true;
	return false;
}

int weft_redis_info_u64(const char *info, const char *key, uint64_t *ret)
{
	size_t length = strlen(key);
	char number[24] = "";

	for (const char *line = info; line; line = strchr(line, '\n')) {
		size_t digits;

		line += *line == '\n';
		if (strncmp(line, key, length) != 0 || line[length] != ':')
			continue;
		digits = strspn(line + length + 1, "0123456789");
		if (digits == 0 || digits >= sizeof(number))
			return -EBADMSG;
		memcpy(number, line + length + 1, digits);
		return weft_parse_u64(number, 0, UINT64_MAX, ret);
	}
	return -ENOENT;
}
