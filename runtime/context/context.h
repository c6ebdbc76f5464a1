// SPDX-License-Identifier: BSD-2-Clause
// Switching stacks: one commented assembly file per architecture behind two functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "context/layout.h"

extern "C" {
// Saves the caller's context (all callee-saved registers) on its stack, stores the address of the frame record in
// *save, and resumes the context `resume`. Returns when somebody resumes *save, possibly on another thread.
void fiber_switch(std::uintptr_t* save, std::uintptr_t resume);
// First code of every fiber; never called.
void fiber_entry();
// First C++ code of every fiber, called by fiber_entry with the argument given to make_context. Must not return.
[[noreturn]] void fiber_main(void* argument);
}

namespace fiber {

// What fiber_switch finds on the stack of a fiber that has never run.
struct InitialFrame {
#if defined(__x86_64__)
  std::uint64_t r15, r14, r13, r12, argument /* rbx */;
#elif defined(__aarch64__)
  double d15, d14, d13, d12, d11, d10, d9, d8;
  std::uint64_t x28, x27, x26, x25, x24, x23, x22, x21, x20, argument /* x19 */;
#endif
  std::uint64_t frame_pointer, return_address;  // the frame record
};
static_assert(offsetof(InitialFrame, frame_pointer) == FIBER_FRAME_SAVED_BYTES);
static_assert(offsetof(InitialFrame, frame_pointer) - offsetof(InitialFrame, argument) == FIBER_FRAME_ARG_SLOT);

// Prepares a stack so that resuming the returned context calls fiber_main(argument). `top` need not be aligned;
// everything below it may be overwritten.
inline std::uintptr_t make_context(void* top, void* argument) {
  // fiber_entry runs with the stack pointer right above the frame record: 16-byte aligned there, as before a call.
  const std::uintptr_t address = (reinterpret_cast<std::uintptr_t>(top) & ~std::uintptr_t{15}) - sizeof(InitialFrame);
  InitialFrame frame{};
  frame.argument = reinterpret_cast<std::uintptr_t>(argument);
  frame.return_address = reinterpret_cast<std::uintptr_t>(&fiber_entry) + FIBER_ENTRY_SKIP;
  std::memcpy(reinterpret_cast<void*>(address), &frame, sizeof(frame));
  return address + offsetof(InitialFrame, frame_pointer);
}

}  // namespace fiber
