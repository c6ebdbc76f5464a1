// SPDX-License-Identifier: BSD-2-Clause
// Workers that are off their CPU when they begin to be watched: the kernel side is told what they are in, so that one
// that hangs for good is in the account like any other.
#pragma once

#include "session/bpf_handles.h"
#include "session/fiber_filter.h"
#include "support/error.h"

struct fiberprof_bpf;

namespace fiberprof {

class SnapshotReader;

class AsleepWorkers {
 public:
  // `skeleton` is loaded; all references outlive this object. Errors: the kernel refuses an iterator over threads.
  static Result<AsleepWorkers> open(const fiberprof_bpf& skeleton, const FiberSelection& fibers,
                                    SnapshotReader& reader);

  // Their time off the CPU begins now. For workers that have been added since the last call and have not been on a CPU
  // since; sched_switch is watched already. One that sleeps and wakes all the time may be left to sched_switch.
  Result<void> note() const;

 private:
  AsleepWorkers(const fiberprof_bpf& skeleton, const FiberSelection& fibers, SnapshotReader& reader, UniqueLink link)
      : skeleton_(&skeleton), fibers_(&fibers), reader_(&reader), link_(std::move(link)) {}

  const fiberprof_bpf* skeleton_;
  const FiberSelection* fibers_;
  SnapshotReader* reader_;
  UniqueLink link_;
};

}  // namespace fiberprof
