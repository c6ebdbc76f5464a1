// SPDX-License-Identifier: BSD-2-Clause
#include "session/open_waits.h"

#include <fiberprof/registry.h>

#include <algorithm>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "session/stopwatch.h"

namespace fiberprof {
Result<OpenWaitCounts> add_open_waits(uint32_t pid, RegistryView& registry, const OpenWaitLimits& limits,
                                      ProfileBuilder& builder) {
  using Key = std::tuple<uint8_t, std::string, uint64_t, std::vector<uint64_t>>;
  std::map<Key, ProfileBuilder::OpenWaits> groups;
  OpenWaitCounts counts;
  const uint64_t deadline = monotonic_ns() + limits.max_walk_ns;
  const auto torn = registry.fibers(
      [&](const FiberInfo& fiber) {
        if (fiber.state != FIBERPROF_FIBER_PARKED || fiber.since_ns > limits.now_ns) return;
        if (!(limits.reasons >> (fiber.reason & 31) & 1)) return;
        if (limits.fibers && !limits.fibers->wants(pid, fiber.entry, fiber.name)) return;
        const uint64_t ns = limits.now_ns - fiber.since_ns;
        if (ns < limits.min_wait_ns) return;
        std::vector<uint64_t> stack;
        if (monotonic_ns() < deadline)
          stack = registry.stack(fiber);
        else
          ++counts.without_stack;
        auto& group = groups[{fiber.reason, fiber.name, fiber.entry, std::move(stack)}];
        ++group.count;
        group.total_ns += std::min(ns, limits.now_ns - std::min(limits.start_ns, limits.now_ns));
        group.max_ns = std::max(group.max_ns, ns);
        ++counts.waits;
      },
      limits.max_fibers);
  if (!torn) return tl::unexpected(torn.error());
  counts.torn = *torn;
  for (const auto& [key, waits] : groups)
    builder.add_open(pid, std::get<0>(key), std::get<1>(key), std::get<2>(key), std::get<3>(key), waits);
  return counts;
}

}  // namespace fiberprof
