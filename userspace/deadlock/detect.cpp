// SPDX-License-Identifier: BSD-2-Clause
#include "deadlock/detect.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <thread>

#include "deadlock/collect.h"
#include "deadlock/heap.h"
#include "deadlock/image.h"
#include "deadlock/reach.h"

namespace fiberprof {
namespace {

using namespace std::chrono_literals;

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
  const Landmarks marks(detection.state, image, heap, frozen.layout());
  ReachEvidence reach(detection.state, marks);
  Solver solver(detection.state, reach);
  const std::vector<size_t> dead = solver.dead();
  detection.verdict = explain(detection.state, solver, dead, Grade::proved,
                              HoldingSearch(detection.state, marks, dead, reach.entered()).find());
  detection.searched = reach.searched();
  for (DeadlockCause& cause : detection.verdict.causes)
    if (std::all_of(cause.fibers.begin(), cause.fibers.end(),
                    [&](size_t fiber) { return std::binary_search(certain.begin(), certain.end(), fiber); }))
      cause.grade = Grade::certain;
  return detection;
}

// Whether somebody waits of whom it is not known who could wake it: a word that was just passing by may have hidden
// that nobody can.
bool leaves_questions(const Detection& detection) {
  size_t open = 0;
  for (const FiberState& fiber : detection.state.fibers)
    open += fiber.settled && fiber.info.deadline_ns == 0 && fiber.info.context == 0;
  return open > detection.verdict.dead.size();
}

}  // namespace

Result<Detection> detect_certain(RegistryView& view, bool whole) {
  auto state = collect_live(view, whole);
  if (!state) return tl::unexpected(state.error());
  return solve(std::move(*state),
               [&](State& read, const std::vector<size_t>& dead) { return confirm_queued(view, read, dead); });
}

// What is proved is proved for good. So where it costs little it is tried again, at moments when other words pass by.
Result<Detection> detect_proved(uint32_t pid, RegistryView& view, uint64_t memory_limit, bool whole) {
  // On a busy machine a worker may have stood for long in the middle of something.
  constexpr std::chrono::milliseconds kPauses[] = {0ms, 20ms, 40ms, 80ms, 160ms};
  constexpr uint64_t kCheap = 32 << 20;
  auto best = detect_certain(view, whole);
  if (!best) return best;
  const State first = best->state;
  uint64_t stopped_ns = 0;
  bool any = false;
  for (const auto pause : kPauses) {
    std::this_thread::sleep_for(pause);
    auto image = take_image(pid, view, memory_limit);
    if (!image) {
      if (!any) best->inconclusive = image.error().message();
      continue;
    }
    stopped_ns = std::max(stopped_ns, image->stopped_ns);
    auto frozen = RegistryView::open(image_memory(*image, view.memory()), view.address());
    if (!frozen) return tl::unexpected(frozen.error());
    auto proved = prove(*image, **frozen, &first);
    if (!proved) return proved;
    const bool last = image->copied > kCheap || !leaves_questions(*proved);
    if (!any || proved->verdict.dead.size() > best->verdict.dead.size()) best = std::move(proved);
    any = true;
    if (last) break;
  }
  best->stopped_ns = stopped_ns;
  return best;
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
