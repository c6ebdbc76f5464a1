// SPDX-License-Identifier: BSD-2-Clause
#include "sched/fiber_pool.h"

#include <sys/mman.h>
#include <algorithm>

#include "registry/registry.h"
#include "sched/park.h"

namespace fiber::detail {

namespace {

constexpr std::uint32_t kNewBatch = 16;        // a small program should not make many slots it never needs
constexpr std::size_t kTrimmedPerCall = 1024;  // stacks

}  // namespace

void FiberPool::use_stack_size(std::size_t bytes) {
  if (stacks_ != nullptr && stacks_->usable_size() == bytes) return;
  stacks_ = std::make_unique<StackPool>(bytes);
  batches_.clear();
  low_water_ = cold_ = trimmed_ = 0;
}

FiberBatch FiberPool::take() {
  {
    std::lock_guard guard(mutex_);
    if (!batches_.empty()) {
      const FiberBatch batch = batches_.back();
      batches_.pop_back();
      low_water_ = std::min(low_water_, batches_.size());
      cold_ = std::min(cold_, batches_.size());
      trimmed_ = std::min(trimmed_, batches_.size());
      taken_.fetch_add(batch.count, std::memory_order_relaxed);
      return batch;
    }
  }
  const FiberBatch batch = make();
  taken_.fetch_add(batch.count, std::memory_order_relaxed);
  return batch;
}

FiberBatch FiberPool::make() {
  FiberBatch batch;
  Fiber** link = &batch.head;  // in the order they are made, which is the order of the registry
  while (batch.count < kNewBatch) {
    Fiber* fiber = registry_new_slot();
    if (fiber == nullptr) break;
    fiber->stack = stacks_->allocate();
    if (fiber->stack.low == nullptr) break;  // the slot is lost, and this is the end anyway
    *link = fiber;
    link = &fiber->next;
    ++batch.count;
  }
  *link = nullptr;
  if (batch.head == nullptr) {
    fatal("cannot make another fiber with a stack of %zu bytes: out of memory or of slots", stacks_->usable_size());
  }
  return batch;
}

void FiberPool::give(FiberBatch batch) {
  if (batch.head == nullptr) return;
  taken_.fetch_sub(batch.count, std::memory_order_relaxed);
  std::lock_guard guard(mutex_);
  batches_.push_back(batch);
}

void FiberPool::begin_period() {
  std::lock_guard guard(mutex_);
  cold_ = low_water_;
  low_water_ = batches_.size();
}

void FiberPool::trim() {
  std::vector<FiberBatch> cold;
  {
    std::lock_guard guard(mutex_);
    std::size_t stacks = 0;
    std::size_t end = trimmed_;
    while (end < cold_ && stacks < kTrimmedPerCall) stacks += batches_[end++].count;
    const auto first = batches_.begin() + static_cast<std::ptrdiff_t>(trimmed_);
    const auto last = batches_.begin() + static_cast<std::ptrdiff_t>(end);
    cold.assign(first, last);
    batches_.erase(first, last);
    low_water_ -= cold.size();
    cold_ -= cold.size();
  }
  if (cold.empty()) return;
  // Nobody else sees these batches now, so it can take its time.
  for (const FiberBatch& batch : cold) {
    for (const Fiber* fiber = batch.head; fiber != nullptr; fiber = fiber->next) {
      madvise(fiber->stack.low, static_cast<std::size_t>(fiber->stack.high - fiber->stack.low), MADV_DONTNEED);
    }
  }
  std::lock_guard guard(mutex_);
  const std::size_t at = std::min(trimmed_, batches_.size());
  batches_.insert(batches_.begin() + static_cast<std::ptrdiff_t>(at), cold.begin(), cold.end());
  trimmed_ = at + cold.size();
  low_water_ += cold.size();
  cold_ += cold.size();
}

std::size_t FiberPool::trimmed_stacks() const {
  std::lock_guard guard(mutex_);
  std::size_t stacks = 0;
  for (std::size_t i = 0; i < trimmed_; ++i) stacks += batches_[i].count;
  return stacks;
}

}  // namespace fiber::detail
