// SPDX-License-Identifier: BSD-2-Clause
#include "session/nop_form.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <tuple>

#include "session/calibration.h"
#include "session/nop_sites.h"
#include "session/stopwatch.h"
#include "support/unique_fd.h"

namespace fiberprof {

std::string_view nop_form_name(NopForm form) {
  constexpr std::string_view names[] = {"nop1", "nop10", "nop5"};
  return names[static_cast<int>(form)];
}

uint64_t nop_form_offset(NopForm form) {
#if defined(__x86_64__)
  constexpr uint64_t offsets[] = {0, 1, 11};
  return offsets[static_cast<int>(form)];
#else
  (void)form;
  return 0;
#endif
}

namespace {

// Whether a process that has hit the probe may fork and its child go on. Linux 6.18 gives the child the call that it
// has made of the nop, but not the page that the call goes to.
bool survives_fork(int site) {
  const pid_t child = fork();
  if (child == 0) {
    for (const int fault : {SIGSEGV, SIGBUS, SIGILL, SIGTRAP}) signal(fault, [](int) { _exit(1); });
    for (int i = 0; i < 3; ++i) calibration_site(site);
    _exit(0);
  }
  int status = 1;
  return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

Result<NopCosts> measure_with(Calibration& calibration, [[maybe_unused]] bool every_form) {
  NopCosts costs;
  static volatile uint16_t semaphore = 0;
  costs.unattached_ns = fastest(5, 2000, [] {
    if (__builtin_expect(semaphore != 0, 0)) calibration_site(0);
  });
  const auto measure = [&](NopForm form) {
    const auto index = static_cast<size_t>(form);
    const int site = static_cast<int>(form);
    auto attached = calibration.attach(calibration_site_address(site) + nop_form_offset(form));
    if (!attached) return attached;
    // A kernel that turns the nop into a call does so at one of the first hits.
    for (int i = 0; i < 20; ++i) calibration_site(site);
    costs.hit_ns[index] = fastest(8, 200, [site] { calibration_site(site); });
    costs.harms_forks[index] = !survives_fork(site);
    if (costs.harms_forks[index]) return attached;
    // Any tool can attach at the first nop, so another must be clearly better.
    const double best = costs.hit_ns[static_cast<size_t>(costs.best)];
    if (costs.hit_ns[index] < (costs.best == NopForm::nop1 ? 0.9 : 1.0) * best) costs.best = form;
    return attached;
  };
  if (auto first = measure(NopForm::nop1); !first) return tl::unexpected(first.error());
#if defined(__x86_64__)
  // Either may fail: kernels before about 7.3 refuse the 10-byte nop, whose segment prefix their uprobes do not know.
  // A refusal takes the kernel 70 ms, and no kernel makes both of them fast.
  std::ignore = measure(NopForm::nop5);
  if (every_form || costs.best == NopForm::nop1) std::ignore = measure(NopForm::nop10);
#endif
  return costs;
}

// Measures in a child, because taking a probe out again takes the kernel 100 ms each: the child reports before that,
// and what it leaves is taken out while this process loads its programs.
NopForm measure_in_child() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return NopForm::nop1;
  const UniqueFd from(ends[0]);
  UniqueFd to(ends[1]);
  const pid_t child = fork();
  if (child == 0) {
    auto calibration = Calibration::open();
    const auto costs = calibration ? measure_with(*calibration, false) : tl::unexpected(calibration.error());
    const char best = costs ? static_cast<char>(costs->best) : 0;
    const ssize_t written = write(to.get(), &best, 1);
    _exit(written == 1 ? 0 : 1);  // reaped by init: this process does not outlive its session for long
  }
  to.reset();
  char best = 0;
  pollfd wait{from.get(), POLLIN, 0};
  if (child < 0 || poll(&wait, 1, 1000) != 1 || read(from.get(), &best, 1) != 1) return NopForm::nop1;
  return best > 0 && best < kNopForms ? static_cast<NopForm>(best) : NopForm::nop1;
}

}  // namespace

Result<NopCosts> measure_nop_forms() {
  auto calibration = Calibration::open();
  if (!calibration) return tl::unexpected(calibration.error());
  return measure_with(*calibration, true);
}

NopForm best_nop_form() {
  static const NopForm best = measure_in_child();
  return best;
}

}  // namespace fiberprof
