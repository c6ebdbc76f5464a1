// SPDX-License-Identifier: BSD-2-Clause
#include "deadlock/inject.h"

#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>

namespace fiberprof {

bool filters_calls(uint32_t pid) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("Seccomp:")) return std::strtol(line.c_str() + 8, nullptr, 10) != 0;
  return true;
}

#if defined(__x86_64__)
namespace {

constexpr long kSyscallInstruction = 0x050f;  // syscall, as the low bytes of a word
constexpr unsigned long kInstructionSize = 2;

tl::unexpected<Error> failed(uint32_t tid) {
  return fail("cannot make a call in thread " + std::to_string(tid), std::strerror(errno));
}

// The next stop of a traced task; -1: it has ended.
int next_stop(uint32_t tid) {
  int status = 0;
  pid_t got = 0;
  do {
    got = waitpid(static_cast<pid_t>(tid), &status, __WALL);
  } while (got < 0 && errno == EINTR);
  return got > 0 && WIFSTOPPED(status) ? status : -1;
}

}  // namespace

Result<Injection> Injection::into(uint32_t tid) {
  user_regs_struct regs{};
  if (ptrace(PTRACE_GETREGS, tid, nullptr, &regs) != 0) return failed(tid);
  errno = 0;
  const long code = ptrace(PTRACE_PEEKTEXT, tid, regs.rip - kInstructionSize, nullptr);
  if (errno != 0 || (code & 0xffff) != kSyscallInstruction || static_cast<long>(regs.orig_rax) < 0)
    return fail("cannot make a call in thread " + std::to_string(tid), "it is not in a system call");
  Injection injection;
  injection.tid_ = tid;
  return injection;
}

Result<long> Injection::call(long number, long first, long second, long third, uint32_t* child) {
  user_regs_struct saved{};
  uint64_t mask = 0;
  const uint64_t all = ~uint64_t{0};
  if (ptrace(PTRACE_GETREGS, tid_, nullptr, &saved) != 0 || ptrace(PTRACE_GETSIGMASK, tid_, sizeof mask, &mask) != 0)
    return failed(tid_);
  if (ptrace(PTRACE_SETSIGMASK, tid_, sizeof all, &all) != 0) return failed(tid_);
  user_regs_struct regs = saved;
  regs.rip -= kInstructionSize;
  regs.rax = static_cast<unsigned long>(number);
  regs.orig_rax = static_cast<unsigned long>(-1);  // nothing to be restarted
  regs.rdi = static_cast<unsigned long>(first);
  regs.rsi = static_cast<unsigned long>(second);
  regs.rdx = static_cast<unsigned long>(third);
  regs.r10 = regs.r8 = 0;
  const long options = child == nullptr ? 0 : PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK;
  bool done = ptrace(PTRACE_SETOPTIONS, tid_, nullptr, options) == 0 &&
              ptrace(PTRACE_SETREGS, tid_, nullptr, &regs) == 0 &&
              ptrace(PTRACE_SINGLESTEP, tid_, nullptr, nullptr) == 0;
  while (done) {
    const int status = next_stop(tid_);
    if (status < 0) return fail("cannot make a call in thread " + std::to_string(tid_), "it has ended");
    const int event = status >> 16;
    if (event == PTRACE_EVENT_CLONE || event == PTRACE_EVENT_FORK || event == PTRACE_EVENT_VFORK) {
      unsigned long made = 0;
      if (ptrace(PTRACE_GETEVENTMSG, tid_, nullptr, &made) == 0 && child != nullptr) {
        *child = static_cast<uint32_t>(made);
        if (next_stop(*child) >= 0) ptrace(PTRACE_SETOPTIONS, *child, nullptr, PTRACE_O_EXITKILL);
      }
    } else if (event == 0 && WSTOPSIG(status) == SIGTRAP) {
      break;
    }
    done = ptrace(PTRACE_SINGLESTEP, tid_, nullptr, nullptr) == 0;
  }
  const bool stepped = done && ptrace(PTRACE_GETREGS, tid_, nullptr, &regs) == 0;
  ptrace(PTRACE_SETREGS, tid_, nullptr, &saved);
  ptrace(PTRACE_SETOPTIONS, tid_, nullptr, 0);
  ptrace(PTRACE_SETSIGMASK, tid_, sizeof mask, &mask);
  if (!stepped) return failed(tid_);
  return static_cast<long>(regs.rax);
}
#else
Result<Injection> Injection::into(uint32_t) {
  return fail("cannot make a call in another process", "not on this machine");
}
Result<long> Injection::call(long, long, long, long, uint32_t*) {
  return fail("cannot make a call in another process", "not on this machine");
}
#endif

}  // namespace fiberprof
