// SPDX-License-Identifier: BSD-2-Clause
// "All fibers are asleep": what a program says before it aborts because nothing can ever happen in it again.
#include <cstdio>
#include <cstdlib>

#include "registry/registry.h"
#include "report/inspector.h"
#include "sched/monitor.h"
#include "sched/seeded.h"

namespace fiber::detail {

void report_all_asleep() {
  std::fprintf(stderr, "fiber: fatal: all fibers are asleep - deadlock!%s\n", seeded::note());
  constexpr int kMaxShown = 100;
  int shown = 0;
  int hidden = 0;
  Inspector inspector;
  registry_for_each([&](const Fiber* fiber) {
    if (!is_alive(fiber)) return;
    if (shown == kMaxShown) {
      ++hidden;
      return;
    }
    if (const auto report = inspector.report(fiber, fiber->record.id)) {
      ++shown;
      std::fprintf(stderr, "\n%s", to_text(*report).c_str());
    }
  });
  if (hidden != 0) std::fprintf(stderr, "\n... and %d more\n", hidden);
  std::abort();
}

}  // namespace fiber::detail
