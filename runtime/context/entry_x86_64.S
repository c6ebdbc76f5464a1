/* SPDX-License-Identifier: BSD-2-Clause */
/* Where fibers begin, System V x86-64. See context.h. */
#include "context/layout.h"

	.text

/*
 * The argument is where make_context() put it, below the stack pointer. Every stack of a fiber ends here: the frame
 * pointer is zero and the return address undefined, so that every unwinder stops.
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
	mov	FIBER_FRAME_ARGUMENT - FIBER_FRAME_ABOVE(%rsp), %rdi
	call	fiber_main
	ud2
	.cfi_endproc
	.size	fiber_entry, .-fiber_entry

	.section .note.GNU-stack,"",@progbits
