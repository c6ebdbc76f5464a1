// SPDX-License-Identifier: BSD-2-Clause
// A processor's own queue of runnable fibers: a bounded ring, one producer, many consumers. The design is that of Go's
// runtime (proc.go, runqput/runqget/runqgrab): the owner appends at the tail; the owner and thieves take from the
// head by compare-and-swap; a thief takes half at once.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "sched/atomics.h"
#include "sched/fiber.h"

namespace fiber::detail {

template <class Element, std::uint32_t Capacity, class Atomics>
class BasicRunQueue {
 public:
  static constexpr std::uint32_t kCapacity = Capacity;
  static_assert(Capacity >= 2 && (Capacity & (Capacity - 1)) == 0);

  // Owner only. False when full.
  bool push(Element fiber) {
    const std::uint32_t tail = tail_.load(std::memory_order_relaxed);
    if (tail - head_.load(std::memory_order_acquire) >= kCapacity) return false;
    slots_[tail % kCapacity].store(fiber, std::memory_order_relaxed);
    tail_.store(tail + 1, std::memory_order_release);
    return true;
  }

  // Owner only. Null when empty.
  Element pop() {
    std::uint32_t head = head_.load(std::memory_order_acquire);
    while (head != tail_.load(std::memory_order_relaxed)) {
      Element fiber = slots_[head % kCapacity].load(std::memory_order_relaxed);
      if (head_.compare_exchange_weak(head, head + 1, std::memory_order_acq_rel, std::memory_order_acquire))
        return fiber;
    }
    return Element{};
  }

  // Owner only, while there are no thieves at all: the same without the locked instruction.
  Element pop_alone() {
    const std::uint32_t head = head_.load(std::memory_order_relaxed);
    if (head == tail_.load(std::memory_order_relaxed)) return Element{};
    head_.store(head + 1, std::memory_order_relaxed);
    return slots_[head % kCapacity].load(std::memory_order_relaxed);
  }

  // Any thread. Moves the older half of this queue into `thief`, whose owner is the caller, and returns one of them to
  // run. `thief` must be empty.
  Element steal_into(BasicRunQueue& thief) {
    std::array<Element, kCapacity / 2> batch;
    const std::uint32_t count = grab(batch.data());
    if (count == 0) return Element{};
    for (std::uint32_t i = 1; i < count; ++i) thief.push(batch[i]);
    return batch[0];
  }

  // Any thread. Who is, or was a moment ago, in place `index` of those queued.
  Element peek(std::uint32_t index) const {
    return slots_[(head_.load(std::memory_order_acquire) + index) % kCapacity].load(std::memory_order_relaxed);
  }

  // Any thread; exact only for the owner.
  std::uint32_t size() const {
    const std::uint32_t head = head_.load(std::memory_order_acquire);
    const std::uint32_t count = tail_.load(std::memory_order_acquire) - head;
    return count > kCapacity ? 0 : count;  // read across a concurrent pop
  }

 private:
  std::uint32_t grab(Element* out) {
    std::uint32_t head = head_.load(std::memory_order_acquire);
    for (;;) {
      const std::uint32_t tail = tail_.load(std::memory_order_acquire);
      std::uint32_t count = tail - head;
      count -= count / 2;
      if (count == 0) return 0;
      if (count > kCapacity / 2) {  // head and tail were read at different moments
        head = head_.load(std::memory_order_acquire);
        continue;
      }
      for (std::uint32_t i = 0; i < count; ++i) out[i] = slots_[(head + i) % kCapacity].load(std::memory_order_relaxed);
      if (head_.compare_exchange_strong(head, head + count, std::memory_order_acq_rel, std::memory_order_acquire))
        return count;
    }
  }

  template <class T>
  using Atomic = typename Atomics::template atomic<T>;
  alignas(64) Atomic<std::uint32_t> head_{0};
  Atomic<std::uint32_t> tail_{0};
  std::array<Atomic<Element>, kCapacity> slots_{};
};

using RunQueue = BasicRunQueue<Fiber*, 256, StdAtomics>;

}  // namespace fiber::detail
