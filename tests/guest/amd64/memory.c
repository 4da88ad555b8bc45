/* SPDX-License-Identifier: Apache-2.0 */
#include "guest.h"

#define HVM_START_MAGIC 0x336ec578
#define HVM_RAM         1

/* Xen's public interface, arch-x86/hvm/start_info.h, version 1. */
struct hvm_start_info {
	uint32_t magic, version, flags, nr_modules;
	uint64_t modlist_paddr, cmdline_paddr, rsdp_paddr, memmap_paddr;
	uint32_t memmap_entries, reserved;
};

struct hvm_memmap_entry {
	uint64_t addr, size;
	uint32_t type, reserved;
};

extern char guest_end[]; /* link.ld */

static uintptr_t arena, arena_end;

const char *memory_init(const void *boot)
{
	const struct hvm_start_info *info = boot;
	const struct hvm_memmap_entry *map;

	if (info->magic != HVM_START_MAGIC || info->version < 1 || !info->cmdline_paddr)
		panic("not started by PVH with a memory map (magic %x, version %u)", info->magic,
			info->version);
	arena = (uintptr_t)guest_end;
	map = (const struct hvm_memmap_entry *)info->memmap_paddr;
	for (uint32_t i = 0; i < info->memmap_entries; i++)
		if (map[i].type == HVM_RAM && map[i].addr <= arena &&
			arena < map[i].addr + map[i].size)
			arena_end = map[i].addr + map[i].size;
	if (!arena_end)
		panic("the memory map has no memory behind the program, at %lx", arena);
	return (const char *)info->cmdline_paddr;
}

void *memory_alloc(size_t size, size_t align)
{
	uintptr_t start = (arena + align - 1) & ~(align - 1);

	if (start > arena_end || arena_end - start < size)
		panic("out of memory: %lu KiB end at %lx; give the guest 32 MiB", size >> 10,
			arena_end);
	arena = start + size;
	return (void *)start;
}
