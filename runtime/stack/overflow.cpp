// SPDX-License-Identifier: BSD-2-Clause
#include "stack/overflow.h"

#include <unistd.h>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <mutex>

#include "sched/this_worker.h"

namespace fiber::detail {

namespace {

constexpr std::size_t kSignalStackSize = 64 * 1024;
struct sigaction previous;

// Named to be read in a core dump.
[[noreturn]] __attribute__((noinline)) void the_fiber_overflowed_its_stack(const Fiber* fiber) {
  char text[256];
  const auto size = static_cast<unsigned long long>(fiber->stack.high - fiber->stack.low);
  const int length = std::snprintf(text, sizeof(text),
                                   "fiber: fatal: fiber %llu \"%s\" overflowed its stack of %llu KiB; set "
                                   "FIBER_STACK_SIZE or Options::stack_size (bytes)\n",
                                   static_cast<unsigned long long>(fiber->record.id), fiber->record.name, size / 1024);
  [[maybe_unused]] const ssize_t ignored = write(STDERR_FILENO, text, static_cast<std::size_t>(length));
  signal(SIGABRT, SIG_DFL);
  abort();
}

void on_fault(int number, siginfo_t* info, void* context) {
  const Fiber* fiber = this_fiber();
  if (fiber != nullptr) {
    const auto address = reinterpret_cast<std::uintptr_t>(info->si_addr);
    const auto low = reinterpret_cast<std::uintptr_t>(fiber->stack.low);
    if (address < low && address >= low - page_size()) the_fiber_overflowed_its_stack(fiber);
  }
  // Somebody else's fault: hand it on.
  if ((previous.sa_flags & SA_SIGINFO) != 0 && previous.sa_sigaction != nullptr) {
    previous.sa_sigaction(number, info, context);
  } else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
    previous.sa_handler(number);
  } else {
    signal(number, SIG_DFL);  // the instruction faults again, now for good
  }
}

}  // namespace

void install_overflow_handler() {
  static std::once_flag once;
  std::call_once(once, [] {
    struct sigaction action {};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    sigaction(SIGSEGV, &action, &previous);
  });
}

void SignalStack::enable() {
  if (memory_ == nullptr) memory_ = std::make_unique<char[]>(kSignalStackSize);
  stack_t stack{};
  stack.ss_sp = memory_.get();
  stack.ss_size = kSignalStackSize;
  sigaltstack(&stack, nullptr);
}

void SignalStack::disable() {
  stack_t stack{};
  stack.ss_flags = SS_DISABLE;
  sigaltstack(&stack, nullptr);
}

}  // namespace fiber::detail
