/* SPDX-License-Identifier: BSD-2-Clause */
/* Context switch, System V x86-64. See context.h for the contract. */
#include "context/layout.h"

	.text

/*
 * void fiber_switch(uintptr_t *save rdi, uintptr_t resume rsi)
 *
 * Saves where the caller stands in *save and goes on where `resume` stands.
 *
 *	saved word ->	rbp		frame record: one word starts a frame-pointer walk
 *	    +8		return address
 *	    -8 .. -40	rbx r12 r13 r14 r15
 *
 * The control words MXCSR and x87 are not switched: they cost 60 ns when sticky flags differ, and the ABI makes them
 * the thread's business. From `mov %rsp,%rbp` on, the frame is described relative to rbp, which stays right on
 * either side of the switch.
 */
	.globl	fiber_switch
	.hidden	fiber_switch
	.type	fiber_switch, @function
	.p2align 4
fiber_switch:
	.cfi_startproc
	push	%rbp
	.cfi_def_cfa_offset 16
	.cfi_offset %rbp, -16
	mov	%rsp, %rbp
	.cfi_def_cfa_register %rbp
	push	%rbx
	.cfi_offset %rbx, -24
	push	%r12
	.cfi_offset %r12, -32
	push	%r13
	.cfi_offset %r13, -40
	push	%r14
	.cfi_offset %r14, -48
	push	%r15
	.cfi_offset %r15, -56

	mov	%rbp, (%rdi)
	mov	%rsi, %rbp
	lea	-FIBER_FRAME_SAVED_BYTES(%rbp), %rsp

	pop	%r15
	.cfi_restore %r15
	pop	%r14
	.cfi_restore %r14
	pop	%r13
	.cfi_restore %r13
	pop	%r12
	.cfi_restore %r12
	pop	%rbx
	.cfi_restore %rbx
	pop	%rbp
	.cfi_restore %rbp
	.cfi_def_cfa %rsp, 8
	/* A plain ret would be predicted to the address this fiber called from, and mispredict on every switch. */
	pop	%rcx
	.cfi_def_cfa_offset 0
	.cfi_register %rip, %rcx
	jmp	*%rcx
	.cfi_endproc
	.size	fiber_switch, .-fiber_switch

/*
 * Where a new fiber starts: rbx holds its argument. Every stack of a fiber ends here: the frame pointer is zero and
 * the return address undefined, so that every unwinder stops.
 */
	.globl	fiber_entry
	.hidden	fiber_entry
	.type	fiber_entry, @function
	.p2align 4
	.cfi_startproc
	.cfi_undefined %rip
fiber_entry:
	nop		/* a new fiber starts behind it: a return address - 1 must still lie in this function */
	xor	%ebp, %ebp
	mov	%rbx, %rdi
	call	fiber_main
	ud2
	.cfi_endproc
	.size	fiber_entry, .-fiber_entry

	.section .note.GNU-stack,"",@progbits
