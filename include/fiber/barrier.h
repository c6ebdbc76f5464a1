// SPDX-License-Identifier: BSD-2-Clause
// Barrier: a fixed number of parties wait for each other, again and again.
#pragma once

#include <cstdint>

#include "fiber/config.h"
#include "fiber/limit.h"
#include "fiber/object.h"

namespace fiber {

// The parties of one round all leave before any arrival counts for a later one, so a fast party cannot be counted
// twice. Fibers wait; a thread that is no fiber blocks as a thread. May be destroyed by whoever arrived last once it is
// back, if nobody waited with a limit. Fewer than one party ends the process with a message.
class FIBER_API Barrier {
 public:
  constexpr explicit Barrier(std::int64_t parties, const char* name = nullptr)
      : object_(detail::ObjectKind::barrier, name), parties_(parties) {
    if (parties < 1) detail::bad_count(object_, "made for a number of parties of", parties);
  }
  Barrier(const Barrier&) = delete;
  Barrier& operator=(const Barrier&) = delete;

  // Waits until all parties have arrived. True for one of them: the last.
  bool arrive_and_wait();
  // Waits no longer than `limit`; unless done, the arrival is withdrawn. `last`, if given: whether the caller was the
  // last.
  Status arrive_and_wait(Limit limit, bool* last = nullptr);

 private:
  friend struct detail::Layout;
  detail::Object object_;
  std::int64_t parties_;
  std::uint64_t round_ = 0;  // guarded by object_.lock
};

}  // namespace fiber
