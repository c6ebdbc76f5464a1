// SPDX-License-Identifier: BSD-2-Clause
// Slots that hold no fiber, each with its stack, in batches. Processors keep a few for themselves and trade in batches;
// here they wait for whoever needs them next, and give their memory back to the system when nobody does.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "sched/fiber.h"
#include "stack/stack_pool.h"

namespace fiber::detail {

// Free slots linked through Fiber::next.
struct FiberBatch {
  Fiber* head = nullptr;
  std::uint32_t count = 0;
};

// Thread-safe, but for use_stack_size.
class FiberPool {
 public:
  static constexpr std::uint32_t kBatch = 128;  // what processors give back at a time

  // Before the first fiber of a run. Slots with stacks of another size are never used again.
  void use_stack_size(std::size_t bytes);
  // At least one slot: the batch given back last, whose memory is warm, else a new one. Aborts when there is no memory.
  FiberBatch take();
  void give(FiberBatch batch);
  // Slots taken less those given back.
  std::uint64_t taken() const { return taken_.load(std::memory_order_relaxed); }
  // What is taken now will never be given back.
  void forget_taken() { taken_.store(0, std::memory_order_relaxed); }
  // From time to time: whatever is not taken until the next call counts as not needed.
  void begin_period();
  // Returns the pages of stacks not needed in a whole period to the system, up to a thousand stacks a call (about 1 us
  // each). The slots stay. Monitor only, like begin_period.
  void trim();
  // Stacks whose pages are with the system, of those that are free.
  std::size_t trimmed_stacks() const;

 private:
  FiberBatch make();

  std::atomic<std::uint64_t> taken_{0};
  mutable std::mutex mutex_;
  std::vector<FiberBatch> batches_;  // used as a stack
  std::size_t low_water_ = 0;        // those below it were not touched in this period,
  std::size_t cold_ = 0;             // those below it not in the one before either,
  std::size_t trimmed_ = 0;          // and those below it hold no memory any more
  std::unique_ptr<StackPool> stacks_;
};

}  // namespace fiber::detail
