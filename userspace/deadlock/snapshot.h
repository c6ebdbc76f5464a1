// SPDX-License-Identifier: BSD-2-Clause
// The memory of a process as it is at one moment, kept by the kernel: a child of the process, made by fork, that never
// runs. What the process writes afterwards the kernel copies first, so it stands still only for as long as its page
// tables are copied.
#pragma once

#include <cstdint>

#include "deadlock/freeze.h"
#include "support/error.h"

namespace fiberprof {

// The child shares the descriptors, so that closing one does what it always does; it has no exit signal, so that the
// parent does not hear of it; it dies with this process at the latest. The process reaps it at the end: by a call made
// for that in one of its threads.
class MemorySnapshot {
 public:
  MemorySnapshot() = default;
  MemorySnapshot(const MemorySnapshot&) = delete;
  MemorySnapshot& operator=(const MemorySnapshot&) = delete;
  ~MemorySnapshot() { end(); }

  // Whether it may be tried: not where calls are filtered, nor where some memory is not given to children (as `maps`
  // says; costs a look at all pages).
  static bool possible(uint32_t pid);
  // Of a process that stands still. Errors: no thread is in a system call, or the kernel refuses.
  Result<void> take(uint32_t pid, const Freeze& freeze);
  // As this process sees it; 0: none.
  uint32_t pid() const { return pid_; }
  void end();

 private:
  uint32_t of_ = 0;  // the process
  uint32_t pid_ = 0;
  long own_pid_ = 0;  // as the process sees it
};

}  // namespace fiberprof
