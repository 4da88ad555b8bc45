/* SPDX-License-Identifier: Apache-2.0 */
#include "runtimes/image/kernel.h"

#include <ctype.h>
#include <elf.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "ctrl/base/util.h"

#define XEN_ELFNOTE_PHYS32_ENTRY 18
#define MULTIBOOT_MAGIC          0x1badb002U
#define MULTIBOOT_SEARCH         8192
#define MULTIBOOT_HAS_ADDRESSES  0x10000U
#define LINUX_BOOT_FLAG_AT       0x1fe
#define LINUX_HDRS_AT            0x202
#define ARM64_MAGIC_AT           56
#define OLD_NETDEV               "ipv4_gw_addr"

static const char *const boots[] = {
	[WEFT_KERNEL_PVH] = "pvh",
	[WEFT_KERNEL_MULTIBOOT] = "multiboot",
	[WEFT_KERNEL_BZIMAGE] = "bzimage",
	[WEFT_KERNEL_ELF] = "elf",
	[WEFT_KERNEL_IMAGE] = "image",
};
_Static_assert(ARRAY_SIZE(boots) == WEFT_KERNEL_BOOT_COUNT, "a name for every boot protocol");

const char *weft_kernel_boot_name(enum weft_kernel_boot b)
{
	return b < WEFT_KERNEL_BOOT_COUNT ? boots[b] : "unknown";
}

int weft_kernel_boot_parse(const char *s)
{
	for (int i = 0; i < WEFT_KERNEL_BOOT_COUNT; i++)
		if (strcmp(s, boots[i]) == 0)
			return i;
	return -EINVAL;
}

struct bytes {
	const uint8_t *p;
	size_t size;
};

/* Copy n bytes at offset out; false when they are not all there. */
static bool peek(struct bytes b, uint64_t offset, void *ret, size_t n)
{
	if (offset > b.size || n > b.size - offset)
		return false;
	memcpy(ret, b.p + offset, n);
	return true;
}

/* What a person sees at the beginning of the file: "'#!/bin/sh'" or "1f 8b 08 00". */
static const char *beginning(struct bytes b, char *buf, size_t size)
{
	size_t n = 0;

	while (n < b.size && n < 24 && isprint(b.p[n]))
		n++;
	if (n >= 4 || (n > 0 && n == b.size)) {
		snprintf(buf, size, "'%.*s'", (int)n, (const char *)b.p);
		return buf;
	}
	buf[0] = '\0';
	for (size_t i = 0; i < b.size && i < 8; i++)
		snprintf(buf + 3 * i, size - 3 * i, "%02x ", b.p[i]);
	n = strlen(buf);
	if (n > 0)
		buf[n - 1] = '\0';
	return buf;
}

static int not_a_kernel(struct bytes b, struct weft_err *err)
{
	char text[32];

	if (b.size == 0)
		return weft_err_set(err, EBADMSG, "kernel is not a bootable kernel: it is empty");
	weft_err_set(err, EBADMSG, "kernel is not a bootable kernel: it begins with %s",
		beginning(b, text, sizeof(text)));
	return weft_err_hint(err, "the kernel must be an ELF file with a PVH note or a multiboot "
				  "header, or a Linux bzImage");
}

static int other_machine(const char *found, enum weft_arch arch, struct weft_err *err)
{
	weft_err_set(
		err, ENOTSUP, "kernel is built for %s, not for %s", found, weft_arch_name(arch));
	return weft_err_hint(err, "build it for %s, or place the service on a node of its machine",
		weft_arch_name(arch));
}

/* --- ELF -----------------------------------------------------------------------------------------
 */

struct segment {
	uint32_t type;
	uint64_t offset, file_size;
};

struct elf {
	struct bytes file;
	bool is64;
	uint16_t machine, n_segments, segment_size;
	uint64_t segments_at;
};

static bool elf_read(struct bytes b, struct elf *ret)
{
	uint8_t ident[EI_NIDENT];
	Elf64_Ehdr h64;
	Elf32_Ehdr h32;

	if (!peek(b, 0, ident, sizeof(ident)) || ident[EI_DATA] != ELFDATA2LSB)
		return false;
	if (ident[EI_CLASS] == ELFCLASS64 && peek(b, 0, &h64, sizeof(h64))) {
		*ret = (struct elf){
			b, true, h64.e_machine, h64.e_phnum, h64.e_phentsize, h64.e_phoff};
		return ret->segment_size >= sizeof(Elf64_Phdr);
	}
	if (ident[EI_CLASS] == ELFCLASS32 && peek(b, 0, &h32, sizeof(h32))) {
		*ret = (struct elf){
			b, false, h32.e_machine, h32.e_phnum, h32.e_phentsize, h32.e_phoff};
		return ret->segment_size >= sizeof(Elf32_Phdr);
	}
	return false;
}

static bool elf_segment(const struct elf *e, unsigned i, struct segment *ret)
{
	uint64_t at = e->segments_at + (uint64_t)i * e->segment_size;
	Elf64_Phdr p64;
	Elf32_Phdr p32;

	if (at < e->segments_at)
		return false;
	if (e->is64) {
		if (!peek(e->file, at, &p64, sizeof(p64)))
			return false;
		*ret = (struct segment){p64.p_type, p64.p_offset, p64.p_filesz};
	} else {
		if (!peek(e->file, at, &p32, sizeof(p32)))
			return false;
		*ret = (struct segment){p32.p_type, p32.p_offset, p32.p_filesz};
	}
	return true;
}

static bool notes_have_pvh(struct bytes file, const struct segment *s)
{
	uint64_t at = s->offset, end = s->offset + s->file_size;
	Elf64_Nhdr note; /* the 32-bit one is the same */

	while (at < end && end - at >= sizeof(note) && peek(file, at, &note, sizeof(note))) {
		uint64_t name = ((uint64_t)note.n_namesz + 3) & ~3ULL;
		uint64_t desc = ((uint64_t)note.n_descsz + 3) & ~3ULL;
		char xen[4];

		if (note.n_type == XEN_ELFNOTE_PHYS32_ENTRY && note.n_namesz == sizeof(xen) &&
			note.n_descsz >= 4 && peek(file, at + sizeof(note), xen, sizeof(xen)) &&
			memcmp(xen, "Xen", sizeof(xen)) == 0)
			return true;
		at += sizeof(note) + name + desc;
	}
	return false;
}

/* Every segment must be in the file; *ret_pvh says whether a note names a PVH entry. */
static int elf_segments(const struct elf *e, bool *ret_pvh, struct weft_err *err)
{
	bool pvh = false;

	for (unsigned i = 0; i < e->n_segments; i++) {
		struct segment s;

		if (!elf_segment(e, i, &s))
			return weft_err_set(err, EBADMSG,
				"kernel is truncated: its program headers lie "
				"behind its end (%zu bytes)",
				e->file.size);
		if (s.type != PT_LOAD && s.type != PT_NOTE)
			continue;
		if (s.offset > e->file.size || s.file_size > e->file.size - s.offset)
			return weft_err_set(err, EBADMSG,
				"kernel is truncated: segment %u lies behind its end (%zu bytes)",
				i, e->file.size);
		if (s.type == PT_NOTE && notes_have_pvh(e->file, &s))
			pvh = true;
	}
	*ret_pvh = pvh;
	return 0;
}

/* --- multiboot -----------------------------------------------------------------------------------
 */

static bool multiboot_find(struct bytes b, uint32_t *ret_flags)
{
	uint32_t h[3]; /* magic, flags, checksum */

	for (size_t at = 0; at + sizeof(h) <= MULTIBOOT_SEARCH; at += 4) {
		if (!peek(b, at, h, sizeof(h)))
			return false;
		if (h[0] == MULTIBOOT_MAGIC && h[0] + h[1] + h[2] == 0) {
			*ret_flags = h[1];
			return true;
		}
	}
	return false;
}

/* --- by architecture -----------------------------------------------------------------------------
 */

static const char *elf_machine_name(uint16_t machine, char *buf, size_t size)
{
	switch (machine) {
	case EM_X86_64:
		return "amd64";
	case EM_386:
		return "i386";
	case EM_AARCH64:
		return "arm64";
	case EM_ARM:
		return "arm";
	case EM_RISCV:
		return "riscv";
	default:
		snprintf(buf, size, "ELF machine %u", machine);
		return buf;
	}
}

static bool elf_machine_fits(uint16_t machine, enum weft_arch arch)
{
	/* A multiboot kernel for 64-bit machines is wrapped in a 32-bit ELF file. */
	if (arch == WEFT_ARCH_AMD64)
		return machine == EM_X86_64 || machine == EM_386;
	return machine == EM_AARCH64;
}

static int check_elf(
	struct bytes b, enum weft_arch arch, enum weft_kernel_boot *ret, struct weft_err *err)
{
	uint32_t flags;
	struct elf e;
	char name[32];
	bool pvh = false;
	int r;

	if (!elf_read(b, &e))
		return weft_err_set(err, EBADMSG,
			"kernel is not a bootable kernel: its ELF header is damaged or truncated");
	if (!elf_machine_fits(e.machine, arch))
		return other_machine(elf_machine_name(e.machine, name, sizeof(name)), arch, err);
	r = elf_segments(&e, &pvh, err);
	if (r < 0)
		return r;
	if (arch == WEFT_ARCH_ARM64) {
		*ret = WEFT_KERNEL_ELF;
		return 0;
	}
	/* qemu looks for a multiboot header first. */
	if (multiboot_find(b, &flags)) {
		if (e.machine == EM_X86_64 && !(flags & MULTIBOOT_HAS_ADDRESSES))
			return weft_err_set(err, EBADMSG,
				"kernel is a 64-bit ELF file with a multiboot "
				"header, which qemu refuses");
		*ret = WEFT_KERNEL_MULTIBOOT;
		return 0;
	}
	if (pvh) {
		*ret = WEFT_KERNEL_PVH;
		return 0;
	}
	weft_err_set(err, EBADMSG,
		"kernel is not a bootable kernel: an ELF file without "
		"PVH note or multiboot header");
	return weft_err_hint(
		err, "is it an ordinary program? Build the unikernel for qemu (KVM) guests");
}

static int check_boot(
	struct bytes b, enum weft_arch arch, enum weft_kernel_boot *ret, struct weft_err *err)
{
	bool linux_amd64, linux_arm64;
	uint8_t mark[4];
	uint32_t flags;

	if (peek(b, 0, mark, 4) && memcmp(mark, ELFMAG, SELFMAG) == 0)
		return check_elf(b, arch, ret, err);
	linux_amd64 = peek(b, LINUX_BOOT_FLAG_AT, mark, 2) && mark[0] == 0x55 && mark[1] == 0xaa &&
		      peek(b, LINUX_HDRS_AT, mark, 4) && memcmp(mark, "HdrS", 4) == 0;
	linux_arm64 = peek(b, ARM64_MAGIC_AT, mark, 4) && memcmp(mark, "ARM\x64", 4) == 0;
	if (linux_amd64 && arch != WEFT_ARCH_AMD64)
		return other_machine("amd64", arch, err);
	if (linux_arm64 && !linux_amd64 && arch != WEFT_ARCH_ARM64)
		return other_machine("arm64", arch, err);
	if (linux_amd64)
		*ret = WEFT_KERNEL_BZIMAGE;
	else if (linux_arm64)
		*ret = WEFT_KERNEL_IMAGE;
	else if (arch == WEFT_ARCH_AMD64 && multiboot_find(b, &flags) &&
		 flags & MULTIBOOT_HAS_ADDRESSES)
		*ret = WEFT_KERNEL_MULTIBOOT;
	else
		return not_a_kernel(b, err);
	return 0;
}

int weft_kernel_check(const void *data, size_t size, enum weft_arch arch, struct weft_kernel *ret,
	struct weft_err *err)
{
	struct weft_kernel k = {};
	int r;

	r = check_boot((struct bytes){data, size}, arch, &k.boot, err);
	if (r < 0)
		return r;
	/* A parameter's name stands in the kernel's data; Linux is compressed, and has none. */
	k.old_netdev = memmem(data, size, OLD_NETDEV, strlen(OLD_NETDEV)) != NULL;
	*ret = k;
	return 0;
}
