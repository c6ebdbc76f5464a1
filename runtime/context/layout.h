/* SPDX-License-Identifier: BSD-2-Clause */
/* What the assembly and C++ must agree on. Included by both: preprocessor only. */
#ifndef FIBER_CONTEXT_LAYOUT_H
#define FIBER_CONTEXT_LAYOUT_H

/* A suspended context is one word, the address of a frame record {caller's frame pointer, where to go on} on its stack.
 * It goes on with the stack pointer that far above the record: what the ABI lets a function use below its stack pointer
 * (the red zone) stays untouched. */
#if defined(__x86_64__)
#define FIBER_FRAME_ABOVE 144
#define FIBER_ENTRY_SKIP 1 /* one nop: see fiber_entry */
#elif defined(__aarch64__)
#define FIBER_FRAME_ABOVE 16
#define FIBER_ENTRY_SKIP 4
#else
#error "fiber: x86-64 and AArch64 only"
#endif
/* Where a new fiber's argument is, above its record. */
#define FIBER_FRAME_ARGUMENT 16

#endif
