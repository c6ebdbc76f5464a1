// SPDX-License-Identifier: BSD-2-Clause
// Which of a probe site's nops is the cheapest to attach to on this kernel. A kernel that can turns a probed 5-byte
// nop (from 6.18) or 10-byte nop (from about 7.3) into a call; on others a breakpoint on a multi-byte nop is slower
// than one on a 1-byte nop. Measured, never deduced from a version, and tried whether a forked child survives it.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "support/error.h"

namespace fiberprof {

enum class NopForm : uint8_t { nop1 = 0, nop10 = 1, nop5 = 2 };
inline constexpr int kNopForms = 3;

std::string_view nop_form_name(NopForm form);
// Distance from a probe's site to that nop.
uint64_t nop_form_offset(NopForm form);

struct NopCosts {
  double unattached_ns = 0;                // one guarded site nobody is attached to
  std::array<double, kNopForms> hit_ns{};  // one hit of an empty program; 0: this kernel refuses it
  // With a probe there, a child that the process forks dies of a fault: never chosen.
  std::array<bool, kNopForms> harms_forks{};
  NopForm best = NopForm::nop1;
};

// Attaches an empty program to sites in this very process and times them. Needs the privileges of a session. Takes
// 100 ms, and 300 ms more to detach.
Result<NopCosts> measure_nop_forms();

// The best form, measured once per process, in 40 ms; nop1 if it cannot be measured.
NopForm best_nop_form();

}  // namespace fiberprof
