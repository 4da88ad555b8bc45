/* SPDX-License-Identifier: Apache-2.0 */
/* The smallest guest that tells whether an accelerator is worth using: does code run at a sane
 * speed in ring 0, and does it in ring 3? Some nested hypervisors run ring 0 in an instruction
 * emulator, three orders of magnitude slower, and ring 3 natively; opening /dev/kvm shows neither.
 *
 * PVH entry, long mode, a timed loop in ring 0, the same in ring 3, then a byte to isa-debug-exit
 * at 0xf4: WEFT_PROBE_ANSWER (16), + 1 when ring 0 is sane, + 2 when ring 3 is. An exception reports what
 * was found until then. */

#define ANSWER	  16
#define RING0_OK  1
#define RING3_OK  2
#define EXIT_PORT 0xf4

/* The best of TRIES counts, so that being preempted on a busy host does not look like emulation. */
#define TRIES	   8
#define ITERATIONS 2000
#define SANE_TICKS (ITERATIONS * 100) /* TSC ticks; native needs 1 to 3 an iteration, emulation > 1000 */

#define SEL_CODE   0x08
#define SEL_DATA   0x10
#define SEL_UDATA  (0x18 | 3)
#define SEL_UCODE  (0x20 | 3)
#define SEL_TSS	   0x28
#define REPORT_INT 32

	.section .note.pvh, "a", @note
	.long	4, 4, 18		/* name size, size, XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz	"Xen"
	.long	pvh_start

	.text
	.code32
	.globl	pvh_start
text:
pvh_start:
	cli
	movl	$(pdpt + 7), pml4	/* present, writable, user: the first 2 MiB, identity */
	movl	$(pd + 7), pdpt
	movl	$0x87, pd
	movl	$0x20, %eax		/* PAE */
	movl	%eax, %cr4
	movl	$pml4, %eax
	movl	%eax, %cr3
	movl	$0xc0000080, %ecx	/* EFER: LME */
	movl	$0x100, %eax
	xorl	%edx, %edx
	wrmsr
	movl	$0x80000011, %eax	/* PG, ET, PE */
	movl	%eax, %cr0
	lgdt	gdtr
	ljmp	$SEL_CODE, $long_mode

	.code64
long_mode:
	movl	$SEL_DATA, %eax
	movl	%eax, %ss
	movl	$stack_top, %esp
	lidt	idtr
	movl	$SEL_TSS, %eax
	ltr	%ax

	movl	$ANSWER, %ebx		/* the answer so far */
	call	timed_loop
	testl	%eax, %eax
	jz	1f
	orl	$RING0_OK, %ebx
1:	pushq	$SEL_UDATA
	pushq	$user_stack_top
	pushq	$2
	pushq	$SEL_UCODE
	pushq	$user
	iretq

user:
	call	timed_loop
	testl	%eax, %eax
	jz	1f
	orl	$RING3_OK, %ebx
1:	int	$REPORT_INT

report:
	movl	%ebx, %eax
	movl	$EXIT_PORT, %edx
	outb	%al, %dx
1:	hlt
	jmp	1b

/* %eax = 1 when at least one try was fast enough. */
timed_loop:
	movl	$TRIES, %edi
1:	rdtsc
	movl	%eax, %esi		/* the low halves suffice for a difference */
	movl	$ITERATIONS, %ecx
2:	decl	%ecx
	jnz	2b
	rdtsc
	subl	%esi, %eax
	cmpl	$SANE_TICKS, %eax
	jb	3f
	decl	%edi
	jnz	1b
	xorl	%eax, %eax
	ret
3:	movl	$1, %eax
	ret

/* The image is linked at 1 MiB, so an offset into .text is the low half of an address. */
	.balign	16
idt:	.rept	REPORT_INT
	.word	report - text, SEL_CODE, 0x8e00, 0x0010
	.quad	0
	.endr
	.word	report - text, SEL_CODE, 0xee00, 0x0010	/* from ring 3 */
	.quad	0
idtr:	.word	. - idt - 1
	.quad	idt
gdt:	.quad	0
	.quad	0x00af9b000000ffff	/* 08: ring 0 code */
	.quad	0x00cf93000000ffff	/* 10: ring 0 data */
	.quad	0x00cff3000000ffff	/* 18: ring 3 data */
	.quad	0x00affb000000ffff	/* 20: ring 3 code */
	.word	0x67, tss - text	/* 28: TSS */
	.byte	0x10, 0x89, 0, 0
	.quad	0
gdtr:	.word	. - gdt - 1
	.quad	gdt
	.balign	16
tss:	.long	0
	.quad	stack_top		/* stack of ring 0 */
	.skip	0x68 - 14
	.word	0x68			/* no I/O bitmap */

	.bss
	.balign	4096
pml4:	.skip	4096
pdpt:	.skip	4096
pd:	.skip	4096
	.skip	2048
stack_top:
	.skip	2048
user_stack_top:
