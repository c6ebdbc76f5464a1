// SPDX-License-Identifier: BSD-2-Clause
#include "render/names.h"

#include <fiberprof/registry.h>
#include <linux/futex.h>
#include <sys/syscall.h>

#include <array>

namespace fiberprof {
namespace {

struct Word {
  long number;
  const char* text;
};

#define FIBERPROF_WORD(value, name, text) Word{value, text},
constexpr std::array kReasons = {FIBERPROF_REASONS(FIBERPROF_WORD)};
constexpr std::array kFiberStates = {FIBERPROF_FIBER_STATES(FIBERPROF_WORD)};
constexpr std::array kProcessorStates = {FIBERPROF_PROCESSOR_STATES(FIBERPROF_WORD)};
#undef FIBERPROF_WORD

// System calls in which threads sleep; x86-64 and AArch64 do not have the same ones.
#define FIBERPROF_CALL(name) Word{SYS_##name, #name}
constexpr std::array kSyscalls = {
    FIBERPROF_CALL(read),          FIBERPROF_CALL(write),         FIBERPROF_CALL(readv),
    FIBERPROF_CALL(writev),        FIBERPROF_CALL(pread64),       FIBERPROF_CALL(pwrite64),
    FIBERPROF_CALL(preadv),        FIBERPROF_CALL(pwritev),       FIBERPROF_CALL(openat),
    FIBERPROF_CALL(close),         FIBERPROF_CALL(fsync),         FIBERPROF_CALL(fdatasync),
    FIBERPROF_CALL(sync),          FIBERPROF_CALL(syncfs),        FIBERPROF_CALL(sync_file_range),
    FIBERPROF_CALL(fallocate),     FIBERPROF_CALL(ftruncate),     FIBERPROF_CALL(flock),
    FIBERPROF_CALL(fcntl),         FIBERPROF_CALL(ioctl),         FIBERPROF_CALL(sendfile),
    FIBERPROF_CALL(splice),        FIBERPROF_CALL(connect),       FIBERPROF_CALL(accept),
    FIBERPROF_CALL(accept4),       FIBERPROF_CALL(recvfrom),      FIBERPROF_CALL(recvmsg),
    FIBERPROF_CALL(recvmmsg),      FIBERPROF_CALL(sendto),        FIBERPROF_CALL(sendmsg),
    FIBERPROF_CALL(sendmmsg),      FIBERPROF_CALL(nanosleep),     FIBERPROF_CALL(clock_nanosleep),
    FIBERPROF_CALL(futex),         FIBERPROF_CALL(futex_waitv),   FIBERPROF_CALL(epoll_pwait),
    FIBERPROF_CALL(ppoll),         FIBERPROF_CALL(pselect6),      FIBERPROF_CALL(wait4),
    FIBERPROF_CALL(waitid),        FIBERPROF_CALL(mmap),          FIBERPROF_CALL(munmap),
    FIBERPROF_CALL(mprotect),      FIBERPROF_CALL(madvise),       FIBERPROF_CALL(msync),
    FIBERPROF_CALL(mremap),        FIBERPROF_CALL(brk),           FIBERPROF_CALL(getdents64),
    FIBERPROF_CALL(statx),         FIBERPROF_CALL(newfstatat),    FIBERPROF_CALL(renameat2),
    FIBERPROF_CALL(unlinkat),      FIBERPROF_CALL(io_uring_enter), FIBERPROF_CALL(io_getevents),
    FIBERPROF_CALL(rt_sigtimedwait), FIBERPROF_CALL(rt_sigsuspend), FIBERPROF_CALL(sched_yield),
    FIBERPROF_CALL(clone),         FIBERPROF_CALL(clone3),        FIBERPROF_CALL(execve),
    FIBERPROF_CALL(getrandom),     FIBERPROF_CALL(membarrier),    FIBERPROF_CALL(restart_syscall),
    FIBERPROF_CALL(semtimedop),    FIBERPROF_CALL(semop),         FIBERPROF_CALL(exit),
#ifdef SYS_epoll_wait
    FIBERPROF_CALL(epoll_wait),    FIBERPROF_CALL(poll),          FIBERPROF_CALL(select),
    FIBERPROF_CALL(open),          FIBERPROF_CALL(stat),          FIBERPROF_CALL(rename),
    FIBERPROF_CALL(unlink),        FIBERPROF_CALL(pause),
#endif
#ifdef SYS_epoll_pwait2
    FIBERPROF_CALL(epoll_pwait2),
#endif
};
#undef FIBERPROF_CALL

constexpr std::array kFutexOperations = {
    Word{FUTEX_WAIT, "futex wait"},
    Word{FUTEX_WAIT_BITSET, "futex wait"},
    Word{FUTEX_LOCK_PI, "futex lock"},
    Word{FUTEX_LOCK_PI2, "futex lock"},
    Word{FUTEX_WAIT_REQUEUE_PI, "futex wait"},
};

template <class Table>
std::string look_up(const Table& table, long number, const std::string& otherwise) {
  for (const Word& word : table) {
    if (word.number == number) return word.text;
  }
  return otherwise;
}

std::string syscall_name(int32_t number) { return look_up(kSyscalls, number, "syscall " + std::to_string(number)); }

}  // namespace

std::string reason_name(uint8_t reason) { return look_up(kReasons, reason, "reason " + std::to_string(reason)); }

std::string fiber_state_name(uint8_t state) { return look_up(kFiberStates, state, "state " + std::to_string(state)); }

std::string processor_state_name(uint32_t state) {
  return look_up(kProcessorStates, state, "state " + std::to_string(state));
}

std::string off_cpu_name(const OffCpuEntry& entry) {
  switch (entry.cause) {
    case OffCpuCause::preempted: return "preempted";
    case OffCpuCause::fault: return "page fault";
    case OffCpuCause::futex: return look_up(kFutexOperations, entry.futex_op, "futex wait");
    case OffCpuCause::disk: return entry.syscall < 0 ? "disk" : syscall_name(entry.syscall) + " (disk)";
    case OffCpuCause::poll:
    case OffCpuCause::syscall: return entry.syscall < 0 ? "system call" : syscall_name(entry.syscall);
  }
  return "off CPU";
}

bool is_idle(const OffCpuEntry& entry) {
  return !entry.on_fiber && entry.cause != OffCpuCause::preempted && entry.cause != OffCpuCause::fault;
}

std::map<std::string, uint64_t> loss_counts(const Losses& losses) {
  std::map<std::string, uint64_t> counts = {
      {"blocked_map_full", losses.blocked_map_full},
      {"offcpu_map_full", losses.offcpu_map_full},
      {"stack_map_full", losses.stack_map_full},
      {"stack_walk_failed", losses.stack_walk_failed},
      {"stack_truncated", losses.stack_truncated},
      {"stack_hash_collision", losses.stack_hash_collision},
      {"user_memory_fault", losses.user_memory_fault},
      {"worker_map_full", losses.worker_map_full},
      {"queue_map_full", losses.queue_map_full},
      {"map_busy", losses.map_busy},
      {"scratch_preempted", losses.scratch_preempted},
      {"clipped", losses.clipped},
  };
  static_assert(sizeof(Losses) == 12 * sizeof(uint64_t), "a counter was added: name it here");
  std::erase_if(counts, [](const auto& each) { return each.second == 0; });
  return counts;
}

}  // namespace fiberprof
