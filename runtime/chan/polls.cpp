// SPDX-License-Identifier: BSD-2-Clause
#include "chan/polls.h"

namespace fiber::detail {

void poll_moved_nothing(const void* caller) {
  Fiber* fiber = this_fiber();
  if (fiber == nullptr) return;
  fiberprof_fiber& record = fiber->record;
  if (record.reason != FIBERPROF_REASON_NONE || record.polls_of != record.id) {
    publish(record.polls_of, std::uint64_t{0});
    publish(record.polls, std::uint64_t{0});
    publish(record.polls_since, coarse_clock());
    publish(record.reason, static_cast<std::uint8_t>(FIBERPROF_REASON_NONE));
    publish(record.polls_of, record.id);
  }
  publish(record.polls, record.polls + 1);
  publish(record.polls_at, reinterpret_cast<std::uint64_t>(caller));
}

}  // namespace fiber::detail
