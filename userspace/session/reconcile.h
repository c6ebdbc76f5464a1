// SPDX-License-Identifier: BSD-2-Clause
// Compares what a session has seen with the counters that a program keeps by itself (registry: processor.parks).
//
// Every wait that a fiber of the program begins is counted there once, whether or not anybody is attached. Between two
// readings of these counters so many waits have begun; each has since been seen to end, was lost for a known cause, was
// filtered out, or is still open. What cannot be told apart is what happens within the moments of attaching and of the
// last readings: before and after each of them the counters are read, and how far they have moved meanwhile is how far
// the two sides may differ. A processor may begin a few waits more, kNotice, before it notices that somebody has
// attached. So for a program that is quiet at both moments the two sides are equal; for a busy one they are bounded.
// Which waits that are open at the end have begun since the attach, a fiber's `since` cannot always say: it is the
// coarse clock, which stands still while a program is idle and goes on when its monitor gets a CPU. Hence the waits
// that were open at the attach are remembered.
#pragma once

#include <array>
#include <cstdint>
#include <unordered_map>

#include "process/registry_view.h"
#include "profile/reconciliation.h"
#include "session/snapshot.h"

namespace fiberprof {

// One process, by its registry.
class Reconciler {
 public:
  // `reasons`: bit i, waits of reason i are recorded.
  explicit Reconciler(uint32_t reasons) : reasons_(reasons) {}

  // Before the session attaches, and when it has; `registry` null: it is not there yet, nothing has begun.
  void before_attach(RegistryView* registry);
  void after_attach(RegistryView* registry);
  // Right before, and right after, the snapshot that is to be compared.
  void before_snapshot(RegistryView& registry, uint64_t attached_ns);
  void after_snapshot(RegistryView& registry);

  // Adds this process to `sum`. False: its counters could not be read when they had to be.
  bool add(const Snapshot& snapshot, uint32_t pid, Reconciliation& sum) const;

 private:
  struct Reading {
    bool good = false;
    uint64_t waits = 0, runs = 0, busy = 0;
  };
  Reading read(RegistryView* registry) const;

  // libfiberrt looks every 8 scheduling decisions (include/fiberprof/probes.h).
  static constexpr uint64_t kNotice = 7;

  uint32_t reasons_;
  Reading before_, attached_, last_, after_;
  uint64_t open_ = 0, perhaps_open_ = 0;
  bool open_known_ = false;
  std::unordered_map<uint64_t, uint64_t> parked_;  // at the attach: how often they had run, by id
  bool parked_known_ = false;
};

}  // namespace fiberprof
