// SPDX-License-Identifier: BSD-2-Clause
// All fibers of a process at one moment, with what they wait for, explained: as a list, or folded into groups.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "dump/source.h"
#include "process/objects.h"
#include "support/error.h"
#include "symbol/symbolizer.h"

namespace fiberprof {

enum class DumpBy : uint8_t {
  fiber,    // each by itself
  group,    // equal stack, state, reason and spawn site folded into one
  channel,  // by the channel that is waited for
  object,   // by whatever object is waited for
};

struct DumpFilter {
  std::optional<uint8_t> state, reason;
  uint64_t older_ns = 0;             // in its state for that long at least
  std::optional<uint64_t> fiber_id;  // or
  std::string fiber_name;
};

struct DumpOptions {
  DumpBy by = DumpBy::fiber;
  DumpFilter filter;
  size_t rows = 0;  // fibers, groups or objects that are kept, the longest waits or largest groups; 0: all
  bool all_frames = false;
};

// A fiber that is named by another one or by an object.
struct FiberRef {
  uint64_t id = 0;      // 0: none
  bool thread = false;  // `id` is a thread's that is no fiber
  bool alive = false;   // it was there, and the rest is known
  uint8_t state = 0, reason = 0;
  std::string name;  // as the program gave it
};

struct DumpObject {
  uint64_t address = 0;
  uint32_t kind = 0;               // FIBERPROF_OBJECT_*
  std::optional<ObjectInfo> info;  // none: what is there now is not that kind of object any more
  FiberRef owner;
  std::vector<FiberRef> readers;  // of a rwlock: those that say so, a few; info->count says how many there are
  std::vector<uint64_t> threads;  // that are no fibers and wait: their tids, those among the first in its queues
  uint64_t senders = 0;           // fibers that wait to send
  uint64_t waiting = 0;           // fibers that wait in any other way: to receive, to lock …
};

struct DumpFiber {
  FiberInfo info;
  uint64_t age_ns = 0;                                           // in its state
  uint32_t stack = 0;                                            // index into Dump::stacks; 0: none
  std::string no_stack;                                          // why: "running on worker tid 12"; empty: it has one
  std::optional<size_t> object;                                  // index into Dump::objects
  std::vector<std::pair<uint32_t, std::optional<size_t>>> arms;  // of a select: reason, object (none: nil channel)
  FiberRef joins, parent;
  std::string descriptor;  // of an I/O wait: what the file is
};

struct DumpGroup {
  static constexpr size_t kMost = 8;  // of what is kept of its members one by one

  uint32_t stack = 0;  // index into Dump::stacks; 0: none
  uint8_t state = 0, reason = 0;
  uint64_t creator_pc = 0;
  uint64_t count = 0, oldest_ns = 0, youngest_ns = 0;
  uint64_t oldest_id = 0;
  bool one_name = true;           // all have `name`
  std::string name;               // of the first
  std::vector<uint64_t> ids;      // at most kMost
  std::vector<uint64_t> objects;  // addresses of those waited for, all different; kMost + 1: and more

  void add(const FiberInfo& fiber, uint64_t age_ns, uint64_t object);  // object 0: none
  void add(const DumpGroup& more);
};

struct Dump {
  static constexpr size_t kMostRelatives = 1000;

  std::string label;  // "process 12 (kvd)"
  uint32_t pid = 0;
  std::string name, binary, build_id, core;  // core: path; empty: a live process
  uint64_t taken_unix_ns = 0, now_ns = 0;
  int signal = 0;                                   // that ended the process of a core; 0: none
  FiberRef crashed;                                 // the fiber that was on the thread it came to
  uint64_t fibers_seen = 0;                         // before any filter
  uint64_t fibers_chosen = 0;                       // by the filter
  uint64_t torn = 0;                                // entries that were being rewritten all the time
  uint64_t not_kept = 0;                            // beyond what is kept at most (hostile or enormous processes)
  uint64_t without_stack = 0;                       // parked fibers whose stack could not be read
  uint64_t unfinished = 0;                          // stacks that were read only in part
  uint64_t lacking = 0;                             // bytes that a core cut short does not have
  std::map<std::string, uint64_t> states, reasons;  // of all that were seen
  std::vector<DumpFiber> fibers;                    // by age, longest first
  std::vector<DumpGroup> groups;                    // by count, largest first
  std::vector<DumpObject> objects;  // those referred to; with DumpBy::channel and object by waiting fibers, most first
  uint64_t groups_chosen = 0;       // with DumpBy::group: before they were cut to so many rows
  uint64_t objects_chosen = 0;      // with those two: before they were cut to so many rows
  std::vector<FiberRef> children, joiners;            // of the one fiber that was asked for; at most kMostRelatives
  std::vector<size_t> holds;                          // objects it owns, when one fiber was asked for
  std::vector<std::vector<Frame>> stacks;             // innermost first, as they are to be shown
  std::unordered_map<uint64_t, Frame> sites;          // by code address: where fibers were spawned, channels made
  std::unordered_map<uint64_t, std::string> entries;  // by code address: functions that were spawned

  std::unordered_map<uint64_t, size_t> objects_at;  // by address: index into `objects`

  std::optional<size_t> object_at(uint64_t address) const {
    const auto found = objects_at.find(address);
    return found == objects_at.end() ? std::nullopt : std::optional(found->second);
  }
  // Of a fiber in this state.
  std::string why_no_stack(uint8_t state) const;
  const Frame* site(uint64_t pc) const {
    const auto found = sites.find(pc);
    return found == sites.end() ? nullptr : &found->second;
  }
};

// Reads without stopping the process. Errors: it ended, no permission; no fiber of that id or name.
Result<Dump> gather(DumpSource& source, const DumpOptions& options);

// "parked", "running"; "state 77" for one this build does not know.
std::string fiber_state_name(uint8_t state);
std::optional<uint8_t> fiber_state_of(std::string_view name);

}  // namespace fiberprof
