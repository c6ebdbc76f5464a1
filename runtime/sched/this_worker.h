// SPDX-License-Identifier: BSD-2-Clause
// The worker of the calling thread.
#pragma once

#include "sched/processor.h"

namespace fiber::detail {

extern "C" __attribute__((visibility("hidden"))) thread_local Worker* fiber_this_worker;

// Null on a thread that is no worker. Must be asked again after every switch: the fiber may have moved to another
// thread, and a compiler that sees a thread_local keeps its address across calls. Hence the assembly, which is not
// merged with an earlier one.
inline Worker* this_worker() {
#if defined(__x86_64__)
  Worker* worker;
  asm volatile("mov fiber_this_worker@gottpoff(%%rip), %0\n\tmov %%fs:(%0), %0" : "=r"(worker));
  return worker;
#else
  Worker* worker;
  std::uint64_t thread_pointer;
  asm volatile(
      "adrp %0, :gottprel:fiber_this_worker\n\t"
      "ldr %0, [%0, :gottprel_lo12:fiber_this_worker]\n\t"
      "mrs %1, tpidr_el0\n\t"
      "ldr %0, [%1, %0]"
      : "=&r"(worker), "=&r"(thread_pointer));
  return worker;
#endif
}

// For the thread's own start and end. In assembly because g++ 12 with -fsanitize=null tests flags that the linker's
// relaxation of the address no longer sets.
inline void set_this_worker(Worker* worker) {
#if defined(__x86_64__)
  std::uint64_t offset;
  asm volatile("mov fiber_this_worker@gottpoff(%%rip), %0\n\tmov %1, %%fs:(%0)"
               : "=&r"(offset)
               : "r"(worker)
               : "memory");
#else
  fiber_this_worker = worker;
#endif
}

inline Fiber* this_fiber() {
  Worker* worker = this_worker();
  return worker == nullptr ? nullptr : worker->current;
}

}  // namespace fiber::detail
