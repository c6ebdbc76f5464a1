// SPDX-License-Identifier: BSD-2-Clause
#include "deadlock/waits.h"

#include <fiberprof/registry.h>

#include <algorithm>

namespace fiberprof {

void read_alternatives(RegistryView& view, FiberState& fiber) {
  const FiberInfo& info = fiber.info;
  if (info.state != FIBERPROF_FIBER_PARKED) return;
  if (info.reason != FIBERPROF_REASON_SELECT) {
    fiber.alternatives.push_back({info.reason, info.resource});
    return;
  }
  const auto arms = view.arms(info);
  for (const ArmInfo& arm : arms) fiber.alternatives.push_back({arm.reason, arm.resource});
  // Arms that cannot be read may be anything.
  if (arms.size() != info.arms_len || arms.empty()) fiber.alternatives.push_back({FIBERPROF_REASON_OTHER, 0});
}

bool in_question(const FiberState& fiber) {
  return fiber.info.state == FIBERPROF_FIBER_PARKED && fiber.info.deadline_ns == 0 &&
         std::all_of(fiber.alternatives.begin(), fiber.alternatives.end(), [](const Alternative& wait) {
           return object_kind_of(wait.reason) != 0 || wait.reason == FIBERPROF_REASON_JOIN ||
                  wait.reason == FIBERPROF_REASON_NIL_CHANNEL || wait.reason == FIBERPROF_REASON_EMPTY_SELECT;
         });
}

void read_objects(ObjectReader& reader, const FiberState& fiber, State& state, int which) {
  const auto look = [&](uint64_t address, uint32_t kind) -> const std::optional<ObjectInfo>& {
    static const std::optional<ObjectInfo> none;
    if (address == 0 || kind == 0) return none;
    const auto [found, fresh] = state.objects.try_emplace(address);
    std::optional<ObjectInfo>& seen = found->second.seen[which];
    // Waited for as two kinds of things, it is neither.
    if (!seen && (fresh || which == 1)) seen = reader.read(address, kind);
    return seen;
  };
  const auto look_up = [&](uint64_t context) {
    for (int depth = 0; context != 0 && depth < kDeepestContext; ++depth) {
      const auto known = state.objects.find(context);
      if (known != state.objects.end() && known->second.seen[which]) return;
      const auto& seen = look(context, FIBERPROF_OBJECT_CONTEXT);
      context = seen ? seen->parent : 0;
    }
  };
  look_up(fiber.info.context);
  for (const Alternative& wait : fiber.alternatives) {
    if (wait.reason == FIBERPROF_REASON_CONTEXT)
      look_up(wait.resource);
    else
      look(wait.resource, object_kind_of(wait.reason));
  }
}

}  // namespace fiberprof
