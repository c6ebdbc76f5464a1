// SPDX-License-Identifier: BSD-2-Clause
// A fiber that runs off its stack hits the guard; the message then names the fiber instead of a bare SIGSEGV.
#pragma once

#include <memory>

namespace fiber::detail {

// Once per process, the first time the runtime starts. Faults that are no stack overflow go to whatever handler was
// installed before.
void install_overflow_handler();

// A worker thread's alternate signal stack: on a full stack no handler could run. Both by the thread itself.
class SignalStack {
 public:
  void enable();
  void disable();

 private:
  std::unique_ptr<char[]> memory_;
};

}  // namespace fiber::detail
