/* SPDX-License-Identifier: Apache-2.0 */
#include "fw_cfg.h"

#include <string.h>

#include "cpu.h"

#define KEY_SIGNATURE 0x00
#define KEY_DIR       0x19
#define MAX_FILES     64

#define CTL_ERROR  0x01
#define CTL_READ   0x02
#define CTL_SELECT 0x08

/* Both big-endian. */
struct transfer {
	uint32_t control, length;
	uint64_t address;
};

struct dir_entry {
	uint32_t size;
	uint16_t key, reserved;
	char name[56];
};

static struct {
	uint32_t count;
	struct dir_entry entries[MAX_FILES];
} dir;

static bool read(uint16_t key, void *buf, size_t size)
{
	static volatile struct transfer t;

	t.control = __builtin_bswap32((uint32_t)key << 16 | CTL_SELECT | CTL_READ);
	t.length = __builtin_bswap32((uint32_t)size);
	t.address = __builtin_bswap64((uintptr_t)buf);
	cpu_fw_cfg_dma((uintptr_t)&t);
	/* It is done when the write is; the loop is the interface's, and nobody is there to end it
	 * where there is no fw_cfg. */
	for (unsigned tries = 0; tries < 1000; tries++)
		if (!(t.control & ~__builtin_bswap32(CTL_ERROR)))
			return !t.control;
	return false;
}

bool fw_cfg_find(const char *name, struct fw_cfg_file *ret)
{
	char signature[4] = "";
	uint32_t n;

	if (!read(KEY_SIGNATURE, signature, 4) || memcmp(signature, "QEMU", 4) != 0 ||
		!read(KEY_DIR, &dir, sizeof(dir)))
		return false;
	n = __builtin_bswap32(dir.count);
	for (uint32_t i = 0; i < n && i < MAX_FILES; i++) {
		struct dir_entry *e = &dir.entries[i];

		e->name[sizeof(e->name) - 1] = '\0';
		if (strcmp(e->name, name) != 0)
			continue;
		ret->key = __builtin_bswap16(e->key);
		ret->size = __builtin_bswap32(e->size);
		return true;
	}
	return false;
}

bool fw_cfg_read(const struct fw_cfg_file *file, void *buf, size_t size)
{
	return read(file->key, buf, size);
}
