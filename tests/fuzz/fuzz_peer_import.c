/* SPDX-License-Identifier: Apache-2.0 */
/* What a peer says it runs, as `weft peer import` hands it over. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ctrl/engine/remote.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(x)                  \
	do {                     \
		if (!(x))        \
			abort(); \
	} while (0)

/* What is taken has what the data plane and the store count on, and nobody's address but its own.
 */
static void check(const struct import *im, const struct weft_engine *e)
{
	for (size_t i = 0; i < im->n; i++) {
		const struct item *it = &im->items[i];

		MUST(weft_name_valid(it->id, NAME_MAX_LEN) && it->weight <= WEFT_DP_MAX_WEIGHT);
		MUST(strlen(it->name) == strlen(it->id) + strlen("@far"));
		MUST(ntohl(it->inst.s_addr) >> 16 == SEMANTIC_NET && weft_ns_addr_valid(it->ns));
		MUST(it->inst.s_addr != engine_host_addr(e).s_addr);
		MUST(it->ns.s_addr != e->gateway.s_addr);
		MUST(IN6_IS_ADDR_UNSPECIFIED(&it->ns6) == IN6_IS_ADDR_UNSPECIFIED(&it->inst6));
		for (size_t k = 0; k < i; k++)
			MUST(strcmp(im->items[k].id, it->id) != 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct weft_engine e = {
		.gateway = {htonl(0x0a120001)},
		.config = {.instances = {htonl(0x0a1e8000)}, .instances_len = 17},
	};
	char name[] = "far";
	struct peer peer = {.engine = &e, .name = name};
	struct import im = {.peer = &peer};
	json_auto_t *doc = json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES, NULL);
	struct weft_err err = {0};

	if (!json_is_object(doc))
		return 0;
	if (read_items(&im, doc, &err) == 0)
		check(&im, &e);
	else
		MUST(err.code && strncmp(err.msg, "peer far: ", 10) == 0);
	import_done(&im);
	return 0;
}
