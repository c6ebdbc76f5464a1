// SPDX-License-Identifier: BSD-2-Clause
#include "render/names.h"

#include <fiberprof/registry.h>

namespace fiberprof {

std::string processor_state_name(uint32_t state) {
  switch (state) {
#define FIBERPROF_STATE_TEXT(value, name, text) \
  case value:                                   \
    return text;
    FIBERPROF_PROCESSOR_STATES(FIBERPROF_STATE_TEXT)
#undef FIBERPROF_STATE_TEXT
    default:
      return "state " + std::to_string(state);
  }
}

bool is_idle(const OffCpuEntry& entry) {
  return !entry.on_fiber && entry.cause != OffCpuCause::preempted && entry.cause != OffCpuCause::fault;
}

}  // namespace fiberprof
