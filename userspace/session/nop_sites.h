// SPDX-License-Identifier: BSD-2-Clause
// Probe sites inside fiberprof itself, laid out as include/fiberprof/probes.h lays them out, but without a note: no
// tool shall take fiberprof for a program on fibers.
#pragma once

#include <cstdint>

namespace fiberprof {

inline constexpr int kCalibrationSites = 5;
// Runs site `index` once, with the arguments of a `blocked` event: a wait of 1,100 ns.
void calibration_site(int index);
// Address of its first nop.
uint64_t calibration_site_address(int index);

}  // namespace fiberprof
