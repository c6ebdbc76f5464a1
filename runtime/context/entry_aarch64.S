/* SPDX-License-Identifier: BSD-2-Clause */
/* Where fibers begin, AAPCS64. See context.h. */
#include "context/layout.h"

	.text

/*
 * The argument is where make_context() put it. Every stack of a fiber ends here: the frame pointer is zero and the
 * return address undefined, so that every unwinder stops.
 */
	.globl	fiber_entry
	.hidden	fiber_entry
	.type	fiber_entry, %function
	.p2align 4
	.cfi_startproc
	.cfi_undefined x30
fiber_entry:
	nop		/* a new fiber starts behind it: a return address - 1 must still lie in this function */
	mov	x29, xzr
	mov	x30, xzr
	ldr	x0, [sp, #FIBER_FRAME_ARGUMENT - FIBER_FRAME_ABOVE]
	bl	fiber_main
	brk	#0
	.cfi_endproc
	.size	fiber_entry, .-fiber_entry

	.section .note.GNU-stack,"",%progbits
