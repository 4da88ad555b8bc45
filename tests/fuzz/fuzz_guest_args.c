/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's command line, and the same bytes as its configuration. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tests/guest/addr6.c"
#include "tests/guest/args.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is read is written, and read again the same. */
static void check_address(const uint8_t addr[16])
{
	char text[ADDR6_TEXT_SIZE];
	uint8_t again[16];
	const char *end;

	addr6_format(addr, text);
	end = addr6_parse(text, text + strlen(text), again);
	if (!end || *end || memcmp(addr, again, sizeof(again)) != 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *line = malloc(size + 1), why[160] = "";
	struct guest_args args;

	if (!line)
		return 0;
	memcpy(line, data, size);
	line[size] = '\0';
	if (guest_args_parse(line, &args, why, sizeof(why)) == 0) {
		if ((!args.configured && !args.name[0]) || args.n_virtio > GUEST_MAX_VIRTIO)
			abort();
		check_address(args.addr6);
	} else if (!why[0]) {
		abort();
	}
	memset(&args, 0, sizeof(args));
	why[0] = '\0';
	if (guest_args_configure(line, &args, why, sizeof(why)) == 0) {
		if (args.go && (!args.name[0] || (args.has_mac && args.mac[0] & 1)))
			abort();
	} else if (!why[0]) {
		abort();
	}
	free(line);
	return 0;
}
