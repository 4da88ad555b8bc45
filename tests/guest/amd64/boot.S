/* SPDX-License-Identifier: Apache-2.0 */
/* PVH entry, long mode, ring 3.
 *
 * Under nested KVM without hardware help ring 0 is emulated instruction by instruction, and ring 3
 * runs natively. So ring 0 does as little as can be: tables are static data instead of being filled
 * at boot, interrupt handlers are a handful of instructions, and HLT is the only service.
 *
 * Memory: identity mapped. Page 0 is absent; the rest of the first MiB, where the loader leaves the
 * command line, is read-only; the second MiB is text, read-only and executable; all above, devices
 * too, is writable and not executable. The stack begins at 2 MiB and grows down onto the text, so
 * that an overflow faults. */
#include "layout.h"

#define KCODE 0x08
#define KDATA 0x10
#define UDATA 0x1b
#define UCODE 0x23
#define TSSSEL 0x28

#define CR0_BITS 0x80010033 /* PG WP NE ET MP PE */
#define CR4_BITS 0x20	    /* PAE; no SSE: nothing here is compiled to use it */
#define MSR_EFER 0xc0000080
#define EFER_BITS 0x900 /* LME NXE */
#define RFLAGS_IF 0x202

#define APIC_EOI 0xfee000b0

	.section .note.pvh, "a", @note
	.balign 4
	.long 4, 8, 18			/* "Xen", 8 bytes, XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz "Xen"
	.quad pvh_start

	.section .text.boot, "ax"
text_start:
	.code32
	.globl pvh_start
pvh_start:
	cli
	cld
	movl $CR4_BITS, %eax
	movl %eax, %cr4
	movl $pml4, %eax
	movl %eax, %cr3
	movl $MSR_EFER, %ecx
	xorl %edx, %edx
	movl $EFER_BITS, %eax
	wrmsr
	movl $CR0_BITS, %eax
	movl %eax, %cr0
	lgdt gdtr
	ljmp $KCODE, $start64

	.code64
start64:
	movl $UDATA, %eax
	movl %eax, %ds
	movl %eax, %es
	movl $KDATA, %eax
	movl %eax, %ss
	movl $kstack_top, %esp
	lidt idtr
	movl $TSSSEL, %eax
	ltr %ax
	movl %ebx, %edi			/* struct hvm_start_info */
	xorl %ebp, %ebp
	pushq $UDATA
	pushq $stack_top - 8		/* as after a call: 8 short of a multiple of 16 */
	pushq $RFLAGS_IF
	pushq $UCODE
	pushq $guest_main
	iretq

/* Exceptions. All that a handler may need is on the stack: vector, error code, what the CPU pushed. */
	.balign 16
exception_stubs:
	.set i, 0
	.rept 32
	.balign 16
	.if i == 13
	jmp general_protection
	.else
	.if !(i == 8 || (i >= 10 && i <= 14) || i == 17 || i == 21 || i == 29 || i == 30)
	pushq $0
	.endif
	pushq $i
	jmp exception
	.endif
	.set i, i + 1
	.endr

/* HLT in ring 3 faults to here and sleeps until an interrupt. Interrupts are off from the fault until
 * STI, and STI holds them for one more instruction: one that came before the test has left its bit and
 * HLT is skipped, one that comes after it ends HLT. No wake-up is lost. (HLT in ring 0 does not fault, so
 * this is ring 3's.) */
	.balign 16
general_protection:
	pushq %rax
	movq 16(%rsp), %rax
	cmpb $0xf4, (%rax)
	jne 2f
	incq 16(%rsp)
	cmpb $0, irq_pending
	jne 1f
	sti
	hlt
	cli
1:	popq %rax
	addq $8, %rsp
	iretq
2:	popq %rax
	pushq $13

/* Report, once. A fault in the report, or the UD2 by which panic() ends, is a triple fault, which qemu
 * shows as a reset. */
exception:
	cmpb $0, panicking
	jne 1f
	movb $1, panicking
	popq %rdi			/* vector */
	popq %rsi			/* error code */
	movq (%rsp), %rdx		/* rip */
	movq 24(%rsp), %rcx		/* rsp */
	movq %cr2, %r8
	andq $-16, %rsp
	call exception_report
1:	lidt no_idt
	ud2

	.balign 16
irq_timer:
	orb $IRQ_TIMER, irq_pending
	jmp irq_end
	.balign 16
irq_power:
	orb $IRQ_POWER, irq_pending
	jmp irq_end
	.balign 16
irq_net:
	orb $IRQ_NET, irq_pending
irq_end:
	pushq %rax
	movl $APIC_EOI, %eax
	movl $0, (%rax)
	popq %rax
	.balign 16
irq_spurious:
	iretq

/* The first thing in .data: its address is known, so that descriptors can be written as constants (the
 * assembler cannot cut the address of a symbol into pieces, but it knows a distance). */
	.section .data.boot, "aw"
data_start:
	.balign 16
gdt:	.quad 0
	.quad 0x00af9b000000ffff	/* KCODE */
	.quad 0x00cf93000000ffff	/* KDATA */
	.quad 0x00cff3000000ffff	/* UDATA */
	.quad 0x00affb000000ffff	/* UCODE */
	.word tss_end - tss - 1, (tss - data_start) + (DATA_START & 0xffff)
	.byte DATA_START >> 16, 0x89, 0, DATA_START >> 24
	.quad 0
gdtr:	.word . - gdt - 1
	.quad gdt
idtr:	.word idt_end - idt - 1
	.quad idt
no_idt:	.word 0
	.quad 0

/* Ports 0 to 0x7ff are ring 3's by the bitmap: IOPL alone is not honoured under nested KVM. */
	.balign 16
tss:	.long 0
	.quad kstack_top
	.skip 90
	.word tss_io - tss
tss_io:	.skip 0x800 / 8
	.byte 0xff
tss_end:

	.macro gate offset
	.word (\offset) + (TEXT_START & 0xffff), KCODE
	.byte 0, 0x8e
	.word TEXT_START >> 16
	.quad 0
	.endm
	.balign 16
idt:
	.set i, 0
	.rept 32
	gate (exception_stubs - text_start + i * 16)
	.set i, i + 1
	.endr
	gate (irq_net - text_start)
	gate (irq_timer - text_start)
	gate (irq_power - text_start)
	.rept VECTOR_SPURIOUS - VECTOR_POWER
	gate (irq_spurious - text_start)
	.endr
idt_end:

	.macro mapping from, to, step, flags
	.set i, \from
	.rept (\to - \from) / \step
	.quad i + \flags
	.set i, i + \step
	.endr
	.endm
#define NX 0x8000000000000000
	.balign 4096
pml4:	.quad pdpt + 7
	.skip 4088
pdpt:	.quad pd + 7, pd + 4096 + 7, pd + 8192 + 7, pd + 12288 + 7
	.skip 4064
pd:	.quad pt + 7
	mapping 0x200000, 0x100000000, 0x200000, (NX + 0x87)
pt:	.quad 0
	mapping 0x1000, 0x100000, 0x1000, (NX + 5)
	mapping 0x100000, 0x200000, 0x1000, 5

	.bss
	.globl irq_pending, panicking
irq_pending:
	.skip 1
panicking:
	.skip 1
	.balign 16
	.skip 4096
kstack_top:

	.section .stack, "aw", @nobits
	.skip STACK_SIZE
stack_top:

	.section .note.GNU-stack, "", @progbits
