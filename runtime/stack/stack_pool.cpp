// SPDX-License-Identifier: BSD-2-Clause
#include "stack/stack_pool.h"

#include <sys/mman.h>
#include <unistd.h>

#include "context/sanitizer.h"

namespace fiber {

namespace {

constexpr std::size_t kStacksPerSlab = 256;
// Each protected guard splits a mapping in two; the default limit (vm.max_map_count) is 65,530 for the whole process.
constexpr std::size_t kMaxProtectedGuards = 16'000;

#ifndef MADV_GUARD_INSTALL
constexpr int MADV_GUARD_INSTALL = 102;
#endif

}  // namespace

std::size_t page_size() {
  static const std::size_t size = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  return size;
}

StackPool::StackPool(std::size_t usable_size) : usable_size_(usable_size) {}

bool StackPool::grow() {
  const std::size_t size = kStacksPerSlab * (usable_size_ + page_size());
  void* slab =
      mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
  if (slab == MAP_FAILED) return false;
  // A huge page would make every sleeping fiber cost 2 MiB.
  madvise(slab, size, MADV_NOHUGEPAGE);
  next_ = static_cast<std::byte*>(slab);
  end_ = next_ + size;
  return true;
}

Stack StackPool::allocate() {
  std::lock_guard lock(mutex_);
  if (next_ == end_ && !grow()) return {};
  std::byte* guard = next_;
  next_ += usable_size_ + page_size();
  if (guard_ == GuardKind::marker && madvise(guard, page_size(), MADV_GUARD_INSTALL) != 0) guard_ = GuardKind::protect;
  if (guard_ == GuardKind::protect) {
    if (protected_ < kMaxProtectedGuards && mprotect(guard, page_size(), PROT_NONE) == 0) {
      ++protected_;
    } else {
      guard_ = GuardKind::none;
    }
  }
  const Stack stack{guard + page_size(), guard + page_size() + usable_size_};
  detail::sanitizer::stack_made(stack);
  return stack;
}

}  // namespace fiber
