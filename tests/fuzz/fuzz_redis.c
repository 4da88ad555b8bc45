/* SPDX-License-Identifier: Apache-2.0 */
/* Replies of a Redis server, and its INFO. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ctrl/health/redis.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct weft_redis_reply reply;
	char *text = malloc(size + 1);
	uint64_t n;
	int r;

	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	r = weft_redis_parse(text, size, &reply);
	if (r >= 0 && ((size_t)r > size || reply.text + reply.size + 2 > (size_t)r))
		abort();
	weft_redis_info_u64(text, "a", &n);
	weft_redis_info_u64(text, "master_repl_offset", &n);
	free(text);
	return 0;
}
