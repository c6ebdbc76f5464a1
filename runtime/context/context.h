// SPDX-License-Identifier: BSD-2-Clause
// Switching stacks: a few instructions of assembly per architecture, inlined where a fiber stops.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "context/layout.h"

extern "C" {
// First code of every fiber; never called.
void fiber_entry();
// First C++ code of every fiber, called by fiber_entry with the argument given to make_context. Must not return.
[[noreturn]] void fiber_main(void* argument);
}

// Registers that exist only with AVX-512, of which a compiler told so may make use.
#if defined(__AVX512F__)
#define FIBER_AVX512_REGISTERS                                                                                  \
  , "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24", "xmm25", "xmm26", "xmm27", \
      "xmm28", "xmm29", "xmm30", "xmm31", "k1", "k2", "k3", "k4", "k5", "k6", "k7"
#else
#define FIBER_AVX512_REGISTERS
#endif

namespace fiber {

// Suspends the caller's context, stores the address of its frame record in *save, and resumes the context `resume`.
// Returns when somebody resumes *save, possibly on another thread.
//
// No register is saved but the frame pointer: the others are declared as lost, so that the compiler keeps what it still
// needs in the caller's frame, where its unwind tables describe it. As a function that saves them all, like setjmp,
// this took 13 instructions more, for the caller has saved most of them already; and its `call` had no `ret`, so that
// the processor mispredicted the caller's return after every switch. The caller has a frame pointer (the whole library
// is compiled so), by which its frame is found on either side of the switch.
//
// The control words MXCSR and x87 are not switched: they cost 60 ns when sticky flags differ, and the ABI makes them
// the thread's business.
[[gnu::always_inline]] inline void fiber_switch(std::uintptr_t* save, std::uintptr_t resume) {
#if defined(__x86_64__)
  asm volatile(
      "lea -%c[above](%%rsp), %%rsp\n\t"
      "lea 1f(%%rip), %%rcx\n\t"
      "mov %%rbp, (%%rsp)\n\t"
      "mov %%rcx, 8(%%rsp)\n\t"
      "mov %%rsp, (%[save])\n\t"
      "mov 8(%[resume]), %%rcx\n\t"
      "lea %c[above](%[resume]), %%rsp\n\t"
      "mov (%[resume]), %%rbp\n\t"
      "jmp *%%rcx\n"
      "1:"
      : [save] "+D"(save), [resume] "+S"(resume)
      : [above] "i"(FIBER_FRAME_ABOVE)
      : "memory", "cc", "rax", "rbx", "rcx", "rdx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "xmm0",
        "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13",
        "xmm14", "xmm15" FIBER_AVX512_REGISTERS);
#elif defined(__aarch64__)
  register std::uintptr_t* x0 asm("x0") = save;
  register std::uintptr_t x1 asm("x1") = resume;
  asm volatile(
      "adr x30, 1f\n\t"
      "stp x29, x30, [sp, #-%c[above]]!\n\t"
      "mov x2, sp\n\t"
      "str x2, [x0]\n\t"
      "ldr x30, [x1, #8]\n\t"
      "add sp, x1, #%c[above]\n\t"
      "ldr x29, [x1]\n\t"
      "br x30\n"
      "1:"
      : "+r"(x0), "+r"(x1)
      : [above] "i"(FIBER_FRAME_ABOVE)
      : "memory", "cc", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x16",
        "x17", "x18", "x19", "x20", "x21", "x22", "x23", "x24", "x25", "x26", "x27", "x28", "x30", "v0", "v1", "v2",
        "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14", "v15", "v16", "v17", "v18", "v19",
        "v20", "v21", "v22", "v23", "v24", "v25", "v26", "v27", "v28", "v29", "v30", "v31");
#endif
}

// What fiber_switch finds on the stack of a context that has never run. It begins with the stack pointer
// FIBER_FRAME_ABOVE above this, and with no register that means anything but frame pointer and stack pointer.
struct alignas(16) InitialFrame {
  std::uint64_t frame_pointer = 0, return_address = 0;  // the frame record
  std::uint64_t argument = 0;
  std::byte above[FIBER_FRAME_ABOVE > 32 ? FIBER_FRAME_ABOVE - 24 : 8] = {};
};
static_assert(offsetof(InitialFrame, argument) == FIBER_FRAME_ARGUMENT);
static_assert(sizeof(InitialFrame) >= FIBER_FRAME_ABOVE && sizeof(InitialFrame) % 16 == 0 &&
              FIBER_FRAME_ABOVE % 16 == 0);

// Prepares a stack so that resuming the returned context calls fiber_main(argument). `top` need not be aligned;
// everything below it may be overwritten.
inline std::uintptr_t make_context(void* top, void* argument) {
  // fiber_entry runs with a stack pointer aligned to 16 bytes, as before a call.
  const std::uintptr_t address = (reinterpret_cast<std::uintptr_t>(top) & ~std::uintptr_t{15}) - sizeof(InitialFrame);
  InitialFrame frame;
  frame.argument = reinterpret_cast<std::uintptr_t>(argument);
  frame.return_address = reinterpret_cast<std::uintptr_t>(&fiber_entry) + FIBER_ENTRY_SKIP;
  std::memcpy(reinterpret_cast<void*>(address), &frame, sizeof(frame));
  return address;
}

}  // namespace fiber
