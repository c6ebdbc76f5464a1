// SPDX-License-Identifier: BSD-2-Clause
#include "dump/stack_table.h"

#include <algorithm>
#include <random>

namespace fiberprof {
namespace {

// What a process may make us hold: 128 MB.
constexpr size_t kMaxFrames = 16U << 20;
constexpr size_t kMaxStacks = 2U << 20;

}  // namespace

StackTable::StackTable() : seed_(uint64_t{std::random_device()()} << 32 | std::random_device()()) {
  entries_.emplace_back();
}

uint32_t StackTable::number(std::span<const uint64_t> frames) {
  if (frames.empty()) return 0;
  uint64_t hash = seed_;
  for (const uint64_t frame : frames) {
    hash = (hash ^ frame) * 0x9e3779b97f4a7c15;
    hash ^= hash >> 29;
  }
  const auto [first, fresh] = first_.try_emplace(hash, 0);
  for (uint32_t at = first->second; at != 0; at = entries_[at].next)
    if (std::ranges::equal(this->at(at), frames)) return at;
  if (frames_.size() + frames.size() > kMaxFrames || entries_.size() >= kMaxStacks) {
    if (fresh) first_.erase(first);
    ++refused_;
    return 0;
  }
  const auto number = static_cast<uint32_t>(entries_.size());
  entries_.push_back({frames_.size(), static_cast<uint32_t>(frames.size()), first->second});
  first->second = number;
  frames_.insert(frames_.end(), frames.begin(), frames.end());
  return number;
}

std::span<const uint64_t> StackTable::at(uint32_t number) const {
  const Entry& entry = entries_[number];
  return std::span<const uint64_t>(frames_).subspan(entry.begin, entry.size);
}

}  // namespace fiberprof
