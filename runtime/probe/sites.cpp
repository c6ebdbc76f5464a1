// SPDX-License-Identifier: BSD-2-Clause
// The probe sites themselves. Built with -mno-red-zone: see probes.h.
#ifndef FIBER_NO_PROBES
#define FIBERPROF_DEFINE_PROBES
#include <fiberprof/probes.h>
#endif
