// SPDX-License-Identifier: BSD-2-Clause
// What one complete `blocked` event costs the fiber it happens to: hit, stack walk, aggregation.
#pragma once

#include <cstdint>

#include "support/error.h"

namespace fiberprof {

// From a stack of `frames` frames.
struct StackCosts {
  uint32_t frames = 0;
  double complete_ns = 0;  // a complete event
  double walk_ns = 0;      // a program that only has the kernel walk the stack (bpf_get_stack)
};

struct EventCost {
  double empty_ns = 0;  // one hit of a program that does nothing
  StackCosts shallow, deep;
  double per_frame_ns() const {
    const double ns = (deep.complete_ns - shallow.complete_ns) / (deep.frames - shallow.frames);
    return ns > 0 ? ns : 0;
  }
};

// Times the session's own program, and what it is judged by, on probes of this very process. At each of two depths the
// programs take turns, so that what else the machine does falls on all of them.
Result<EventCost> measure_event_cost();

}  // namespace fiberprof
