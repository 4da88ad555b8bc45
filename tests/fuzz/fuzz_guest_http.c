/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's HTTP request parser: the requests found must not depend on how the bytes are cut. The
 * first byte of the input is the size of the pieces. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tests/guest/http.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t digest(uint64_t h, const void *data, size_t len)
{
	const uint8_t *p = data;

	for (size_t i = 0; i < len; i++)
		h = (h ^ p[i]) * 1099511628211ULL;
	return h;
}

static uint64_t run(const char *data, size_t size, size_t piece)
{
	uint64_t h = 14695981039346656037ULL;
	struct http_parser p;
	size_t at = 0;

	http_init(&p);
	while (at < size) {
		size_t n = size - at < piece ? size - at : piece, used, len;
		const char *path;

		used = http_feed(&p, data + at, n);
		if (used > n || (used < n && !http_done(&p)))
			abort();
		at += used;
		if (!http_done(&p))
			continue;
		path = http_path(&p, &len);
		if (path < p.target || path + len > p.target + sizeof(p.target)) {
			if (len != 1 || *path != '/')
				abort();
		}
		h = digest(h, &p.error, sizeof(p.error));
		h = digest(h, &p.method, sizeof(p.method));
		h = digest(h, &p.keep_alive, sizeof(p.keep_alive));
		h = digest(h, &p.target_len, sizeof(p.target_len));
		h = digest(h, path, len);
		h = digest(h, &at, sizeof(at));
		if (p.error)
			return h;
		http_init(&p);
	}
	return digest(h, &p.state, sizeof(p.state));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data + 1;

	if (!size)
		return 0;
	if (run(text, size - 1, data[0] % 64 + 1) != run(text, size - 1, SIZE_MAX))
		abort();
	return 0;
}
