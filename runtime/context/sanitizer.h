// SPDX-License-Identifier: BSD-2-Clause
// What AddressSanitizer, ThreadSanitizer and Valgrind must be told about stacks they have not made. In other builds
// everything here is empty. Interfaces: sanitizer/common_interface_defs.h, sanitizer/tsan_interface.h,
// valgrind/valgrind.h.
#pragma once

#include <cstddef>

#include "stack/stack_pool.h"

#if defined(__has_feature)
#define FIBER_HAS_FEATURE(name) __has_feature(name)
#else
#define FIBER_HAS_FEATURE(name) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || FIBER_HAS_FEATURE(address_sanitizer)
#define FIBER_ASAN 1
#include <sanitizer/asan_interface.h>
#include <sanitizer/lsan_interface.h>
#else
#define FIBER_ASAN 0
#endif
#if defined(__SANITIZE_THREAD__) || FIBER_HAS_FEATURE(thread_sanitizer)
#define FIBER_TSAN 1
#include <sanitizer/tsan_interface.h>
#else
#define FIBER_TSAN 0
#endif
// A client request costs a few instructions where no Valgrind listens, so it is made once per stack, not per switch.
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#define FIBER_VALGRIND 1
#else
#define FIBER_VALGRIND 0
#endif

namespace fiber::detail {

// A stack as the sanitizers know it: one in every fiber, and one in every worker for the thread's own.
struct SanitizerStack {
#if FIBER_ASAN
  const void* low = nullptr;
  std::size_t size = 0;
  void* fake_stack = nullptr;  // of use-after-return detection, while it is switched away from
#endif
#if FIBER_TSAN
  void* context = nullptr;
#endif
};

namespace sanitizer {

inline constexpr bool kLooksForLeaks = FIBER_ASAN;
inline constexpr unsigned kOwnThreads = FIBER_TSAN;  // threads the sanitizer adds to the process

// `memory` has just become a stack, for as long as the process lives.
inline void stack_made([[maybe_unused]] const Stack& memory) {
#if FIBER_VALGRIND
  (void)VALGRIND_STACK_REGISTER(memory.low, memory.high);
#endif
}

// The process ends, and the fiber whose stack is used from `low` up to `high` has not: what it points to is no leak.
// Told then and not when the stack is made, as looking for leaks touches every page it is told of: 36 s of the end of
// a program that once had 100,000 fibers.
inline void stack_left([[maybe_unused]] const std::byte* low, [[maybe_unused]] const std::byte* high) {
#if FIBER_ASAN
  __lsan_register_root_region(low, static_cast<std::size_t>(high - low));
#endif
}

// A new fiber is about to be built on `memory`. The frames its predecessor never returned from may lie there still.
inline void fiber_born([[maybe_unused]] SanitizerStack& stack, [[maybe_unused]] const Stack& memory) {
#if FIBER_ASAN
  stack.low = memory.low;
  stack.size = static_cast<std::size_t>(memory.high - memory.low);
  stack.fake_stack = nullptr;
  __asan_unpoison_memory_region(stack.low, stack.size);
#endif
#if FIBER_TSAN
  stack.context = __tsan_create_fiber(0);
#endif
}

// The fiber is off its stack for good. Not called on that stack.
inline void fiber_gone([[maybe_unused]] SanitizerStack& stack) {
#if FIBER_TSAN
  __tsan_destroy_fiber(stack.context);
  stack.context = nullptr;
#endif
}

// The calling thread is on its own stack, which is to be known as `stack`.
inline void thread_started([[maybe_unused]] SanitizerStack& stack) {
#if FIBER_ASAN
  pthread_attr_t attributes;
  void* low = nullptr;
  pthread_getattr_np(pthread_self(), &attributes);
  pthread_attr_getstack(&attributes, &low, &stack.size);
  pthread_attr_destroy(&attributes);
  stack.low = low;
#endif
#if FIBER_TSAN
  stack.context = __tsan_get_current_fiber();
#endif
}

// Directly before fiber_switch. `for_good`: nobody will come back to `from`.
[[gnu::always_inline]] inline void leave([[maybe_unused]] SanitizerStack& from,
                                         [[maybe_unused]] const SanitizerStack& to, [[maybe_unused]] bool for_good) {
#if FIBER_ASAN
  __sanitizer_start_switch_fiber(for_good ? nullptr : &from.fake_stack, to.low, to.size);
#endif
#if FIBER_TSAN
  __tsan_switch_to_fiber(to.context, 0);
#endif
}

// Directly after it, on the stack gone to.
[[gnu::always_inline]] inline void arrived([[maybe_unused]] const SanitizerStack& on) {
#if FIBER_ASAN
  __sanitizer_finish_switch_fiber(on.fake_stack, nullptr, nullptr);
#endif
}

}  // namespace sanitizer
}  // namespace fiber::detail
