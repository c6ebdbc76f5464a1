// SPDX-License-Identifier: BSD-2-Clause
// Stacks, each kept once.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

namespace fiberprof {

class StackTable {
 public:
  StackTable();
  // The number of these frames; 0: the empty stack, or no room (counted).
  uint32_t number(std::span<const uint64_t> frames);
  std::span<const uint64_t> at(uint32_t number) const;
  size_t size() const { return entries_.size(); }
  uint64_t refused() const { return refused_; }

 private:
  struct Entry {
    size_t begin = 0;
    uint32_t size = 0;
    uint32_t next = 0;  // of the same hash; 0: none
  };
  uint64_t seed_;  // a process must not be able to choose stacks of one hash
  std::vector<uint64_t> frames_;
  std::vector<Entry> entries_;
  std::unordered_map<uint64_t, uint32_t> first_;  // by hash
  uint64_t refused_ = 0;
};

}  // namespace fiberprof
