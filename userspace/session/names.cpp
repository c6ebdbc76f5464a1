// SPDX-License-Identifier: BSD-2-Clause
#include "session/names.h"

#include <fiberprof/registry.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cctype>

namespace fiberprof {
namespace {

constexpr struct {
  std::string_view identifier, text;
} kReasons[] = {
#define REASON(value, name, text) {#name, text},
    FIBERPROF_REASONS(REASON)
#undef REASON
};

// Case, blanks, '_' and '-' do not matter.
std::string plain(std::string_view text) {
  std::string result;
  for (const char c : text)
    result += c == '_' || c == '-' ? ' ' : static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return result;
}

// linux/futex.h, without the flags
constexpr std::string_view kFutexOperations[] = {
    "wait",      "wake",       "fd",          "requeue", "cmp requeue",     "wake op",        "lock pi",
    "unlock pi", "trylock pi", "wait bitset", "wake",    "wait requeue pi", "cmp requeue pi", "lock pi2"};
#if defined(__x86_64__)
constexpr int32_t kUprobe = 336;
#endif
constexpr int32_t kFutexWaitv = 449;  // on every architecture; futex_wait(2), 455, is one more plain wait

}  // namespace

std::string reason_name(uint8_t reason) {
  if (reason < std::size(kReasons)) return std::string(kReasons[reason].text);
  return "reason " + std::to_string(reason);
}

std::optional<uint8_t> reason_of(std::string_view name) {
  const std::string wanted = plain(name);
  for (size_t i = 0; i < std::size(kReasons); ++i)
    if (wanted == plain(kReasons[i].identifier) || wanted == kReasons[i].text) return static_cast<uint8_t>(i);
  return std::nullopt;
}

// The system calls in which programs sleep; both architectures number them differently, the names are the same.
std::string syscall_name(int32_t number) {
  switch (number) {
#define NAME(call) \
  case SYS_##call: \
    return #call;
    NAME(read)
    NAME(write)
    NAME(readv)
    NAME(writev)
    NAME(pread64)
    NAME(pwrite64)
    NAME(preadv)
    NAME(pwritev)
    NAME(close)
    NAME(fsync)
    NAME(fdatasync)
    NAME(sync)
    NAME(sync_file_range)
    NAME(msync)
    NAME(openat)
    NAME(ftruncate)
    NAME(fallocate)
    NAME(flock)
    NAME(fcntl)
    NAME(ioctl)
    NAME(nanosleep)
    NAME(clock_nanosleep)
    NAME(wait4)
    NAME(waitid)
    NAME(accept)
    NAME(accept4)
    NAME(connect)
    NAME(recvfrom)
    NAME(recvmsg)
    NAME(recvmmsg)
    NAME(sendto)
    NAME(sendmsg)
    NAME(sendmmsg)
    NAME(sendfile)
    NAME(splice)
    NAME(mmap)
    NAME(munmap)
    NAME(mprotect)
    NAME(madvise)
    NAME(brk)
    NAME(futex)
    NAME(epoll_pwait)
    NAME(ppoll)
    NAME(pselect6)
    NAME(io_uring_enter)
    NAME(rt_sigtimedwait)
    NAME(rt_sigsuspend)
    NAME(getrandom)
    NAME(execve)
    NAME(exit)
    NAME(exit_group)
    NAME(unlinkat)
    NAME(renameat)
    NAME(mkdirat)
    NAME(newfstatat)
    NAME(statx)
    NAME(getdents64)
    NAME(membarrier)
    NAME(clone)
    NAME(clone3)
    NAME(sched_yield)
#ifdef SYS_open
    NAME(open)
    NAME(stat)
    NAME(poll)
    NAME(select)
    NAME(epoll_wait)
    NAME(pause)
    NAME(rename)
    NAME(unlink)
    NAME(fork)
    NAME(vfork)
#endif
#undef NAME
#if defined(__x86_64__)
    case kUprobe:  // how a probe at a 5-byte nop enters the kernel (6.18)
      return "uprobe";
#endif
    default:
      return "syscall " + std::to_string(number);
  }
}

std::string off_cpu_name(const OffCpuEntry& entry) {
  switch (entry.cause) {
    case OffCpuCause::preempted:
      return "preempted";
    case OffCpuCause::futex:
      if (entry.syscall == kFutexWaitv) return "futex waitv";
      return "futex " +
             std::string(entry.futex_op < std::size(kFutexOperations) ? kFutexOperations[entry.futex_op] : "wait");
    case OffCpuCause::poll:
      return "poll";
    case OffCpuCause::syscall:
      return syscall_name(entry.syscall);
    case OffCpuCause::fault:
      return "page fault";
    case OffCpuCause::disk:
      return "disk: " + syscall_name(entry.syscall);
    case OffCpuCause::stopped:
      return "stopped";
  }
  return "unknown";
}

}  // namespace fiberprof
