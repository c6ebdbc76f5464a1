// SPDX-License-Identifier: BSD-2-Clause
// Entries of a snapshot beside those of an earlier one: what an interval is the difference of.
#pragma once

#include <cstddef>
#include <cstdint>
#include <tuple>
#include <unordered_map>
#include <vector>

namespace fiberprof {

// `key` makes a tuple of numbers of an entry. The kernel's maps keep their order but for what is new, so that mostly
// the next entry asked for is the one after the last; an index is only built when it is not.
template <class Entry, class MakeKey>
class Earlier {
 public:
  Earlier(const std::vector<Entry>& entries, MakeKey key) : entries_(entries), key_(key) {}

  // The earlier entry with the key of this one; all zero if there is none.
  const Entry& of(const Entry& now) {
    static const Entry kNone{};
    const auto key = key_(now);
    if (next_ < entries_.size() && key_(entries_[next_]) == key) return entries_[next_++];
    if (index_.empty() && next_ == entries_.size()) return kNone;  // each has been found: what comes now is new
    if (index_.empty())
      for (size_t i = 0; i < entries_.size(); ++i) index_.emplace(key_(entries_[i]), i);
    const auto found = index_.find(key);
    if (found == index_.end()) return kNone;
    next_ = found->second + 1;
    return entries_[found->second];
  }

 private:
  using Key = decltype(std::declval<MakeKey>()(std::declval<const Entry&>()));
  struct Hash {
    size_t operator()(const Key& key) const {
      uint64_t hash = 0;
      const auto mix = [&](uint64_t value) {
        hash = (hash ^ value) * 0xff51afd7ed558ccdu;
        hash ^= hash >> 32;
      };
      std::apply([&](const auto&... parts) { (mix(static_cast<uint64_t>(parts)), ...); }, key);
      return hash;
    }
  };

  const std::vector<Entry>& entries_;
  MakeKey key_;
  size_t next_ = 0;
  std::unordered_map<Key, size_t, Hash> index_;
};

// Counters only grow, but two reads of per-CPU values may cross: never below zero.
inline uint64_t since(uint64_t now, uint64_t before) { return now > before ? now - before : 0; }

inline constexpr auto blocked_key = [](const auto& entry) {
  return std::make_tuple(entry.pid, entry.reason, entry.stack, entry.chain);
};
inline constexpr auto off_cpu_key = [](const auto& entry) {
  return std::make_tuple(entry.pid, entry.cause, entry.on_fiber, entry.syscall, entry.futex_op, entry.fiber_entry,
                         entry.user_stack, entry.kernel_stack);
};
inline constexpr auto queue_key = [](const auto& entry) { return std::make_tuple(entry.pid, entry.processor); };

}  // namespace fiberprof
