// SPDX-License-Identifier: BSD-2-Clause
// System calls made by a thread of another process that stands still, as a debugger calls a function: its registers are
// set, the call is stepped over, and all is put back as it was. x86-64 only.
#pragma once

#include <cstdint>

#include "support/error.h"

namespace fiberprof {

// Of a thread that is stopped by ptrace inside a system call, which goes on afterwards as if nothing had been. The
// thread's signals wait meanwhile.
class Injection {
 public:
  // Errors: not that machine; the thread is not in a system call.
  static Result<Injection> into(uint32_t tid);
  // What the call returned; -errno. `child`, if given: the id, as this process sees it, of a process the call made,
  // which is traced and stopped, and dies with this process.
  Result<long> call(long number, long first = 0, long second = 0, long third = 0, uint32_t* child = nullptr);

 private:
  uint32_t tid_ = 0;
};

// Whether the kernel might end a process for an unexpected call.
bool filters_calls(uint32_t pid);

}  // namespace fiberprof
