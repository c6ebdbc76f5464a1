// SPDX-License-Identifier: BSD-2-Clause
// site_cost PID empty|walk: attaches a program that does nothing, or only takes the user stack, to the probe
// fiber:blocked of a process, where a recording attaches its own. Says "attached"; detaches at the end of its input.
#include <cstdio>
#include <cstring>
#include <string>

#include "process/target.h"
#include "session/calibration.h"
#include "session/nop_form.h"

int main(int count, char** arguments) {
  using namespace fiberprof;
  if (count != 3) {
    std::fprintf(stderr, "usage: site_cost PID empty|walk\n");
    return 2;
  }
  const auto program = std::strcmp(arguments[2], "walk") == 0 ? CalibrationProgram::walk : CalibrationProgram::empty;
  const auto failed = [](const Error& error) {
    std::fprintf(stderr, "site_cost: %s\n", error.message().c_str());
    return 1;
  };
  FiberFinder finder;
  const auto process = finder.resolve(arguments[1]);
  if (!process) return failed(process.error());
  auto calibration = Calibration::open();
  if (!calibration) return failed(calibration.error());
  for (const Probe& probe : process->binary.probes) {
    if (probe.name != "blocked") continue;
    NopForm form = best_nop_form();
    if ((form == NopForm::nop5 && !probe.nop5) || (form == NopForm::nop10 && !probe.nop10)) form = NopForm::nop1;
    const CalibrationSite site{process->binary.path, probe.offset + nop_form_offset(form), probe.semaphore_offset,
                               static_cast<int>(process->pid)};
    if (const auto attached = calibration->attach(site, program); !attached) return failed(attached.error());
  }
  std::puts("attached");
  std::fflush(stdout);
  while (std::getchar() != EOF) {
  }
}
