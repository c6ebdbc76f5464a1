// SPDX-License-Identifier: BSD-2-Clause
#include "deadlock/snapshot.h"

#include <sched.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>

#include "deadlock/inject.h"

namespace fiberprof {
namespace {

// Memory that a child does not get, or gets empty.
bool keeps_memory_from_children(uint32_t pid) {
  std::ifstream maps("/proc/" + std::to_string(pid) + "/smaps");
  bool any = false;
  for (std::string line; std::getline(maps, line);) {
    if (!line.starts_with("VmFlags:")) continue;
    any = true;
    std::istringstream flags(line.substr(8));
    for (std::string flag; flags >> flag;)
      if (flag == "dc" || flag == "wf") return true;
  }
  return !any;
}

}  // namespace

bool MemorySnapshot::possible(uint32_t pid) { return !filters_calls(pid) && !keeps_memory_from_children(pid); }

Result<void> MemorySnapshot::take(uint32_t pid, const Freeze& freeze) {
  // A process that was stopped by a signal must not run, not even for this.
  const auto& threads = freeze.threads();
  if (std::any_of(threads.begin(), threads.end(), [](const StoppedThread& thread) { return thread.group_stopped; }))
    return fail("cannot fork process " + std::to_string(pid), "it is stopped");
  for (const StoppedThread& thread : threads) {
    if (thread.signal != 0) continue;
    auto injection = Injection::into(thread.tid);
    if (!injection) continue;
    const auto child = injection->call(SYS_clone, CLONE_FILES | CLONE_FS, 0, 0, &pid_);
    if (!child) return tl::unexpected(child.error());
    if (*child <= 0 || pid_ == 0) {
      pid_ = 0;
      return fail("cannot fork process " + std::to_string(pid), std::strerror(static_cast<int>(-*child)));
    }
    of_ = pid;
    own_pid_ = *child;
    return {};
  }
  return fail("cannot fork process " + std::to_string(pid), "none of its threads is in a system call");
}

void MemorySnapshot::end() {
  if (pid_ == 0) return;
  kill(static_cast<pid_t>(pid_), SIGKILL);
  int status = 0;
  while (waitpid(static_cast<pid_t>(pid_), &status, __WALL) > 0 && !WIFEXITED(status) && !WIFSIGNALED(status)) {
  }
  pid_ = 0;
  Freeze freeze;
  if (!freeze.stop(of_)) return;
  for (const StoppedThread& thread : freeze.threads()) {
    if (thread.signal != 0 || thread.group_stopped) continue;
    auto injection = Injection::into(thread.tid);
    if (!injection) continue;
    const auto reaped = injection->call(SYS_wait4, own_pid_, 0, __WCLONE | WNOHANG);
    if (reaped && *reaped == own_pid_) return;
  }
}

}  // namespace fiberprof
