// SPDX-License-Identifier: BSD-2-Clause
#include "deadlock/storage.h"

#include <sys/mman.h>

#include <algorithm>
#include <new>

namespace fiberprof {

Storage::Storage(size_t size) {
  constexpr size_t kPage = 4096, kHuge = 2 << 20;
  size = (std::max<size_t>(size, 1) + kHuge - 1) & ~(kHuge - 1);
  void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  madvise(memory, size, MADV_HUGEPAGE);
  memory_ = {static_cast<char*>(memory), size};
  for (size_t page = 0; page < size; page += kPage) memory_[page] = 0;
}

Storage::~Storage() {
  if (!memory_.empty()) munmap(memory_.data(), memory_.size());
}

}  // namespace fiberprof
