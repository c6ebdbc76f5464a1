// SPDX-License-Identifier: BSD-2-Clause
// Which row of `top` each entry of a snapshot belongs to. There are thousands of entries and most are in every snapshot
// at the same place, so that what was found out about one is found again by its place.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "render/shown_stacks.h"
#include "session/snapshot.h"

namespace fiberprof {

// Entries of the same process and reason whose stacks read the same.
struct EntryRow {
  uint64_t key = 0;  // of no other row before the next clear()
  uint32_t pid = 0;
  uint8_t reason = 0;
  uint32_t by_reason = 0;                   // number of the row of all such entries, whatever their stacks
  uint32_t site = 0;                        // number of the process and ShownStack::site
  std::shared_ptr<const ShownStack> shown;  // never null
};

// Not thread-safe.
class EntryRows {
 public:
  // The number of the row of an entry that is at `place` in its snapshot. Numbers are given from 0 on.
  uint32_t of(size_t place, const BlockedEntry& entry, ShownStacks& shown, const SessionStacks& stacks,
              const Symbolize& symbolize);
  const EntryRow& at(uint32_t row) const { return rows_[row]; }
  size_t size() const { return rows_.size(); }
  // Sites are numbered from 0 on, too.
  size_t sites() const { return sites_.size(); }
  // To be called with ShownStacks::tidy(): the stacks that rows have now will not be given out again.
  void clear();

 private:
  struct Place {
    StackId stack = 0;
    uint32_t pid = 0, row = 0;
    uint8_t reason = 0;
    bool known = false;
  };
  uint32_t find(uint32_t pid, uint8_t reason, const std::shared_ptr<const ShownStack>& shown);

  std::vector<Place> places_;
  std::vector<EntryRow> rows_;
  std::unordered_map<uint64_t, uint32_t> by_key_;
  std::map<std::pair<uint32_t, std::string>, uint32_t> sites_;
};

}  // namespace fiberprof
