// SPDX-License-Identifier: BSD-2-Clause
// What one complete `blocked` event costs the fiber it happens to: hit, stack walk, aggregation.
#pragma once

#include "support/error.h"

namespace fiberprof {

struct EventCost {
  double fixed_ns = 0;      // without its stack
  double per_frame_ns = 0;  // each frame of it
};

// Times the session's own program on a probe of this very process, from a shallow and a deep stack.
Result<EventCost> measure_event_cost();

}  // namespace fiberprof
