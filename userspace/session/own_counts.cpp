// SPDX-License-Identifier: BSD-2-Clause
#include "session/own_counts.h"

#include <utility>

namespace fiberprof {

// False, and `counts` as before, when the process cannot be read any more.
bool OwnAccount::read(OwnCounts& counts) const {
  const auto summary = registry->summary();
  if (!summary) return false;
  counts = {0, summary->fibers_created, 0};
  for (const ProcessorInfo& processor : summary->processors) {
    counts.steals += processor.steals;
    for (const uint64_t parks : processor.parks) counts.waits += parks;
  }
  return true;
}

void OwnAccount::open(uint32_t pid, uint64_t registry_address) {
  if (!registry_address) return;
  auto view = RegistryView::open(pid, registry_address);
  if (!view) return;
  registry = std::move(*view);
  read(first);
  last = first;
}

void OwnAccount::refresh() {
  if (registry) current = read(last);
}

}  // namespace fiberprof
