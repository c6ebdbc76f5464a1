// SPDX-License-Identifier: BSD-2-Clause
// Counting semaphore.
#pragma once

#include <cstdint>
#include <limits>

#include "fiber/config.h"
#include "fiber/limit.h"
#include "fiber/object.h"

namespace fiber {

// A number of permits. First come first served, however many each wants: who wants many is not overtaken by those who
// want few. Nobody owns a permit, so any fiber or thread may release. Fibers wait; a thread that is no fiber blocks as
// a thread.
//
// Ends the process with a message: a number of permits below 1 (at the start: below 0) or above the maximum, and a
// release that would go beyond the maximum.
class FIBER_API Semaphore {
 public:
  constexpr explicit Semaphore(std::int64_t permits, std::int64_t most = std::numeric_limits<std::int64_t>::max(),
                               const char* name = nullptr)
      : object_(detail::ObjectKind::semaphore, name, permits), most_(most) {
    if (most < 1) detail::bad_count(object_, "made with a maximum of", most);
    if (permits < 0 || permits > most) detail::bad_count(object_, "made with permits beyond its bounds:", permits);
  }
  Semaphore(const Semaphore&) = delete;
  Semaphore& operator=(const Semaphore&) = delete;

  // Waits until `count` permits are free, and takes them all at once.
  void acquire(std::int64_t count = 1) { acquire(count, Limit()); }
  // Done when it has them.
  Status acquire(std::int64_t count, Limit limit);
  [[nodiscard]] Status acquire(Limit limit) { return acquire(1, limit); }
  // False when that would have to wait, or overtake somebody who waits.
  [[nodiscard]] bool try_acquire(std::int64_t count = 1);
  void release(std::int64_t count = 1);
  // A hint.
  std::int64_t available() const { return object_.count.load(std::memory_order_relaxed); }

 private:
  friend struct detail::Layout;
  void check(std::int64_t count) const;
  detail::Object object_;
  std::int64_t most_;
};

}  // namespace fiber
