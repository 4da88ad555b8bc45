/* SPDX-License-Identifier: Apache-2.0 */
/* qemu, with kernels of a few instructions. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <archive.h>
#include <archive_entry.h>

#include "ctrl/base/cleanup.h"
#include "runtimes/qemu/machine.h"
#include "runtimes/qemu/qemu.h"
#include "tests/conformance/suite.h"
#include "tests/lib/kernel.h"

#define MICROVM "{\"machine\": \"microvm\"}"
#define Q35     "{\"machine\": \"q35\"}"
#define BUTTON  "{\"machine\": \"q35\", \"powerdown\": true}"

/* 1: jmp 1b */
static const uint8_t busy[] = {0xeb, 0xfe};
/* mov $0x3f8,%dx; 1: mov $'K',%al; out, 15 times; mov $'\n',%al; out; mov $50000,%ecx; 2: loop 2b;
 * jmp 1b: some hundred KiB a second at most */
static const uint8_t talk[] = {0x66, 0xba, 0xf8, 0x03, 0xb0, 'K', 0xee, 0xee, 0xee, 0xee, 0xee,
	0xee, 0xee, 0xee, 0xee, 0xee, 0xee, 0xee, 0xee, 0xee, 0xee, 0xb0, '\n', 0xee, 0xb9, 0x50,
	0xc3, 0x00, 0x00, 0xe2, 0xfe, 0xeb, 0xe3};

static const char *missing(struct conf *c)
{
	(void)c;
	if (weft_arch_host() != WEFT_ARCH_AMD64)
		return "the test's kernels are for amd64";
	return system("command -v " WEFT_QEMU_AMD64 " >/dev/null") == 0 ? NULL
									: WEFT_QEMU_AMD64
		       " is not installed";
}

static void add(struct archive *a, const char *name, const void *data, size_t size)
{
	struct archive_entry *e = archive_entry_new();

	archive_entry_set_pathname(e, name);
	archive_entry_set_filetype(e, AE_IFREG);
	archive_entry_set_perm(e, 0644);
	archive_entry_set_size(e, (la_int64_t)size);
	if (archive_write_header(a, e) != ARCHIVE_OK ||
		archive_write_data(a, data, size) != (la_ssize_t)size)
		abort();
	archive_entry_free(e);
}

static void make(char path[PATH_MAX], const struct conf *c, const char *name, const char *hints,
	const uint8_t *code, size_t code_size)
{
	_cleanup_(freep) uint8_t *kernel = NULL;
	struct archive *a = archive_write_new();
	size_t size;

	snprintf(path, PATH_MAX, "%s/%s.tar.gz", c->dir, name);
	test_kernel_make(code, code_size, &kernel, &size);
	archive_write_set_format_pax_restricted(a);
	archive_write_add_filter_gzip(a);
	if (archive_write_open_filename(a, path) != ARCHIVE_OK)
		abort();
	add(a, "kernel", kernel, size);
	add(a, "weft.json", hints, strlen(hints));
	if (archive_write_free(a) != ARCHIVE_OK)
		abort();
}

static int open_(struct conf *c)
{
	make(c->image[CONF_SERVE], c, "serve", MICROVM, test_code_hello, test_code_hello_size);
	make(c->image[CONF_STUBBORN], c, "idle", BUTTON, test_code_idle, test_code_idle_size);
	make(c->image[CONF_EXIT], c, "off", Q35, test_code_poweroff, test_code_poweroff_size);
	make(c->image[CONF_FAIL], c, "panic", Q35, test_code_panic, test_code_panic_size);
	make(c->image[CONF_BUSY], c, "busy", MICROVM, busy, sizeof(busy));
	make(c->image[CONF_TALK], c, "talk", MICROVM, talk, sizeof(talk));
	return 0;
}

static void close_(struct conf *c)
{
	(void)c;
}

int main(void)
{
	static const struct conf_target qemu = {
		.name = "qemu",
		.ops = &weft_runtime_qemu,
		.virt = WEFT_VIRT_UNIKERNEL,
		.missing = missing,
		.open = open_,
		.close = close_,
		.images = true,
		.early = {"guest shut down", "guest panicked"},
		.rotates = true,
	};

	return conf_main(&qemu);
}
