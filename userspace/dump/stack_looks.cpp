// SPDX-License-Identifier: BSD-2-Clause
#include "dump/stack_looks.h"

namespace fiberprof {

uint32_t StackLooks::number(std::span<const uint64_t> addresses) {
  if (addresses.empty()) return 0;
  std::vector<Frame> frames = symbols_.stack({addresses.begin(), addresses.end()}, !all_frames_, true);
  std::string looks;
  for (const Frame& frame : frames)
    looks += frame.function + '\n' + frame.file + ':' + std::to_string(frame.line) + '\n';
  const auto [entry, fresh] = by_looks_.try_emplace(std::move(looks), static_cast<uint32_t>(stacks_.size()));
  if (fresh) stacks_.push_back(std::move(frames));
  return entry->second;
}

uint32_t StackLooks::add(std::vector<Frame> frames) {
  stacks_.push_back(std::move(frames));
  return static_cast<uint32_t>(stacks_.size() - 1);
}

}  // namespace fiberprof
