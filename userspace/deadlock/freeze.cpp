// SPDX-License-Identifier: BSD-2-Clause
#include "deadlock/freeze.h"

#include <dirent.h>
#include <elf.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>

#include "process/proc.h"
#include "session/stopwatch.h"

namespace fiberprof {
namespace {

constexpr uint64_t kPatienceNs = 1'000'000'000;

std::vector<uint32_t> thread_ids(uint32_t pid) {
  std::vector<uint32_t> ids;
  DIR* directory = opendir(("/proc/" + std::to_string(pid) + "/task").c_str());
  if (directory == nullptr) return ids;
  while (const dirent* entry = readdir(directory))
    if (const auto id = std::strtoul(entry->d_name, nullptr, 10); id != 0) ids.push_back(static_cast<uint32_t>(id));
  closedir(directory);
  return ids;
}

// Until the thread stands still. False: it has ended, or does not stop. `signal`: one that was about to be delivered to
// it just then, and has to be when it goes on.
bool wait_for_stop(uint32_t tid, uint64_t until, int& signal, bool& group_stopped) {
  for (;;) {
    int status = 0;
    const pid_t got = waitpid(static_cast<pid_t>(tid), &status, __WALL | WNOHANG);
    if (got < 0 && errno != EINTR) return false;
    if (got > 0) {
      const bool by_signal = WIFSTOPPED(status) && status >> 16 == 0;
      signal = by_signal ? WSTOPSIG(status) : 0;
      group_stopped = WIFSTOPPED(status) && status >> 16 == PTRACE_EVENT_STOP && WSTOPSIG(status) != SIGTRAP;
      return WIFSTOPPED(status);
    }
    if (monotonic_ns() > until) return false;
    const timespec pause{0, 20'000};
    nanosleep(&pause, nullptr);
  }
}

bool read_set(uint32_t tid, int set, std::vector<char>& out, size_t most) {
  out.resize(most);
  iovec vector{out.data(), out.size()};
  if (ptrace(PTRACE_GETREGSET, tid, set, &vector) != 0) return false;
  out.resize(vector.iov_len);
  return true;
}

bool read_registers(StoppedThread& thread) {
  std::vector<char> general, extended;
  if (!read_set(thread.tid, NT_PRSTATUS, general, sizeof(user_regs_struct))) return false;
  user_regs_struct regs{};
  std::memcpy(&regs, general.data(), std::min(general.size(), sizeof regs));
#if defined(__x86_64__)
  thread.sp = regs.rsp;
  thread.pc = regs.rip;
  thread.frame_pointer = regs.rbp;
  thread.thread_pointer = regs.fs_base;
  if (!read_set(thread.tid, NT_X86_XSTATE, extended, 1 << 14)) return false;
#elif defined(__aarch64__)
  thread.sp = regs.sp;
  thread.pc = regs.pc;
  thread.frame_pointer = regs.regs[29];
  std::vector<char> tls;
  if (!read_set(thread.tid, NT_ARM_TLS, tls, 8)) return false;
  std::memcpy(&thread.thread_pointer, tls.data(), std::min<size_t>(tls.size(), 8));
  if (!read_set(thread.tid, NT_PRFPREG, extended, 1 << 12)) return false;
#endif
  thread.registers = std::move(general);
  thread.vector_registers = std::move(extended);
  return true;
}

}  // namespace

Result<bool> Freeze::seize(uint32_t pid, const std::vector<uint32_t>& tids) {
  std::vector<uint32_t> fresh;
  for (const uint32_t tid : tids) {
    if (std::any_of(threads_.begin(), threads_.end(), [&](const StoppedThread& known) { return known.tid == tid; }))
      continue;
    if (ptrace(PTRACE_SEIZE, tid, nullptr, nullptr) != 0) {
      if (errno == ESRCH) continue;  // ended meanwhile
      const int error = errno;
      return fail("cannot stop process " + std::to_string(pid), std::strerror(error),
                  error == EPERM ? "a debugger may be attached to it; else: " + permission_hint() : "");
    }
    threads_.emplace_back().tid = tid;
    fresh.push_back(tid);
    if (since_ns_ == 0) since_ns_ = monotonic_ns();
    ptrace(PTRACE_INTERRUPT, tid, nullptr, nullptr);
  }
  for (const uint32_t tid : fresh) {
    const auto entry =
        std::find_if(threads_.begin(), threads_.end(), [&](const StoppedThread& one) { return one.tid == tid; });
    const bool stopped = wait_for_stop(tid, since_ns_ + kPatienceNs, entry->signal, entry->group_stopped);
    if (stopped) continue;
    std::erase_if(threads_, [&](const StoppedThread& thread) {
      return thread.tid == tid && ptrace(PTRACE_DETACH, tid, nullptr, nullptr) != 0 && errno == ESRCH;
    });
    const auto left = thread_ids(pid);
    if (std::find(left.begin(), left.end(), tid) != left.end())
      return fail("cannot stop process " + std::to_string(pid),
                  "thread " + std::to_string(tid) + " does not stop: it waits in the kernel, uninterruptibly",
                  "try again");
  }
  return !fresh.empty();
}

Result<void> Freeze::stop(uint32_t pid) {
  release();
  stopped_ns_ = 0;
  for (;;) {
    const auto more = seize(pid, thread_ids(pid));
    if (!more) {
      release();
      return tl::unexpected(more.error());
    }
    if (!*more) break;
  }
  return read_all(pid);
}

Result<void> Freeze::stop_thread(uint32_t pid, uint32_t tid) {
  release();
  stopped_ns_ = 0;
  if (const auto stopped = seize(pid, {tid}); !stopped) {
    release();
    return tl::unexpected(stopped.error());
  }
  return read_all(pid);
}

Result<void> Freeze::read_all(uint32_t pid) {
  for (StoppedThread& thread : threads_)
    if (!read_registers(thread)) {
      const uint32_t tid = thread.tid;
      release();
      return fail("cannot read the registers of thread " + std::to_string(tid), std::strerror(errno));
    }
  if (threads_.empty()) return fail("cannot stop process " + std::to_string(pid), "it has ended");
  return {};
}

void Freeze::release() {
  for (const StoppedThread& thread : threads_)
    ptrace(PTRACE_DETACH, thread.tid, nullptr, static_cast<long>(thread.signal));
  if (!threads_.empty()) stopped_ns_ = monotonic_ns() - since_ns_;
  since_ns_ = 0;
  threads_.clear();
}

}  // namespace fiberprof
