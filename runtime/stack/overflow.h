// SPDX-License-Identifier: BSD-2-Clause
// A fiber that runs off its stack hits the guard; the message then names the fiber instead of a bare SIGSEGV.
#pragma once

#include <memory>

namespace fiber::detail {

// Once per process, the first time the runtime starts. Faults that are no stack overflow go to whatever handler was
// installed before.
void install_overflow_handler();

// The calling worker's alternate signal stack, for its lifetime: on a full stack no handler could run.
class SignalStack {
 public:
  SignalStack();
  ~SignalStack();
  SignalStack(const SignalStack&) = delete;
  SignalStack& operator=(const SignalStack&) = delete;

 private:
  std::unique_ptr<char[]> memory_;
};

}  // namespace fiber::detail
