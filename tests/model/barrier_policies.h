// SPDX-License-Identifier: BSD-2-Clause
// Bugs to put into protocols with asymmetric barriers (runtime/sched/asymmetric.h): policies and atomics that leave
// something out.
#pragma once

#include "explorer.h"

namespace model {

struct NoHeavyBarrier : Atomics {
  static void heavy_barrier() {}
};

// Never says so when it is set.
template <class T>
class NeverSet : public Atomic<T> {
 public:
  using Atomic<T>::Atomic;
  void store(T value, std::memory_order order = std::memory_order_seq_cst) {
    if (value == T{}) Atomic<T>::store(value, order);
  }
};

// Looks to whoever waits for it as if it were not set.
template <class T>
class NeverSeen : public Atomic<T> {
 public:
  using Atomic<T>::Atomic;
  T load(std::memory_order = std::memory_order_seq_cst) const { return T{}; }
};

}  // namespace model
