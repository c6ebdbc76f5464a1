// SPDX-License-Identifier: BSD-2-Clause
#include "session/nop_form.h"

#include <link.h>
#include <time.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "session/calibration.h"
#include "session/nop_sites.h"

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

uint64_t now_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000000000u + static_cast<uint64_t>(now.tv_nsec);
}

// ns per call of `body`: the fastest of `rounds` batches, as a busy machine only ever adds.
template <class Body>
double fastest(int rounds, int batch, Body body) {
  double best = 1e18;
  for (int round = 0; round < rounds; ++round) {
    const uint64_t start = now_ns();
    for (int i = 0; i < batch; ++i) body();
    best = std::min(best, static_cast<double>(now_ns() - start) / batch);
  }
  return best;
}

}  // namespace

Result<NopCosts> measure_nop_forms() {
  auto calibration = Calibration::open();
  if (!calibration) return tl::unexpected(calibration.error());
  NopCosts costs;
  static volatile uint16_t semaphore = 0;
  costs.unattached_ns = fastest(5, 2000, [] {
    if (__builtin_expect(semaphore != 0, 0)) calibration_site(0);
  });
#if defined(__x86_64__)
  constexpr int forms = kNopForms;
#else
  constexpr int forms = 1;
#endif
  // Kernels before about 7.3 refuse the 10-byte nop: it carries a segment prefix, which their uprobes do not know.
  std::array<bool, kNopForms> usable{};
  for (int form = 0; form < forms; ++form) {
    const uint64_t at = calibration_site_address(form) + nop_form_offset(static_cast<NopForm>(form));
    auto attached = calibration->attach(CalibrationProgram::empty, at);
    usable[static_cast<size_t>(form)] = attached.has_value();
    if (!attached && form == 0) return tl::unexpected(attached.error());
  }
  for (int form = 0; form < forms; ++form) {
    if (!usable[static_cast<size_t>(form)]) continue;
    // A kernel that turns the nop into a call does so at one of the first hits.
    for (int i = 0; i < 20; ++i) calibration_site(form);
    costs.hit_ns[static_cast<size_t>(form)] = fastest(8, 200, [form] { calibration_site(form); });
  }
  // Any tool can attach at the first nop, so another must be clearly better.
  for (int form = 1; form < forms; ++form) {
    const double cost = costs.hit_ns[static_cast<size_t>(form)];
    if (usable[static_cast<size_t>(form)] && cost < 0.9 * costs.hit_ns[0] && cost < costs.hit_ns[static_cast<size_t>(costs.best)])
      costs.best = static_cast<NopForm>(form);
  }
  return costs;
}

NopForm best_nop_form() {
  static const NopForm best = [] {
    const auto costs = measure_nop_forms();
    return costs ? costs->best : NopForm::nop1;
  }();
  return best;
}

}  // namespace fiberprof
