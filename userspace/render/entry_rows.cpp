// SPDX-License-Identifier: BSD-2-Clause
#include "render/entry_rows.h"

namespace fiberprof {
uint32_t EntryRows::of(size_t place, const BlockedEntry& entry, ShownStacks& shown, const SessionStacks& stacks,
                       const Symbolize& symbolize) {
  if (place >= places_.size()) places_.resize(place + 1 + place / 2);
  Place& at = places_[place];
  if (at.known && at.stack == entry.stack && at.pid == entry.pid && at.reason == entry.reason) return at.row;
  at = {entry.stack, entry.pid, find(entry.pid, entry.reason, shown.of(entry.pid, entry.stack, stacks, symbolize)),
        entry.reason, true};
  return at.row;
}

uint32_t EntryRows::find(uint32_t pid, uint8_t reason, const std::shared_ptr<const ShownStack>& shown) {
  const uint64_t key = uint64_t{pid} << 40 | uint64_t{reason} << 32 | shown->id;  // process ids have 22 bits
  const auto number = static_cast<uint32_t>(rows_.size());
  const auto [slot, added] = by_key_.try_emplace(key, number);
  if (!added) return slot->second;
  rows_.push_back({key, pid, reason, number, 0, shown});
  const auto site = static_cast<uint32_t>(sites_.size());
  rows_[number].site = sites_.try_emplace({pid, shown->site}, site).first->second;
  if (shown->id != 0) {
    static const auto kAnyStack = std::make_shared<const ShownStack>();
    const uint32_t by_reason = find(pid, reason, kAnyStack);
    rows_[number].by_reason = by_reason;
  }
  return number;
}

void EntryRows::clear() {
  places_.clear();
  rows_.clear();
  by_key_.clear();
  sites_.clear();
}

}  // namespace fiberprof
