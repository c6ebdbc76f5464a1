// SPDX-License-Identifier: BSD-2-Clause
// A process made to stand still for a moment, without its noticing: threads are seized by ptrace, which sends no signal
// and leaves system calls as they are.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "support/error.h"

namespace fiberprof {

struct StoppedThread {
  uint32_t tid = 0;  // as this process sees it
  uint64_t sp = 0, pc = 0, frame_pointer = 0, thread_pointer = 0;
  int signal = 0;                      // that is delivered to it when it goes on
  bool group_stopped = false;          // it was stopped by a signal before
  std::vector<char> registers;         // general ones: bytes to search
  std::vector<char> vector_registers;  // floating-point and vector state: these, too
};

// Let go by its end of life at the latest; and by the kernel, should this process be killed.
class Freeze {
 public:
  Freeze() = default;
  Freeze(const Freeze&) = delete;
  Freeze& operator=(const Freeze&) = delete;
  ~Freeze() { release(); }

  // Stops every thread, those that are started meanwhile, too. Errors: gone, no permission, traced by somebody else
  // (a debugger), threads that do not stop within a second (in the kernel, uninterruptibly). Nothing is stopped then.
  Result<void> stop(uint32_t pid);
  // Only that one, of the threads of `pid`.
  Result<void> stop_thread(uint32_t pid, uint32_t tid);
  const std::vector<StoppedThread>& threads() const { return threads_; }
  void release();
  // How long it stood still, from the first thread's stop to the last one's going on. After release().
  uint64_t stopped_ns() const { return stopped_ns_; }

 private:
  // Whether there were threads among them not yet stopped.
  Result<bool> seize(uint32_t pid, const std::vector<uint32_t>& tids);
  Result<void> read_all(uint32_t pid);
  std::vector<StoppedThread> threads_;
  uint64_t since_ns_ = 0, stopped_ns_ = 0;
};

}  // namespace fiberprof
