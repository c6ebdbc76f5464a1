// SPDX-License-Identifier: BSD-2-Clause
// Stacks as they are shown, each kept once: those that read the same are one, for which of several paths inside the
// runtime led to a wait says nothing.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "symbol/symbolizer.h"

namespace fiberprof {

class StackLooks {
 public:
  // `symbols` must outlive it. Without `all_frames` the runtime's own frames are folded.
  StackLooks(ProcessSymbols& symbols, bool all_frames) : symbols_(symbols), all_frames_(all_frames) {}

  // The number of what these return addresses look like, innermost first; 0: no stack.
  uint32_t number(std::span<const uint64_t> addresses);
  // That of a stack with names already, which is equal to no other.
  uint32_t add(std::vector<Frame> frames);
  const std::vector<Frame>& at(uint32_t number) const { return stacks_[number]; }
  // All of them, by number; none are left.
  std::vector<std::vector<Frame>> take() { return std::move(stacks_); }

 private:
  ProcessSymbols& symbols_;
  bool all_frames_;
  std::vector<std::vector<Frame>> stacks_{{}};
  std::unordered_map<std::string, uint32_t> by_looks_;
};

}  // namespace fiberprof
