// SPDX-License-Identifier: BSD-2-Clause
// Fibers spawned on a processor that have not run yet: the owner takes the newest, whose stack and arguments are in its
// cache, so that a tree of fibers is walked depth first and few of its fibers exist at a time; thieves take the oldest,
// the root of the largest subtree. The deque of Chase and Lev, with the memory orders of Le, Pop, Cohen and Zappa
// Nardelli (PPoPP 2013), bounded.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "sched/atomics.h"
#include "sched/fiber.h"

namespace fiber::detail {

template <class Element, std::uint32_t Capacity, class Atomics>
class BasicSpawnDeque {
 public:
  static constexpr std::uint32_t kCapacity = Capacity;
  static_assert(Capacity >= 2 && (Capacity & (Capacity - 1)) == 0);

  // Owner only. False when full.
  bool push(Element element) {
    const std::uint32_t bottom = bottom_.load(std::memory_order_relaxed);
    if (bottom - top_.load(std::memory_order_acquire) >= kCapacity) return false;
    slots_[bottom % kCapacity].store(element, std::memory_order_relaxed);
    bottom_.store(bottom + 1, std::memory_order_release);
    return true;
  }

  // Owner only. Null when empty.
  Element pop_newest() {
    const std::uint32_t bottom = bottom_.load(std::memory_order_relaxed) - 1;
    // Released: a thief that sees this value, and not the push's, takes what that push has published. (The paper has a
    // release fence in push, which covers it; a release store there does not, since C++20.)
    bottom_.store(bottom, std::memory_order_release);
    Atomics::fence(std::memory_order_seq_cst);
    std::uint32_t top = top_.load(std::memory_order_relaxed);
    const auto left = static_cast<std::int32_t>(bottom - top);
    if (left < 0) {
      bottom_.store(bottom + 1, std::memory_order_relaxed);
      return Element{};
    }
    Element element = slots_[bottom % kCapacity].load(std::memory_order_relaxed);
    if (left > 0) return element;
    // The last one: thieves may be after it.
    if (!top_.compare_exchange_strong(top, top + 1, std::memory_order_seq_cst, std::memory_order_relaxed))
      element = Element{};
    bottom_.store(bottom + 1, std::memory_order_relaxed);
    return element;
  }

  // Owner only, while there are no thieves at all: the same without the fence.
  Element pop_newest_alone() {
    const std::uint32_t bottom = bottom_.load(std::memory_order_relaxed);
    if (bottom == top_.load(std::memory_order_relaxed)) return Element{};
    bottom_.store(bottom - 1, std::memory_order_relaxed);
    return slots_[(bottom - 1) % kCapacity].load(std::memory_order_relaxed);
  }

  // Any thread. Null when empty, or when somebody else was faster.
  Element take_oldest() {
    std::uint32_t top = top_.load(std::memory_order_acquire);
    Atomics::fence(std::memory_order_seq_cst);
    const std::uint32_t bottom = bottom_.load(std::memory_order_acquire);
    if (static_cast<std::int32_t>(bottom - top) <= 0) return Element{};
    Element element = slots_[top % kCapacity].load(std::memory_order_relaxed);
    if (!top_.compare_exchange_strong(top, top + 1, std::memory_order_seq_cst, std::memory_order_relaxed))
      return Element{};
    return element;
  }

  // Any thread. Who would be taken; it may be gone by now.
  Element peek_oldest() const {
    const std::uint32_t top = top_.load(std::memory_order_acquire);
    if (static_cast<std::int32_t>(bottom_.load(std::memory_order_acquire) - top) <= 0) return Element{};
    return slots_[top % kCapacity].load(std::memory_order_relaxed);
  }

  // Any thread. Who is, or was a moment ago, in place `index`, counted from the oldest.
  Element peek(std::uint32_t index) const {
    return slots_[(top_.load(std::memory_order_acquire) + index) % kCapacity].load(std::memory_order_relaxed);
  }

  // Any thread; exact only for the owner.
  std::uint32_t size() const {
    const auto count =
        static_cast<std::int32_t>(bottom_.load(std::memory_order_acquire) - top_.load(std::memory_order_acquire));
    return count < 0 ? 0 : static_cast<std::uint32_t>(count);
  }

 private:
  template <class T>
  using Atomic = typename Atomics::template atomic<T>;
  Atomic<std::uint32_t> top_{0};  // the oldest
  Atomic<std::uint32_t> bottom_{0};
  std::array<Atomic<Element>, kCapacity> slots_{};
};

using SpawnDeque = BasicSpawnDeque<Fiber*, 1024, StdAtomics>;

}  // namespace fiber::detail
