// SPDX-License-Identifier: BSD-2-Clause
// The atomics the scheduler's protocols are built on, as a parameter: the protocols are templates over a policy, so
// that the code that runs is the code that tests/model explores. With this policy a template is what it would be
// without one.
#pragma once

#include <atomic>

namespace fiber::detail {

struct StdAtomics {
  template <class T>
  using atomic = std::atomic<T>;
  static void fence(std::memory_order order) { std::atomic_thread_fence(order); }
};

}  // namespace fiber::detail
