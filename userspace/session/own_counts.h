// SPDX-License-Identifier: BSD-2-Clause
// What a program itself has counted, from its registry: what a recording is reconciled with.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>

#include "process/registry_view.h"

namespace fiberprof {

struct OwnCounts {
  uint64_t waits = 0, fibers = 0, steals = 0;  // waits begun, fibers created, fibers stolen by idle processors
};

// The counts of one program over a recording.
struct OwnAccount {
  std::unique_ptr<RegistryView> registry;  // null: none, or not readable
  OwnCounts first, last;
  bool current = false;  // `last` was read at the very end: the process had not ended by itself

  // Opens the registry of the process and takes its counts as `first`.
  void open(uint32_t pid, uint64_t registry_address);
  // Reads the counts again, into `last`.
  void refresh();
  uint64_t waits() const { return last.waits - std::min(first.waits, last.waits); }
  uint64_t steals() const { return last.steals - std::min(first.steals, last.steals); }
  uint64_t fibers() const { return last.fibers - std::min(first.fibers, last.fibers); }

 private:
  bool read(OwnCounts& counts) const;
};

}  // namespace fiberprof
