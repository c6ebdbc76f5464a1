/* SPDX-License-Identifier: BSD-2-Clause */
/* What the assembly and C++ must agree on. Included by both: preprocessor only. */
#ifndef FIBER_CONTEXT_LAYOUT_H
#define FIBER_CONTEXT_LAYOUT_H

/* A suspended context is one word, the address of a frame record {caller's frame pointer, return address} on its
 * stack. The callee-saved registers lie right below that record. */
#if defined(__x86_64__)
#define FIBER_FRAME_SAVED_BYTES 40 /* rbx r12 r13 r14 r15 */
#define FIBER_FRAME_ARG_SLOT 8     /* rbx, this far below the record: carries the new fiber's argument */
#define FIBER_ENTRY_SKIP 1         /* one nop: see fiber_entry */
#elif defined(__aarch64__)
#define FIBER_FRAME_SAVED_BYTES 144 /* x19..x28, d8..d15 */
#define FIBER_FRAME_ARG_SLOT 8      /* x19 */
#define FIBER_ENTRY_SKIP 4
#else
#error "fiber: x86-64 and AArch64 only"
#endif

#endif
