// SPDX-License-Identifier: BSD-2-Clause
// What the kernel side has counted of waits that ended, of thousands of stacks a second. In the sampled tier from
// memory shared with it: only what has changed is decoded. In the exact tier from a map that is per CPU.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "session/snapshot.h"
#include "support/error.h"

struct fiberprof_bpf;
struct fp_blocked_key;
struct fp_blocked_slot;

namespace fiberprof {

class BlockedReader {
 public:
  // `skeleton` is loaded and outlives this object; `cpus`: possible CPUs.
  BlockedReader(const fiberprof_bpf& skeleton, int cpus) : skeleton_(skeleton), cpus_(cpus) {}
  BlockedReader(const BlockedReader&) = delete;
  BlockedReader& operator=(const BlockedReader&) = delete;
  ~BlockedReader();

  // Before any program is attached.
  Result<void> open();
  Result<void> read(Snapshot& snapshot);
  // Gives back the slots of the entries that are `unwanted(key)`; `kept(key)` sees the keys of all others.
  void forget(const std::function<bool(const fp_blocked_key&)>& unwanted,
              const std::function<void(const fp_blocked_key&)>& kept);

 private:
  void read_slots(Snapshot& snapshot);
  Result<void> read_per_cpu(Snapshot& snapshot);
  uint32_t used() const;  // all slots from this one on are free

  const fiberprof_bpf& skeleton_;
  int cpus_;
  const fp_blocked_slot* slots_ = nullptr;  // the sampled tier's
  uint32_t slot_count_ = 0;
  std::vector<BlockedEntry> known_;  // by slot, as they were read last
  size_t entries_ = 0;               // at the last reading
};

}  // namespace fiberprof
