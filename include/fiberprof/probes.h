/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Contract one: the USDT probes of a fiber runtime (provider "fiber").
 *
 * A runtime that includes this header and fires these probes is visible to fiberprof, and to anything else that
 * reads `.note.stapsdt` notes (bpftrace, perf, readelf -n, SystemTap). The meaning and the order of a probe's
 * arguments never change; a new meaning is a new name, and arguments are only ever appended.
 *
 * How to adopt it
 *   - In exactly one translation unit of the runtime, compiled with -mno-red-zone and with frame pointers:
 *         #define FIBERPROF_DEFINE_PROBES
 *         #include <fiberprof/probes.h>
 *   - Everywhere else: include it and write
 *         if (FIBERPROF_ENABLED(park)) fiberprof_site_park(id, reason, resource, processor);
 *     Unattached this is one load and a branch not taken; the arguments are not computed.
 *     A runtime may look less often than that. libfiberrt does for waits, channel operations and locks: a
 *     processor notices who has attached when it wakes up, or within 8 scheduling decisions.
 *
 * Why a site is a function of its own
 *   Kernels from 6.18 turn a 5-byte nop under a probe into a call, which writes a return address below the stack
 *   pointer: in a leaf function that uses the red zone this destroys locals (measured: 199,999 of 200,000 calls).
 *   Hence the non-inlined functions and -mno-red-zone; tests/contract checks the machine code of every site.
 *
 * What a site consists of (x86-64)
 *   a 1-byte nop, where the note points and where every tool may attach;
 *   at +1 a 10-byte nop, which kernels from 7.2 optimise into a call;
 *   at +11 a 5-byte nop, which kernels from 6.18 optimise into a call.
 *   `fiberprof doctor` measures which of the three is cheapest on the running kernel.
 *   Arguments always sit in the registers of FIBERPROF_ARG_REGISTERS, in order, so that a BPF program reads them
 *   from pt_regs without a table; the notes say the same in the usual notation.
 *   On AArch64 a site is one nop and the arguments are in x0 to x7.
 */
#ifndef FIBERPROF_PROBES_H
#define FIBERPROF_PROBES_H

#define FIBERPROF_PROVIDER "fiber"

/* X(name, number of arguments, their names). Every argument is an unsigned 64-bit integer. In probes about a fiber
 * the first is the fiber's id, unique in its process for ever; 0 means "not on a fiber". The first four probes are
 * those that waits pass, the next four the channel operations; the semaphores of each four share one 64-bit word, so
 * that one test covers them (FIBERPROF_ANY_WAIT_PROBE, FIBERPROF_ANY_CHANNEL_PROBE). */
#define FIBERPROF_PROBES(X)                                                                                           \
  /* about to leave the processor */                                                                                  \
  X(park, 4, "id reason resource processor")                                                                          \
  /* made runnable; fires on the waker's stack. depth: length of the run queue it joined; parked_ns: since park */    \
  X(unpark, 7, "id waker reason resource processor depth parked_ns")                                                  \
  /* runs again, on its own stack, so the stack here is the stack of the wait. exact tier: fires at every resume */   \
  X(blocked, 6, "id reason resource parked_ns queued_ns waker")                                                       \
  /* the same, sampled tier: this event stands for `weight` waits; the expected weighted sums are the exact ones.     \
   * The lowest bit of parked_ns says how exact that is: FIBERPROF_PARKED_ROUGH */                                    \
  X(blocked_sampled, 7, "id reason resource parked_ns queued_ns waker weight")                                        \
  X(chan_send, 5, "id channel length capacity blocked")                                                               \
  X(chan_recv, 5, "id channel length capacity blocked")                                                               \
  /* chosen: index of the arm taken; the default arm is the number of arms */                                         \
  X(select, 6, "id channel length capacity blocked chosen")                                                           \
  X(chan_close, 4, "id channel length capacity")                                                                      \
  /* the same as unpark, sampled tier: of the waits that blocked_sampled will tell, while that is attached too */     \
  X(unpark_sampled, 7, "id waker reason resource processor depth parked_ns")                                          \
  X(spawn, 3, "id parent entry")                                                                                      \
  X(exit, 1, "id")                                                                                                    \
  X(chan_make, 3, "id channel capacity")                                                                              \
  X(lock, 3, "id lock contended")                                                                                     \
  X(unlock, 3, "id lock contended")                                                                                   \
  /* a processor moves to another worker thread. why: FIBERPROF_HANDOFF_*; id: the fiber left behind */               \
  X(handoff, 5, "processor from_tid to_tid why id")                                                                   \
  X(syscall_enter, 2, "id processor")                                                                                 \
  /* kept: 1 when the fiber still had its processor at the end of the section */                                      \
  X(syscall_exit, 3, "id ns kept")                                                                                    \
  /* record: address of the worker's struct fiberprof_worker (registry.h) in the process */                           \
  X(worker_start, 3, "tid processor record")                                                                          \
  X(worker_idle, 2, "tid processor")                                                                                  \
  X(worker_wake, 2, "tid processor")                                                                                  \
  /* monitor tick, once per processor. depth: runnable fibers queued; state: FIBERPROF_PROCESSOR_* (registry.h) */    \
  X(proc_sample, 3, "processor depth state")                                                                          \
  /* the same tick, where anybody is queued: one of the `depth` fibers, taken at random. entry: its spawned function; \
   * processor: whose queue, ~0 the global one. The event stands for depth * interval_ns of fibers being queued */    \
  X(queue_sample, 5, "id entry depth interval_ns processor")                                                          \
  /* the same tick, once: how many fibers exist, running, queued or parked. It stands for fibers * interval_ns */     \
  X(fibers_sample, 2, "fibers interval_ns")                                                                           \
  /* a fiber kept its processor for more than 10 ms. pc: the spawned function */                                      \
  X(overrun, 3, "id ns pc")                                                                                           \
  X(region_begin, 2, "id name")                                                                                       \
  X(region_end, 2, "id name")

/* This bit of parked_ns in blocked_sampled and unpark_sampled is set if nobody looked at a clock when the wait began:
 * the expected value is right, but this one is only good to a tick of fiberprof_registry.clock_ns, with a variance of a
 * sixth of its square. */
#define FIBERPROF_PARKED_ROUGH 1

/* why a handoff happened */
#define FIBERPROF_HANDOFF_BLOCKING 1 /* the monitor retook the processor of a worker stuck in a blocking section */
#define FIBERPROF_HANDOFF_WAKE 2     /* an idle processor was given to a worker to run queued work */

#ifndef __bpf__

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Per probe: its semaphore (the number of attached consumers, written by the kernel) and its site. */
#define FIBERPROF_PARAMS_1 uint64_t a0
#define FIBERPROF_PARAMS_2 FIBERPROF_PARAMS_1, uint64_t a1
#define FIBERPROF_PARAMS_3 FIBERPROF_PARAMS_2, uint64_t a2
#define FIBERPROF_PARAMS_4 FIBERPROF_PARAMS_3, uint64_t a3
#define FIBERPROF_PARAMS_5 FIBERPROF_PARAMS_4, uint64_t a4
#define FIBERPROF_PARAMS_6 FIBERPROF_PARAMS_5, uint64_t a5
#define FIBERPROF_PARAMS_7 FIBERPROF_PARAMS_6, uint64_t a6

#define FIBERPROF_DECLARE(name, nargs, args)                                                     \
  extern const volatile uint16_t fiber_##name##_semaphore __attribute__((visibility("hidden"))); \
  void fiberprof_site_##name(FIBERPROF_PARAMS_##nargs) __attribute__((visibility("hidden"), cold));
FIBERPROF_PROBES(FIBERPROF_DECLARE)
#undef FIBERPROF_DECLARE

/* Semaphores read four at a time: [0] park, unpark, blocked, blocked_sampled; [1] chan_send, chan_recv, select,
 * chan_close; the lower half of [3] lock, unlock. */
extern const volatile uint64_t fiberprof_hot_semaphores[4] __attribute__((visibility("hidden")));

/* The tests below are compare-with-memory and branch where the architecture has that: a compiler makes three
 * instructions of a volatile read, and there are ten of them in one round trip over a channel. */
#if defined(__x86_64__)
#define FIBERPROF_TEST(compare, word)                                           \
  (__extension__({                                                              \
    int fiberprof_set_;                                                         \
    __asm__ volatile(compare " $0, %1" : "=@ccne"(fiberprof_set_) : "m"(word)); \
    __builtin_expect(fiberprof_set_, 0);                                        \
  }))
#define FIBERPROF_ENABLED(name) FIBERPROF_TEST("cmpw", fiber_##name##_semaphore)
#define FIBERPROF_ANY_WAIT_PROBE() FIBERPROF_TEST("cmpq", fiberprof_hot_semaphores[0])
#define FIBERPROF_ANY_CHANNEL_PROBE() FIBERPROF_TEST("cmpq", fiberprof_hot_semaphores[1])
#define FIBERPROF_ANY_WAIT_CHANNEL_OR_LOCK_PROBE()                                         \
  (__extension__({                                                                         \
    int fiberprof_set_;                                                                    \
    uint64_t fiberprof_word_;                                                              \
    __asm__ volatile("movl %4, %k1\n\tor %2, %1\n\tor %3, %1"                              \
                     : "=@ccne"(fiberprof_set_), "=&r"(fiberprof_word_)                    \
                     : "m"(fiberprof_hot_semaphores[0]), "m"(fiberprof_hot_semaphores[1]), \
                       "m"(fiberprof_hot_semaphores[3]));                                  \
    __builtin_expect(fiberprof_set_, 0);                                                   \
  }))
#else
#define FIBERPROF_ENABLED(name) __builtin_expect(fiber_##name##_semaphore != 0, 0)
#define FIBERPROF_ANY_WAIT_PROBE() __builtin_expect(fiberprof_hot_semaphores[0] != 0, 0)
#define FIBERPROF_ANY_CHANNEL_PROBE() __builtin_expect(fiberprof_hot_semaphores[1] != 0, 0)
#define FIBERPROF_ANY_WAIT_CHANNEL_OR_LOCK_PROBE()                                                     \
  __builtin_expect((fiberprof_hot_semaphores[0] | fiberprof_hot_semaphores[1] | fiber_lock_semaphore | \
                    fiber_unlock_semaphore) != 0,                                                      \
                   0)
#endif

#ifdef FIBERPROF_DEFINE_PROBES

/* All semaphores side by side, in the order of the list. */
__asm__(
    ".pushsection .probes,\"aw\",@progbits\n"
    ".balign 8\n"
    ".globl fiberprof_hot_semaphores\n"
    ".hidden fiberprof_hot_semaphores\n"
    "fiberprof_hot_semaphores:\n"
    ".popsection\n");
#define FIBERPROF_DEFINE_SEMAPHORE(name, nargs, args)                \
  __asm__(                                                           \
      ".pushsection .probes,\"aw\",@progbits\n"                      \
      ".globl fiber_" #name "_semaphore\n.hidden fiber_" #name       \
      "_semaphore\n"                                                 \
      ".type fiber_" #name "_semaphore, @object\n.size fiber_" #name \
      "_semaphore, 2\n"                                              \
      "fiber_" #name                                                 \
      "_semaphore: .2byte 0\n"                                       \
      ".popsection\n");
FIBERPROF_PROBES(FIBERPROF_DEFINE_SEMAPHORE)
#undef FIBERPROF_DEFINE_SEMAPHORE

/* The reference section by which readers undo prelinking. */
__asm__(
    ".ifndef _.stapsdt.base\n"
    ".pushsection .stapsdt.base,\"aG\",\"progbits\",.stapsdt.base,comdat\n"
    ".weak _.stapsdt.base\n.hidden _.stapsdt.base\n"
    "_.stapsdt.base: .space 1\n.size _.stapsdt.base, 1\n"
    ".popsection\n"
    ".endif\n");

#if defined(__x86_64__)
#define FIBERPROF_NOPS                                             \
  "990: .byte 0x90\n"                                              \
  "     .byte 0x66,0x2e,0x0f,0x1f,0x84,0x00,0x00,0x00,0x00,0x00\n" \
  "     .byte 0x0f,0x1f,0x44,0x00,0x00\n"
#define FIBERPROF_R0 "rdi"
#define FIBERPROF_R1 "rsi"
#define FIBERPROF_R2 "rdx"
#define FIBERPROF_R3 "rcx"
#define FIBERPROF_R4 "r8"
#define FIBERPROF_R5 "r9"
#define FIBERPROF_R6 "r10"
#define FIBERPROF_A(reg) "8@%%" reg
#elif defined(__aarch64__)
#define FIBERPROF_NOPS "990: nop\n"
#define FIBERPROF_R0 "x0"
#define FIBERPROF_R1 "x1"
#define FIBERPROF_R2 "x2"
#define FIBERPROF_R3 "x3"
#define FIBERPROF_R4 "x4"
#define FIBERPROF_R5 "x5"
#define FIBERPROF_R6 "x6"
#define FIBERPROF_A(reg) "8@" reg
#else
#error "fiberprof probes: x86-64 and AArch64 only"
#endif

#define FIBERPROF_NOTE_1 FIBERPROF_A(FIBERPROF_R0)
#define FIBERPROF_NOTE_2 FIBERPROF_NOTE_1 " " FIBERPROF_A(FIBERPROF_R1)
#define FIBERPROF_NOTE_3 FIBERPROF_NOTE_2 " " FIBERPROF_A(FIBERPROF_R2)
#define FIBERPROF_NOTE_4 FIBERPROF_NOTE_3 " " FIBERPROF_A(FIBERPROF_R3)
#define FIBERPROF_NOTE_5 FIBERPROF_NOTE_4 " " FIBERPROF_A(FIBERPROF_R4)
#define FIBERPROF_NOTE_6 FIBERPROF_NOTE_5 " " FIBERPROF_A(FIBERPROF_R5)
#define FIBERPROF_NOTE_7 FIBERPROF_NOTE_6 " " FIBERPROF_A(FIBERPROF_R6)

#define FIBERPROF_LOAD_1 register uint64_t r0 __asm__(FIBERPROF_R0) = a0;
#define FIBERPROF_LOAD_2 FIBERPROF_LOAD_1 register uint64_t r1 __asm__(FIBERPROF_R1) = a1;
#define FIBERPROF_LOAD_3 FIBERPROF_LOAD_2 register uint64_t r2 __asm__(FIBERPROF_R2) = a2;
#define FIBERPROF_LOAD_4 FIBERPROF_LOAD_3 register uint64_t r3 __asm__(FIBERPROF_R3) = a3;
#define FIBERPROF_LOAD_5 FIBERPROF_LOAD_4 register uint64_t r4 __asm__(FIBERPROF_R4) = a4;
#define FIBERPROF_LOAD_6 FIBERPROF_LOAD_5 register uint64_t r5 __asm__(FIBERPROF_R5) = a5;
#define FIBERPROF_LOAD_7 FIBERPROF_LOAD_6 register uint64_t r6 __asm__(FIBERPROF_R6) = a6;

#define FIBERPROF_IN_1 "r"(r0)
#define FIBERPROF_IN_2 FIBERPROF_IN_1, "r"(r1)
#define FIBERPROF_IN_3 FIBERPROF_IN_2, "r"(r2)
#define FIBERPROF_IN_4 FIBERPROF_IN_3, "r"(r3)
#define FIBERPROF_IN_5 FIBERPROF_IN_4, "r"(r4)
#define FIBERPROF_IN_6 FIBERPROF_IN_5, "r"(r5)
#define FIBERPROF_IN_7 FIBERPROF_IN_6, "r"(r6)

#if defined(__GNUC__) && !defined(__clang__)
#define FIBERPROF_ONE_COPY noipa /* a clone would be a second site under the same name */
#else
#define FIBERPROF_ONE_COPY noinline
#endif

#define FIBERPROF_DEFINE_SITE(name, nargs, args)                                                                     \
  __attribute__((noinline, FIBERPROF_ONE_COPY, visibility("hidden"), cold)) void fiberprof_site_##name(              \
      FIBERPROF_PARAMS_##nargs) {                                                                                    \
    FIBERPROF_LOAD_##nargs __asm__ volatile(FIBERPROF_NOPS                                                           \
                                            ".pushsection .note.stapsdt,\"\",\"note\"\n"                             \
                                            ".balign 4\n"                                                            \
                                            ".4byte 992f-991f, 994f-993f, 3\n"                                       \
                                            "991: .asciz \"stapsdt\"\n"                                              \
                                            "992: .balign 4\n"                                                       \
                                            "993: .8byte 990b, _.stapsdt.base, fiber_" #name                         \
                                            "_semaphore\n"                                                           \
                                            ".asciz \"" FIBERPROF_PROVIDER                                           \
                                            "\"\n"                                                                   \
                                            ".asciz \"" #name                                                        \
                                            "\"\n"                                                                   \
                                            ".asciz \"" FIBERPROF_NOTE_##nargs                                       \
                                            "\"\n"                                                                   \
                                            "994: .balign 4\n"                                                       \
                                            ".popsection\n"                                                          \
                                            : /* asking for the frame makes the compiler set one up, so that a stack \
                                               * walk from here finds the caller */                                  \
                                            : FIBERPROF_IN_##nargs, "r"(__builtin_frame_address(0))                  \
                                            : "memory");                                                             \
  }
FIBERPROF_PROBES(FIBERPROF_DEFINE_SITE)

#endif /* FIBERPROF_DEFINE_PROBES */

#ifdef __cplusplus
}
#endif

#endif /* !__bpf__ */
#endif
