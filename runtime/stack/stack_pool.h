// SPDX-License-Identifier: BSD-2-Clause
// Stacks of fibers: sparse mappings carved from large slabs, each with a guard below.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

namespace fiber {

// Usable bytes are [low, high); the page below low is the guard.
struct Stack {
  std::byte* low = nullptr;
  std::byte* high = nullptr;
};

enum class GuardKind {
  marker,   // MADV_GUARD_INSTALL (Linux 6.13): no mapping of its own
  protect,  // mprotect: splits mappings, of which the kernel allows about 65,000, so only the first stacks get one
  none,
};

// All stacks of one size. Stacks are handed out and never unmapped; a fiber's slot keeps its stack for the next
// fiber. Thread-safe.
class StackPool {
 public:
  explicit StackPool(std::size_t usable_size);
  // A stack whose pages read as zero and cost nothing until touched. low == nullptr: no memory.
  Stack allocate();
  std::size_t usable_size() const { return usable_size_; }
  GuardKind guard_kind() const { return guard_; }

 private:
  bool grow();
  const std::size_t usable_size_;
  std::mutex mutex_;
  std::byte* next_ = nullptr;  // unused rest of the newest slab
  std::byte* end_ = nullptr;
  GuardKind guard_ = GuardKind::marker;
  std::size_t protected_ = 0;
};

std::size_t page_size();

}  // namespace fiber
