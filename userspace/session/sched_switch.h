// SPDX-License-Identifier: BSD-2-Clause
#pragma once

namespace fiberprof {

// Whether this kernel's sched_switch passes the state of the thread that leaves as a fourth argument (5.18). Read from
// the task it may already have been changed by a waker, and a sleep would be taken for a preemption.
bool sched_switch_passes_state();

}  // namespace fiberprof
