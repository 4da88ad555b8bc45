/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/kernel.h"

#include <elf.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define BASE 0x100000U

struct image {
	Elf64_Ehdr header;
	Elf64_Phdr load, note;
	struct {
		Elf64_Nhdr head;
		char name[4];
		uint32_t entry;
	} pvh;
	uint8_t code[];
};

void test_kernel_make(const void *code, size_t code_size, uint8_t **ret, size_t *ret_size)
{
	size_t size = sizeof(struct image) + code_size;
	struct image *k = calloc(1, size);

	if (!k)
		abort();
	memcpy(k->header.e_ident, ELFMAG, SELFMAG);
	k->header.e_ident[EI_CLASS] = ELFCLASS64;
	k->header.e_ident[EI_DATA] = ELFDATA2LSB;
	k->header.e_ident[EI_VERSION] = EV_CURRENT;
	k->header.e_type = ET_EXEC;
	k->header.e_machine = EM_X86_64;
	k->header.e_version = EV_CURRENT;
	k->header.e_entry = BASE + offsetof(struct image, code);
	k->header.e_phoff = offsetof(struct image, load);
	k->header.e_ehsize = sizeof(Elf64_Ehdr);
	k->header.e_phentsize = sizeof(Elf64_Phdr);
	k->header.e_phnum = 2;
	k->load = (Elf64_Phdr){
		.p_type = PT_LOAD,
		.p_flags = PF_R | PF_W | PF_X,
		.p_vaddr = BASE,
		.p_paddr = BASE,
		.p_filesz = size,
		.p_memsz = size,
		.p_align = 4096,
	};
	k->note = (Elf64_Phdr){
		.p_type = PT_NOTE,
		.p_flags = PF_R,
		.p_offset = offsetof(struct image, pvh),
		.p_vaddr = BASE + offsetof(struct image, pvh),
		.p_paddr = BASE + offsetof(struct image, pvh),
		.p_filesz = sizeof(k->pvh),
		.p_memsz = sizeof(k->pvh),
		.p_align = 4,
	};
	k->pvh.head = (Elf64_Nhdr){.n_namesz = 4, .n_descsz = 4, .n_type = 18};
	memcpy(k->pvh.name, "Xen", 4);
	k->pvh.entry = BASE + (uint32_t)offsetof(struct image, code);
	memcpy(k->code, code, code_size);
	*ret = (uint8_t *)k;
	*ret_size = size;
}

#define HALT 0xfa, 0xf4, 0xeb, 0xfc /* cli; 1: hlt; jmp 1b (the cli again) */
#define CODE(name, ...)                                   \
	const uint8_t test_code_##name[] = {__VA_ARGS__}; \
	const size_t test_code_##name##_size = sizeof(test_code_##name)

CODE(idle, HALT);
/* mov $0x3f8,%dx; mov $'K',%al; out; mov $'\n',%al; out */
CODE(hello, 0x66, 0xba, 0xf8, 0x03, 0xb0, 'K', 0xee, 0xb0, '\n', 0xee, HALT);
/* mov $0x505,%dx; mov $1,%al; out */
CODE(panic, 0x66, 0xba, 0x05, 0x05, 0xb0, 0x01, 0xee, HALT);
/* push $0; push $0; lidt (%esp); ud2, without a stack of our own: %esp is 0x1000 */
CODE(reset, 0xbc, 0x00, 0x10, 0x00, 0x00, 0x6a, 0x00, 0x6a, 0x00, 0x0f, 0x01, 0x1c, 0x24, 0x0f,
	0x0b);
/* mov $0x604,%dx; mov $0x2000,%ax; out %ax,%dx */
CODE(poweroff, 0x66, 0xba, 0x04, 0x06, 0x66, 0xb8, 0x00, 0x20, 0x66, 0xef, HALT);
/* The same after a while: mov $20000000,%ecx; 1: loop 1b */
CODE(slow_poweroff, 0xb9, 0x00, 0x2d, 0x31, 0x01, 0xe2, 0xfe, 0x66, 0xba, 0x04, 0x06, 0x66, 0xb8,
	0x00, 0x20, 0x66, 0xef, HALT);
/* 1: jmp 1b */
CODE(busy, 0xeb, 0xfe);
/* mov $0x3f8,%dx; mov $'x',%al; 1: out; jmp 1b */
CODE(chatter, 0x66, 0xba, 0xf8, 0x03, 0xb0, 'x', 0xee, 0xeb, 0xfd);
CODE(watchdog,
	/* find it on bus 0: mov $0x80000000,%ebx; 1: mov %ebx,%eax; mov $0xcf8,%edx; out;
	 * mov $0xfc,%dl; in; cmp $0x25ab8086,%eax; je 2f; add $0x800,%ebx; jmp 1b */
	0xbb, 0x00, 0x00, 0x00, 0x80, 0x89, 0xd8, 0xba, 0xf8, 0x0c, 0x00, 0x00, 0xef, 0xb2, 0xfc,
	0xed, 0x3d, 0x86, 0x80, 0xab, 0x25, 0x74, 0x08, 0x81, 0xc3, 0x00, 0x08, 0x00, 0x00, 0xeb,
	0xe6,
	/* its registers: 2: lea 0x10(%ebx),%eax; mov $0xf8,%dl; out; mov $0xfc,%dl; in;
	 * and $0xf0,%al */
	0x8d, 0x43, 0x10, 0xb2, 0xf8, 0xef, 0xb2, 0xfc, 0xed, 0x24, 0xf0,
	/* both timers to 1, each unlocked before: movw $0x80,12(%eax); movw $0x86,12(%eax);
	 * movl $1,(%eax); the same for 4(%eax) */
	0x66, 0xc7, 0x40, 0x0c, 0x80, 0x00, 0x66, 0xc7, 0x40, 0x0c, 0x86, 0x00, 0xc7, 0x00, 0x01,
	0x00, 0x00, 0x00, 0x66, 0xc7, 0x40, 0x0c, 0x80, 0x00, 0x66, 0xc7, 0x40, 0x0c, 0x86, 0x00,
	0xc7, 0x40, 0x04, 0x01, 0x00, 0x00, 0x00,
	/* start: lea 0x68(%ebx),%eax; mov $0xf8,%dl; out; mov $2,%al; mov $0xfc,%dl; out %al */
	0x8d, 0x43, 0x68, 0xb2, 0xf8, 0xef, 0xb0, 0x02, 0xb2, 0xfc, 0xee, HALT);
