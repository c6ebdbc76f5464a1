// SPDX-License-Identifier: BSD-2-Clause
// The first half of a dump: reads every fiber once and keeps what was asked for, as numbers only.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <unordered_map>
#include <vector>

#include "dump/dump.h"
#include "dump/stack_table.h"
#include "process/stacks.h"

namespace fiberprof {

// Who waits for one object.
struct WaitCount {
  uint64_t senders = 0, others = 0;
  uint8_t reason = 0;  // of the last one
};

struct CollectedFiber {
  FiberInfo info;
  uint64_t age_ns = 0;
  uint32_t stack = 0;  // in Collection::stacks
  std::vector<ArmInfo> arms;
};

struct GroupKey {
  uint32_t stack = 0;
  uint8_t state = 0, reason = 0;
  uint64_t creator_pc = 0, object = 0;
  bool operator==(const GroupKey&) const = default;
};

struct GroupKeyHash {
  size_t operator()(const GroupKey& key) const {
    uint64_t hash = key.stack * uint64_t{0x9e3779b97f4a7c15} ^ (key.creator_pc + (uint64_t{key.state} << 56));
    hash = (hash ^ hash >> 32 ^ key.object) * 0x9e3779b97f4a7c15 + key.reason;
    return hash ^ hash >> 29;
  }
};

struct Collection {
  StackTable stacks;
  std::vector<CollectedFiber> fibers;
  std::unordered_map<GroupKey, DumpGroup, GroupKeyHash> groups;
  std::unordered_map<uint64_t, WaitCount> waits;                // by object; not with DumpBy::group
  std::unordered_map<uint64_t, std::vector<uint64_t>> readers;  // ids by rwlock, a few of each
  std::vector<std::pair<uint64_t, uint64_t>> slots;             // id and address of every fiber's record, by id
  std::unordered_map<uint64_t, uint32_t> workers;               // tid by the fiber that is on it
  std::vector<uint64_t> state_counts, reason_counts;
  uint64_t seen = 0, chosen = 0, torn = 0, not_kept = 0, unfinished = 0, without_stack = 0;
};

// Errors: the process ended, no permission.
Result<Collection> collect(DumpSource& source, const DumpOptions& options);

}  // namespace fiberprof
