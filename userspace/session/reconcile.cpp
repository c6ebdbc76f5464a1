// SPDX-License-Identifier: BSD-2-Clause
#include "session/reconcile.h"

#include <fiberprof/registry.h>

#include <cmath>

namespace fiberprof {

Reconciler::Reading Reconciler::read(RegistryView* registry) const {
  Reading reading;
  if (!registry) return {.good = true};
  const auto summary = registry->summary();
  if (!summary) return reading;
  reading.good = true;
  for (const ProcessorInfo& processor : summary->processors) {
    reading.runs += processor.switches;
    reading.busy += processor.state != FIBERPROF_PROCESSOR_IDLE;
    for (size_t reason = 0; reason < processor.parks.size(); ++reason)
      if (reason >= 32 || reasons_ >> reason & 1) reading.waits += processor.parks[reason];
  }
  return reading;
}

void Reconciler::before_attach(RegistryView* registry) { before_ = read(registry); }
void Reconciler::after_attach(RegistryView* registry) {
  attached_ = read(registry);
  constexpr uint64_t kMost = 100'000;  // a tenth of a second
  parked_known_ = !registry || (registry
                                    ->fibers(
                                        [&](const FiberInfo& fiber) {
                                          if (fiber.state == FIBERPROF_FIBER_PARKED) parked_[fiber.id] = fiber.switches;
                                        },
                                        kMost)
                                    .has_value() &&
                                parked_.size() < kMost);
}

void Reconciler::before_snapshot(RegistryView& registry, uint64_t attached_ns) {
  last_ = read(&registry);
  // `since` is a clock of some milliseconds; on a machine with other work its ticks come later.
  constexpr uint64_t kClockAge = 20'000'000;
  open_ = perhaps_open_ = 0;
  const auto was_parked = [&](const FiberInfo& fiber) {
    const auto before = parked_.find(fiber.id);
    return before != parked_.end() && before->second == fiber.switches;
  };
  open_known_ = registry
                    .fibers(
                        [&](const FiberInfo& fiber) {
                          if (fiber.state != FIBERPROF_FIBER_PARKED || !(reasons_ >> (fiber.reason & 31) & 1)) return;
                          if (fiber.since_ns >= attached_ns)
                            ++open_;
                          else if (parked_known_)
                            open_ += !was_parked(fiber);
                          else if (fiber.since_ns + kClockAge >= attached_ns)
                            ++perhaps_open_;
                        },
                        10'000'000)
                    .has_value();
}

void Reconciler::after_snapshot(RegistryView& registry) { after_ = read(&registry); }

bool Reconciler::add(const Snapshot& snapshot, uint32_t pid, Reconciliation& sum) const {
  if (!before_.good || !attached_.good || !last_.good || !after_.good || !open_known_) return false;
  if (last_.waits == 0) return false;  // not one since it started: a runtime that does not count
  for (const BlockedEntry& entry : snapshot.blocked) {
    if (entry.pid != pid) continue;
    sum.seen += entry.count;
    sum.std_error = std::sqrt(sum.std_error * sum.std_error + entry.count_variance);
  }
  sum.open += open_;
  sum.program += last_.waits - attached_.waits;
  // What has moved while attaching, and while reading; and what was begun before a processor that was not idle looked.
  const uint64_t attaching = attached_.waits - before_.waits;
  const uint64_t reading = (after_.waits - last_.waits) + (after_.runs - last_.runs);
  const uint64_t unnoticed = kNotice * attached_.busy;
  sum.uncertain += attaching + reading + unnoticed + perhaps_open_;
  return true;
}

}  // namespace fiberprof
