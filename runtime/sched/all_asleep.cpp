// SPDX-License-Identifier: BSD-2-Clause
// "All fibers are asleep": what a program says before it aborts because nothing can ever happen in it again.
#include <execinfo.h>
#include <cstdio>
#include <cstdlib>

#include "registry/registry.h"
#include "sched/clock.h"
#include "sched/monitor.h"
#include "sched/seeded.h"

namespace fiber::detail {

namespace {

// Return addresses of a parked fiber, by the chain of frame records that starts at its saved stack pointer.
int walk(const Fiber* fiber, void** addresses, int capacity) {
  const auto low = reinterpret_cast<std::uintptr_t>(fiber->stack.low);
  const auto high = reinterpret_cast<std::uintptr_t>(fiber->stack.high);
  int count = 0;
  std::uintptr_t frame = fiber->record.sp;
  while (count < capacity && frame >= low && frame + 16 <= high && frame % 8 == 0) {
    const auto* words = reinterpret_cast<const std::uintptr_t*>(frame);
    addresses[count++] = reinterpret_cast<void*>(words[1]);
    if (words[0] <= frame) break;
    frame = words[0];
  }
  return count;
}

}  // namespace

void report_all_asleep() {
  std::fprintf(stderr, "fiber: fatal: all fibers are asleep - deadlock!%s\n", seeded::note());
  constexpr int kMaxShown = 100;
  int shown = 0;
  int hidden = 0;
  const std::uint64_t now = now_ns();
  registry_for_each([&](Fiber* fiber) {
    const fiberprof_fiber& record = fiber->record;
    if (record.id == 0 || record.state != FIBERPROF_FIBER_PARKED) return;
    if (shown == kMaxShown) {
      ++hidden;
      return;
    }
    ++shown;
    std::fprintf(stderr, "\nfiber %llu \"%s\" [%s on %#llx, %.1f s]:\n", static_cast<unsigned long long>(record.id),
                 record.name, reason_text(static_cast<Reason>(record.reason)),
                 static_cast<unsigned long long>(record.resource),
                 now > record.since ? static_cast<double>(now - record.since) / 1e9 : 0.0);
    std::fflush(stderr);
    void* addresses[64];
    backtrace_symbols_fd(addresses, walk(fiber, addresses, 64), 2);
  });
  if (hidden != 0) std::fprintf(stderr, "\n... and %d more\n", hidden);
  std::abort();
}

}  // namespace fiber::detail
