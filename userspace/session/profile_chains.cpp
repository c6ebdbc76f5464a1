// SPDX-License-Identifier: BSD-2-Clause
// Chains of wake-ups into a Profile: the steps from a wait to its cause.
#include <fiberprof/registry.h>

#include "session/names.h"
#include "session/profile_builder.h"
#include "symbol/runtime_names.h"

namespace fiberprof {
namespace {

bool is_io(uint8_t reason) {
  return reason == FIBERPROF_REASON_IO_READ || reason == FIBERPROF_REASON_IO_WRITE ||
         reason == FIBERPROF_REASON_IO_ACCEPT || reason == FIBERPROF_REASON_IO_CONNECT;
}

}  // namespace

// Never empty but for a fiber.
std::string ProfileBuilder::waker_of(const WakerLink& link, const std::vector<uint32_t>& frames) const {
  if (link.by == WakerKind::fiber) return {};
  for (const uint32_t frame : frames)
    if (const auto event = runtime_event(profile_.frames[frame].function); !event.empty()) return std::string(event);
  if (link.by == WakerKind::thread) return "thread " + link.thread;
  // Another runtime: what else ends such a wait?
  if (is_io(link.reason)) return "network";
  return link.reason == FIBERPROF_REASON_SLEEP ? "timer" : "scheduler";
}

uint32_t ProfileBuilder::chain_of(const Snapshot& snapshot, uint32_t pid, ChainId id) {
  const auto found = snapshot.chains.find(id);
  if (found == snapshot.chains.end() || found->second.links.empty()) return 0;
  const auto [at, added] = chains_.try_emplace({pid, id}, static_cast<uint32_t>(profile_.chains.size()) + 1);
  if (!added) return at->second;
  const auto frames_at = [&](StackId stack) { return off_cpu_frames(snapshot, pid, 0, stack); };
  Chain chain;
  for (const WakerLink& link : found->second.links) {
    std::vector<uint32_t> frames = frames_at(link.waker_stack);
    std::string waker = waker_of(link, frames);
    chain.push_back({CauseKind::woken, std::move(waker), std::move(frames)});
    switch (link.delay) {
      case WakerDelay::ran:
        break;
      case WakerDelay::waited:
        chain.push_back({CauseKind::waited, reason_name(link.cause), frames_at(link.user_stack)});
        break;
      case WakerDelay::queued:
        chain.push_back({CauseKind::queued, "queued", {}});
        break;
      case WakerDelay::off_cpu: {
        OffCpuEntry entry;
        entry.cause = static_cast<OffCpuCause>(link.cause);
        entry.syscall = link.syscall;
        entry.futex_op = link.futex_op;
        chain.push_back(
            {CauseKind::held, off_cpu_name(entry), off_cpu_frames(snapshot, pid, link.kernel_stack, link.user_stack)});
        break;
      }
    }
  }
  if (found->second.end != ChainEnd::whole)
    chain.push_back({CauseKind::cut, found->second.end == ChainEnd::cycle ? "cycle" : "too deep", {}});
  profile_.chains.push_back(std::move(chain));
  return at->second;
}

}  // namespace fiberprof
