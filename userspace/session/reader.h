// SPDX-License-Identifier: BSD-2-Clause
// The kernel maps of a session into a Snapshot: per-CPU values summed, off-CPU waits in flight added.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "session/blocked_reader.h"
#include "session/snapshot.h"
#include "support/error.h"

struct bpf_map;
struct fiberprof_bpf;

namespace fiberprof {

class SnapshotReader {
 public:
  // `skeleton` is loaded and outlives this object; `cpus`: possible CPUs.
  SnapshotReader(const fiberprof_bpf& skeleton, int cpus)
      : skeleton_(skeleton), cpus_(cpus), blocked_(skeleton, cpus) {}
  // Before any program is attached.
  Result<void> open() { return blocked_.open(); }
  Result<Snapshot> read();
  // Removes the entries of `part`, which read() returned, and the stacks that only they have.
  void forget(const Snapshot& part);
  // A stack that userspace has read, for snapshots to name; not one that the kernel side has under this key.
  void add_stack(StackId id, SessionStacks::Addresses addresses, std::unique_ptr<const LeafSnapshot> leaf) {
    stacks_.add(id, std::move(addresses), std::move(leaf));
  }
  // A worker that userspace could not tell the kernel side about.
  void add_worker_map_full() { ++workers_not_added_; }

 private:
  Result<void> read_off_cpu(Snapshot& snapshot);
  Result<void> read_queues(Snapshot& snapshot);
  Result<void> read_queued(Snapshot& snapshot);
  Result<void> read_losses(Snapshot& snapshot);
  void read_stacks(Snapshot& snapshot);
  bool read_stack(StackId id);                   // false: it is not there
  const bpf_map* stacks_with(StackId id) const;  // the map that has it
  std::unique_ptr<LeafSnapshot> read_leaf(StackId id) const;

  const fiberprof_bpf& skeleton_;
  int cpus_;
  uint64_t workers_not_added_ = 0;
  BlockedReader blocked_;
  size_t off_cpu_ = 0;              // entries at the last reading
  SessionStacks stacks_;            // a stack never changes: each is read once
  std::vector<StackId> stacks_at_;  // of waits, by their place in the last snapshot: they are known
};

}  // namespace fiberprof
