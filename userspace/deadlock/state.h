// SPDX-License-Identifier: BSD-2-Clause
// What a verdict is made from: every fiber and every object that somebody waits for, as they were at one moment.
//
// A live process is not stopped for it, so a state is read twice (collect.h): fibers, objects, fibers, objects. A fiber
// that is parked in the same wait in both, and in the queue of each object it waits for at the end, was parked, and
// nobody had woken it yet, at the moment between them. What its objects are is held in both versions, and something
// counts as possible if either allows it.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "process/objects.h"
#include "process/registry_view.h"

namespace fiberprof {

// One of the things that may end a wait.
struct Alternative {
  uint32_t reason = 0;    // FIBERPROF_REASON_*
  uint64_t resource = 0;  // as the registry has it for that reason
};

struct FiberState {
  FiberInfo info;
  std::vector<Alternative> alternatives;  // of a parked fiber; those without an object in the registry's sense, too
  bool settled = false;  // parked in one and the same wait all the time, and in the queue of each of its objects
};

// An object twice, as seen before and after the moment; the same, where the process stood still.
struct ObjectState {
  std::array<std::optional<ObjectInfo>, 2> seen;  // none: not readable, or not of the kind that its waiters wait for
  std::vector<uint64_t> queue;      // ids of the fibers in its queues, in order; those of a channel's senders first
  std::vector<uint64_t> receivers;  // a channel's other queue
  std::vector<uint64_t> nodes;      // addresses of the waiters in these queues
  bool queue_complete = false;      // all of the queues could be read
  bool foreign = false;             // a thread that is no fiber waits, too
  // Read-locks that nobody can give back: their fibers have ended. Known only where `readers_settled`.
  int64_t orphaned = 0;
  bool readers_settled = false;

  bool readable() const { return seen[0] && seen[1]; }
};

struct State {
  // All of them, or of a live process those that may never run again as far as one look can tell, and whoever may hold
  // read-locks; without their names until they are known to be dead.
  std::vector<FiberState> fibers;
  std::vector<uint64_t> others;  // ids of all others, ascending: they live
  size_t total() const { return fibers.size() + others.size(); }
  std::unordered_map<uint64_t, size_t> by_id;  // index in `fibers`
  std::unordered_map<uint64_t, ObjectState> objects;
  RegistrySummary summary;
  uint64_t now_ns = 0;  // CLOCK_MONOTONIC
  uint64_t torn = 0;    // fibers that could not be read: any of them may be anybody

  const FiberState* find(uint64_t id) const {
    const auto found = by_id.find(id);
    return found == by_id.end() ? nullptr : &fibers[found->second];
  }
  // Whether that fiber was there at all.
  bool exists(uint64_t id) const { return by_id.contains(id) || std::binary_search(others.begin(), others.end(), id); }
};

}  // namespace fiberprof
