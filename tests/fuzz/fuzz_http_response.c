/* SPDX-License-Identifier: Apache-2.0 */
/* The same bytes in one piece and in pieces of other sizes must be understood alike. */
#include <stdlib.h>

#include "loadgen/http_response.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct outcome {
	int r, eof;
	unsigned status;
	bool keep_alive;
	size_t used;
};

/* Every piece is copied to the heap, so that a read beyond it is seen. */
static struct outcome parse(const uint8_t *data, size_t size, size_t piece, bool head)
{
	static struct http_response p;
	struct outcome o = {0};

	http_response_init(&p, head);
	for (size_t at = 0; at < size && o.r == 0; at += piece) {
		size_t n = size - at < piece ? size - at : piece, used = 0;
		char *copy = malloc(n);

		if (!copy)
			abort();
		memcpy(copy, data + at, n);
		o.r = http_response_feed(&p, copy, n, &used);
		free(copy);
		if (o.r == 1) {
			if (used > n || (used == 0 && n))
				abort();
			o.used = at + used;
		}
	}
	if ((o.r < 0) != (p.problem != NULL))
		abort();
	if (o.r == 0)
		o.eof = http_response_eof(&p);
	if (o.r == 1 || o.eof == 1) {
		o.status = p.status;
		o.keep_alive = p.keep_alive;
		if (o.status < 200 || o.status > 599 || (o.eof == 1 && o.keep_alive))
			abort();
	}
	return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct outcome whole, pieces;
	bool head;

	if (size < 2)
		return 0;
	head = data[0] & 1;
	whole = parse(data + 2, size - 2, size, head);
	pieces = parse(data + 2, size - 2, (size_t)data[1] % 31 + 1, head);
	if (whole.r != pieces.r || whole.eof != pieces.eof || whole.status != pieces.status ||
		whole.keep_alive != pieces.keep_alive || whole.used != pieces.used)
		abort();
	return 0;
}
