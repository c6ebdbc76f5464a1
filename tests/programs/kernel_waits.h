// SPDX-License-Identifier: BSD-2-Clause
// Ways for a thread to wait in the kernel for a known time, by name: every wait operation of futexes, a page fault, a
// signal handler. Each returns false where this kernel does not have it.
#pragma once

#include <fcntl.h>
#include <linux/futex.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>

// Not in an anonymous namespace: these names are looked for in stacks.
#define KERNEL_WAIT __attribute__((noinline, noipa))

namespace kernel_waits {

inline timespec span(uint64_t ms) { return {static_cast<time_t>(ms / 1000), static_cast<long>(ms % 1000 * 1000000)}; }

inline timespec after(uint64_t ms) {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  const uint64_t ns = static_cast<uint64_t>(time.tv_nsec) + ms * 1000000;
  return {time.tv_sec + static_cast<time_t>(ns / 1000000000), static_cast<long>(ns % 1000000000)};
}

// With a time-out, which ends it.
KERNEL_WAIT inline bool futex_wait(const std::string& how, uint64_t ms) {
  uint32_t word = 0, other = 0;
  const timespec until = after(ms), time = span(ms);
  long result = 0;
  if (how == "wait") result = syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &time, nullptr, 0);
  if (how == "bitset") result = syscall(SYS_futex, &word, FUTEX_WAIT_BITSET_PRIVATE, 0, &until, nullptr, ~0u);
  if (how == "requeue_pi") result = syscall(SYS_futex, &word, FUTEX_WAIT_REQUEUE_PI_PRIVATE, 0, &until, &other, 0);
  if (how == "waitv") {
    struct {
      uint64_t value, address;
      uint32_t flags, reserved;
    } one = {0, reinterpret_cast<uint64_t>(&word), 2 /* 32 bits */ | FUTEX_PRIVATE_FLAG, 0};
    result = syscall(449, &one, 1, 0, &until, CLOCK_MONOTONIC);
  }
  if (how == "futex_wait")
    result = syscall(455, &word, 0ul, static_cast<unsigned long>(~0u), 2 | FUTEX_PRIVATE_FLAG, &until, CLOCK_MONOTONIC);
  return result < 0 && errno == ETIMEDOUT;
}

// For a lock that another thread gives up MS after this one has begun to wait.
KERNEL_WAIT inline bool lock_pi(int operation, uint64_t ms) {
  std::atomic<uint32_t> word{0};
  std::atomic<bool> held{false};
  std::thread holder([&] {
    word = static_cast<uint32_t>(gettid());
    held = true;
    held.notify_all();
    while (!(word & FUTEX_WAITERS)) std::this_thread::yield();  // nothing tells of a waiter but this bit
    const timespec time = span(ms);
    nanosleep(&time, nullptr);
    syscall(SYS_futex, &word, FUTEX_UNLOCK_PI_PRIVATE);
  });
  held.wait(false);
  const bool locked = syscall(SYS_futex, &word, operation, 0, nullptr, nullptr, 0) == 0;
  if (!locked) word |= FUTEX_WAITERS;
  holder.join();
  if (locked) syscall(SYS_futex, &word, FUTEX_UNLOCK_PI_PRIVATE);
  return locked;
}

// A page that is not there, and comes late: as from a file on a slow disk.
KERNEL_WAIT inline bool page_fault(uint64_t ms) {
  const int fd = static_cast<int>(syscall(SYS_userfaultfd, O_CLOEXEC));
  if (fd < 0) return false;
  uffdio_api api{};
  api.api = UFFD_API;
  if (ioctl(fd, UFFDIO_API, &api) != 0) return false;
  constexpr size_t kPage = 4096;
  void* page = mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  uffdio_register area{};
  area.range = {reinterpret_cast<uint64_t>(page), kPage};
  area.mode = UFFDIO_REGISTER_MODE_MISSING;
  if (ioctl(fd, UFFDIO_REGISTER, &area) != 0) return false;
  std::thread disk([&] {
    uffd_msg message{};
    if (read(fd, &message, sizeof message) != sizeof message) std::abort();
    const timespec time = span(ms);
    nanosleep(&time, nullptr);
    static const char kContent[kPage] = "x";
    uffdio_copy copy{};
    copy.dst = reinterpret_cast<uint64_t>(page);
    copy.src = reinterpret_cast<uint64_t>(kContent);
    copy.len = kPage;
    if (ioctl(fd, UFFDIO_COPY, &copy) != 0) std::abort();
  });
  const bool there = *static_cast<volatile char*>(page) == 'x';
  disk.join();
  munmap(page, kPage);
  close(fd);
  return there;
}

inline uint64_t handler_ms = 0;

KERNEL_WAIT inline void on_signal(int) {
  const timespec time = span(handler_ms);
  nanosleep(&time, nullptr);
  __asm__ volatile("" ::: "memory");
}

// Inside the handler of a signal, on this stack or on the thread's stack for signals.
KERNEL_WAIT inline bool in_handler(bool own_stack, uint64_t ms) {
  static char other_stack[65536];
  stack_t stack{};
  stack.ss_sp = other_stack;
  stack.ss_size = sizeof other_stack;
  if (own_stack && sigaltstack(&stack, nullptr) != 0) return false;
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = own_stack ? SA_ONSTACK : 0;
  sigaction(SIGUSR2, &action, nullptr);
  handler_ms = ms;
  const bool sent = pthread_kill(pthread_self(), SIGUSR2) == 0;
  __asm__ volatile("" ::: "memory");
  return sent;
}

inline bool wait(const std::string& how, uint64_t ms) {
  if (how == "lock_pi") return lock_pi(FUTEX_LOCK_PI_PRIVATE, ms);
  if (how == "lock_pi2") return lock_pi(13 | FUTEX_PRIVATE_FLAG, ms);
  if (how == "fault") return page_fault(ms);
  if (how == "handler") return in_handler(false, ms);
  if (how == "handler_onstack") return in_handler(true, ms);
  return futex_wait(how, ms);
}

}  // namespace kernel_waits
