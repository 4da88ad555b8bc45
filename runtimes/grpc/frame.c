/* SPDX-License-Identifier: Apache-2.0 */
#include "runtimes/grpc/frame.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MIN_ROOM 4096

uint8_t *weft_grpc_buf_reserve(struct weft_grpc_buf *b, size_t size)
{
	size_t used = b->end - b->start, room = b->room ? b->room : MIN_ROOM;
	uint8_t *data;

	if (size <= b->room - b->end)
		return b->data + b->end;
	if (size > SIZE_MAX / 4 - used)
		return NULL;
	if (b->start > 0 && used > 0)
		memmove(b->data, b->data + b->start, used);
	b->start = 0;
	b->end = used;
	while (room - used < size)
		room *= 2;
	if (room != b->room) {
		data = realloc(b->data, room);
		if (!data)
			return NULL;
		b->data = data;
		b->room = room;
	}
	return b->data + b->end;
}

void weft_grpc_buf_grow(struct weft_grpc_buf *b, size_t size)
{
	b->end += size;
}

void weft_grpc_buf_drop(struct weft_grpc_buf *b, size_t size)
{
	b->start += size;
	if (b->start == b->end)
		b->start = b->end = 0;
}

void weft_grpc_buf_free(struct weft_grpc_buf *b)
{
	free(b->data);
	*b = (struct weft_grpc_buf){};
}

int weft_grpc_buf_add(struct weft_grpc_buf *b, const void *data, size_t size)
{
	uint8_t *p;

	if (size == 0)
		return 0;
	p = weft_grpc_buf_reserve(b, size);
	if (!p)
		return -ENOMEM;
	memcpy(p, data, size);
	weft_grpc_buf_grow(b, size);
	return 0;
}

int weft_grpc_frame_next(struct weft_grpc_buf *b, size_t max, const uint8_t **ret, size_t *ret_size)
{
	size_t have = weft_grpc_buf_size(b), size;
	const uint8_t *p = b->data + b->start;

	if (have < WEFT_GRPC_FRAME_HEADER)
		return 0;
	if (p[0] != 0)
		return -EBADMSG;
	size = (size_t)p[1] << 24 | (size_t)p[2] << 16 | (size_t)p[3] << 8 | (size_t)p[4];
	if (size > max)
		return -EMSGSIZE;
	if (have - WEFT_GRPC_FRAME_HEADER < size)
		return 0;
	*ret = p + WEFT_GRPC_FRAME_HEADER;
	*ret_size = size;
	weft_grpc_buf_drop(b, WEFT_GRPC_FRAME_HEADER + size);
	return 1;
}

void weft_grpc_frame_header(uint8_t header[WEFT_GRPC_FRAME_HEADER], size_t size)
{
	header[0] = 0;
	header[1] = (uint8_t)(size >> 24);
	header[2] = (uint8_t)(size >> 16);
	header[3] = (uint8_t)(size >> 8);
	header[4] = (uint8_t)size;
}

int weft_grpc_parse_status(const uint8_t *value, size_t size)
{
	int n = 0;

	if (size == 0 || size > 3)
		return -EBADMSG;
	for (size_t i = 0; i < size; i++) {
		if (!isdigit(value[i]))
			return -EBADMSG;
		n = n * 10 + (value[i] - '0');
	}
	return n;
}

static int hex(uint8_t c)
{
	if (isdigit(c))
		return c - '0';
	c = (uint8_t)tolower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

void weft_grpc_parse_message(char *buf, size_t room, const uint8_t *value, size_t size)
{
	size_t n = 0;

	for (size_t i = 0; i < size && n + 1 < room; i++) {
		uint8_t c = value[i];

		if (c == '%' && size - i > 2 && hex(value[i + 1]) >= 0 && hex(value[i + 2]) >= 0) {
			c = (uint8_t)(hex(value[i + 1]) << 4 | hex(value[i + 2]));
			i += 2;
		}
		buf[n++] = iscntrl(c) ? ' ' : (char)c;
	}
	while (n > 0 && buf[n - 1] == ' ')
		n--;
	buf[n] = '\0';
}
