/* SPDX-License-Identifier: Apache-2.0 */
#include "addr6.h"

#include <stdio.h>
#include <string.h>

#define GROUPS 8

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return 16;
}

/* One to four digits; NULL if there is none, or a fifth. */
static const char *parse_group(const char *p, const char *end, uint16_t *ret)
{
	unsigned value = 0, n = 0;

	for (; p < end && hex_digit(*p) < 16 && n < 5; p++, n++)
		value = value << 4 | (unsigned)hex_digit(*p);
	*ret = (uint16_t)value;
	return n > 0 && n < 5 ? p : NULL;
}

const char *addr6_parse(const char *p, const char *end, uint8_t ret[static 16])
{
	uint16_t groups[GROUPS] = {0};
	int n = 0, gap = -1;

	while (n < GROUPS) {
		if (gap < 0 && end - p >= 2 && p[0] == ':' && p[1] == ':') {
			gap = n;
			p += 2;
			if (p == end || hex_digit(*p) > 15)
				break; /* nothing behind the zeros */
		} else if (n > 0) {
			if (p == end || *p != ':')
				break;
			p++;
		}
		p = parse_group(p, end, &groups[n++]);
		if (!p)
			return NULL;
	}
	if (gap < 0 ? n != GROUPS : n == GROUPS)
		return NULL;
	memset(ret, 0, 16);
	for (int i = 0; i < n; i++) {
		int at = gap >= 0 && i >= gap ? GROUPS - n + i : i;

		ret[2 * at] = (uint8_t)(groups[i] >> 8);
		ret[2 * at + 1] = (uint8_t)groups[i];
	}
	return p;
}

/* The first of the longest runs of two zero words and more: where it begins, and its length. */
static int longest_gap(const uint8_t addr[static 16], int *ret_len)
{
	int at = -1, len = 1;

	for (int i = 0; i < GROUPS; i++) {
		int n = 0;

		while (i + n < GROUPS && !addr[2 * (i + n)] && !addr[2 * (i + n) + 1])
			n++;
		if (n > len) {
			at = i;
			len = n;
		}
		i += n;
	}
	*ret_len = len;
	return at;
}

const char *addr6_format(const uint8_t addr[static 16], char text[static ADDR6_TEXT_SIZE])
{
	int len, gap = longest_gap(addr, &len), n = 0;

	for (int i = 0; i < GROUPS; i++) {
		if (i == gap) {
			text[n++] = ':';
			i += len;
			if (i == GROUPS)
				text[n++] = ':';
			if (i >= GROUPS)
				break;
		}
		n += snprintf(text + n, (size_t)(ADDR6_TEXT_SIZE - n), "%s%x", i ? ":" : "",
			(unsigned)addr[2 * i] << 8 | addr[2 * i + 1]);
	}
	text[n] = '\0';
	return text;
}

bool addr6_is_none(const uint8_t addr[static 16])
{
	static const uint8_t none[16];

	return memcmp(addr, none, 16) == 0;
}
