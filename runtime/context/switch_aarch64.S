/* SPDX-License-Identifier: BSD-2-Clause */
/* Context switch, AAPCS64. See context.h for the contract. */
#include "context/layout.h"

	.text

/*
 * void fiber_switch(uintptr_t *save: x0, uintptr_t resume: x1)
 *
 *	saved word ->	x29		frame record
 *	    +8		x30
 *	    -8 ..	x19..x28, then d8..d15
 */
	.globl	fiber_switch
	.hidden	fiber_switch
	.type	fiber_switch, %function
	.p2align 4
fiber_switch:
	.cfi_startproc
	stp	x29, x30, [sp, #-16]!
	.cfi_def_cfa_offset 16
	.cfi_offset x29, -16
	.cfi_offset x30, -8
	mov	x29, sp
	.cfi_def_cfa x29, 16
	stp	x20, x19, [x29, #-16]
	.cfi_offset x19, -24
	.cfi_offset x20, -32
	stp	x22, x21, [x29, #-32]
	.cfi_offset x21, -40
	.cfi_offset x22, -48
	stp	x24, x23, [x29, #-48]
	.cfi_offset x23, -56
	.cfi_offset x24, -64
	stp	x26, x25, [x29, #-64]
	.cfi_offset x25, -72
	.cfi_offset x26, -80
	stp	x28, x27, [x29, #-80]
	.cfi_offset x27, -88
	.cfi_offset x28, -96
	stp	d9, d8, [x29, #-96]
	stp	d11, d10, [x29, #-112]
	stp	d13, d12, [x29, #-128]
	stp	d15, d14, [x29, #-144]
	sub	sp, x29, #FIBER_FRAME_SAVED_BYTES

	str	x29, [x0]
	mov	x29, x1

	ldp	d15, d14, [x29, #-144]
	ldp	d13, d12, [x29, #-128]
	ldp	d11, d10, [x29, #-112]
	ldp	d9, d8, [x29, #-96]
	ldp	x28, x27, [x29, #-80]
	ldp	x26, x25, [x29, #-64]
	ldp	x24, x23, [x29, #-48]
	ldp	x22, x21, [x29, #-32]
	ldp	x20, x19, [x29, #-16]
	mov	sp, x29
	ldp	x29, x30, [sp], #16
	.cfi_def_cfa sp, 0
	.cfi_restore x29
	.cfi_restore x30
	br	x30
	.cfi_endproc
	.size	fiber_switch, .-fiber_switch

/* Where a new fiber starts: x19 holds its argument. Every stack of a fiber ends here. */
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
	mov	x0, x19
	bl	fiber_main
	brk	#0
	.cfi_endproc
	.size	fiber_entry, .-fiber_entry

	.section .note.GNU-stack,"",%progbits
