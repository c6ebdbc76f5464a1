// SPDX-License-Identifier: BSD-2-Clause
#include "deadlock/detect.h"

#include <algorithm>
#include <functional>
#include <unordered_set>

#include "deadlock/collect.h"
#include "deadlock/heap.h"
#include "deadlock/image.h"
#include "deadlock/reach.h"

namespace fiberprof {
namespace {

Detection solve(State state, const std::function<bool(State&, const std::vector<size_t>&)>& doubted) {
  Detection detection;
  detection.state = std::move(state);
  // Whoever is taken out makes others live, never the opposite: this comes to an end.
  for (;;) {
    IdentityEvidence evidence;
    Solver solver(detection.state, evidence);
    const std::vector<size_t> dead = solver.dead();
    if (!dead.empty() && doubted(detection.state, dead)) continue;
    detection.verdict = explain(detection.state, solver, dead, Grade::certain);
    return detection;
  }
}

// A thread still stands on the stack of a fiber that says it is parked.
void unsettle_leaving(State& state, const Image& image) {
  for (FiberState& fiber : state.fibers)
    for (const StoppedThread& thread : image.threads)
      if (thread.sp >= fiber.info.stack_low && thread.sp < fiber.info.stack_high) fiber.settled = false;
}

// What was found out about lost read-locks while the process went on stays true as long as their number is the same.
void keep_orphans(const State& from, State& to) {
  for (auto& [address, object] : to.objects) {
    const auto known = from.objects.find(address);
    if (known == from.objects.end() || !known->second.readers_settled || !object.readable()) continue;
    if (known->second.seen[1]->count != object.seen[1]->count) continue;
    object.readers_settled = true;
    object.orphaned = known->second.orphaned;
  }
}

}  // namespace

Result<Detection> detect_certain(RegistryView& view) {
  auto state = collect_live(view);
  if (!state) return tl::unexpected(state.error());
  return solve(std::move(*state),
               [&](State& read, const std::vector<size_t>& dead) { return confirm_queued(view, read, dead); });
}

namespace {

// From a frozen view and what was found out before it froze.
Result<Detection> prove(const Image& image, RegistryView& frozen, const State* before) {
  auto state = collect_frozen(frozen);
  if (!state) return tl::unexpected(state.error());
  Detection detection;
  detection.state = std::move(*state);
  detection.stopped_ns = image.stopped_ns;
  detection.copied = image.copied;
  unsettle_leaving(detection.state, image);
  if (before != nullptr) keep_orphans(*before, detection.state);
  if (detection.state.torn != 0)
    detection.inconclusive = std::to_string(detection.state.torn) + " fibers were being made at that moment; try again";

  IdentityEvidence identity;
  const std::vector<size_t> certain = Solver(detection.state, identity).dead();
  const Heap heap(image);
  ReachEvidence reach(detection.state, image, heap, frozen.layout());
  Solver solver(detection.state, reach);
  detection.verdict = explain(detection.state, solver, solver.dead(), Grade::proved);
  detection.searched = reach.searched();
  for (DeadlockCause& cause : detection.verdict.causes)
    if (std::all_of(cause.fibers.begin(), cause.fibers.end(),
                    [&](size_t fiber) { return std::binary_search(certain.begin(), certain.end(), fiber); }))
      cause.grade = Grade::certain;
  return detection;
}

}  // namespace

Result<Detection> detect_proved(uint32_t pid, RegistryView& view, uint64_t memory_limit) {
  auto first = detect_certain(view);
  if (!first) return first;
  auto image = take_image(pid, view, memory_limit);
  if (!image) {
    first->inconclusive = image.error().message();
    return first;
  }
  auto frozen = RegistryView::open(image_memory(*image, view.memory()), view.address());
  if (!frozen) return tl::unexpected(frozen.error());
  return prove(*image, **frozen, &first->state);
}

Result<Detection> detect_in_core(const CoreFile& core, RegistryView& view, bool proof, uint64_t memory_limit) {
  auto state = collect_frozen(view);
  if (!state) return tl::unexpected(state.error());
  Detection certain = solve(std::move(*state), [](State&, const std::vector<size_t>&) { return false; });
  if (!proof) return certain;
  auto image = core_image(core, view, memory_limit);
  if (!image) {
    certain.inconclusive = image.error().message();
    return certain;
  }
  return prove(*image, view, nullptr);
}

}  // namespace fiberprof
