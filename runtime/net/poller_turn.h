// SPDX-License-Identifier: BSD-2-Clause
// Whose turn it is in epoll_wait, and until when he sleeps there. A template over the atomics, explored in tests/model.
#pragma once

#include <cstdint>

#include "sched/atomics.h"

namespace fiber::detail {

template <class Atomics>
class BasicPollerTurn {
 public:
  // The right to call epoll_wait belongs to one worker at a time. False: somebody else has it, and will hear from
  // release() that the caller wanted it.
  bool acquire() {
    if (!busy_.exchange(true, std::memory_order_seq_cst)) return true;
    wanted_.store(true, std::memory_order_seq_cst);
    // The holder may have let go before it could see that.
    return !busy_.exchange(true, std::memory_order_seq_cst);
  }
  // True: a worker wanted it meanwhile and has gone to sleep without. The caller must see to it that sockets and timers
  // are looked after.
  bool release() {
    busy_.store(false, std::memory_order_seq_cst);
    return wanted_.exchange(false, std::memory_order_seq_cst);
  }

  // What a sleeping holder must be interrupted for: it sleeps until this time. 0: nobody sleeps there.
  std::uint64_t sleeps_until() const { return sleeps_until_.load(std::memory_order_seq_cst); }
  void set_sleeps_until(std::uint64_t when) { sleeps_until_.store(when, std::memory_order_seq_cst); }

 private:
  template <class T>
  using Atomic = typename Atomics::template atomic<T>;
  Atomic<bool> busy_{false};
  Atomic<bool> wanted_{false};
  Atomic<std::uint64_t> sleeps_until_{0};
};

}  // namespace fiber::detail
