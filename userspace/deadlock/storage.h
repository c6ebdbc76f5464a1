// SPDX-License-Identifier: BSD-2-Clause
// Memory to copy into.
#pragma once

#include <cstddef>
#include <span>
#include <utility>

namespace fiberprof {

// Memory that is there before it is needed: to be filled while the process stands still.
class Storage {
 public:
  explicit Storage(size_t size);  // throws std::bad_alloc
  Storage(Storage&& other) noexcept : memory_(std::exchange(other.memory_, {})) {}
  Storage& operator=(Storage&& other) noexcept {
    std::swap(memory_, other.memory_);
    return *this;
  }
  ~Storage();
  std::span<char> memory() const { return memory_; }

 private:
  std::span<char> memory_;
};

}  // namespace fiberprof
