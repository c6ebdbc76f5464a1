// SPDX-License-Identifier: BSD-2-Clause
// A slot for one item, of an owner who is there all the time and thieves who hardly ever come: the owner does without
// locked instructions. It announces itself instead of locking; a thief makes itself known first, then lets the kernel
// order the two (asymmetric.h).
#pragma once

#include "sched/asymmetric.h"
#include "sched/spinlock.h"

namespace fiber::detail {

// A template, for tests/model explores it with atomics and barriers of its own.
template <class Item, class Policy = AsymmetricAtomics>
class NextSlot {
 public:
  // Any thread.
  Item peek() const { return item_.load(std::memory_order_relaxed); }

  // Owner. Puts `item` there and returns what was.
  [[gnu::always_inline]] Item swap(Item item) {
    Item old;
    busy_.store(true, std::memory_order_relaxed);
    Policy::light_barrier();
    // Acquire: who sees that a thief has gone must also see what it took. Costs nothing on x86.
    if (!contended_.load(std::memory_order_acquire)) [[likely]] {
      old = item_.load(std::memory_order_relaxed);
      item_.store(item, std::memory_order_release);
    } else {
      old = item_.exchange(item, std::memory_order_acq_rel);
    }
    busy_.store(false, std::memory_order_release);
    return old;
  }
  // The same where there are no thieves at all.
  [[gnu::always_inline]] Item swap_alone(Item item) {
    Item old = item_.load(std::memory_order_relaxed);
    item_.store(item, std::memory_order_relaxed);
    return old;
  }

  // Thief: 1 to 3 us. Also null if another one is here.
  Item steal() {
    bool alone = false;
    if (!contended_.compare_exchange_strong(alone, true, std::memory_order_acq_rel)) return Item{};
    Policy::heavy_barrier();
    // The owner is either past its few instructions, or in them now, or will see that it must lock.
    for (int round = 0; busy_.load(std::memory_order_acquire); ++round) spin_wait(busy_, round);
    Item item = item_.exchange(Item{}, std::memory_order_acq_rel);
    contended_.store(false, std::memory_order_release);
    return item;
  }
  // Without barriers, where set_always_locked was called.
  Item steal_locked() { return item_.exchange(Item{}, std::memory_order_acq_rel); }

  // Before there are thieves.
  void set_always_locked(bool always) { contended_.store(always, std::memory_order_relaxed); }

 private:
  template <class T>
  using Atomic = typename Policy::template atomic<T>;
  Atomic<Item> item_{Item{}};
  Atomic<bool> busy_{false};       // the owner is at `item_`
  Atomic<bool> contended_{false};  // a thief is, or might be: locked instructions
};

}  // namespace fiber::detail
