// SPDX-License-Identifier: BSD-2-Clause
// Once: something that is done one time, by whoever comes first.
#pragma once

#include <cstdint>
#include <utility>

#include "fiber/config.h"
#include "fiber/limit.h"
#include "fiber/object.h"

namespace fiber {

// Fibers and threads may call; the latter block as threads. Must outlive the calls.
class FIBER_API Once {
 public:
  constexpr Once() = default;
  // With a name, for tools and messages; static lifetime.
  constexpr explicit Once(const char* name) : object_(detail::ObjectKind::once, name) {}
  Once(const Once&) = delete;
  Once& operator=(const Once&) = delete;

  // Runs `function` if no call has run one to its end yet, and waits if one is running. On return one has. If
  // `function` throws, the exception goes to its caller and the next caller, one that waits first, runs its own. A call
  // from inside `function` ends the process with a message.
  template <class F>
  void call(F&& function) {
    call(std::forward<F>(function), Limit());
  }
  // Waits for the running one no longer than `limit`.
  template <class F>
  Status call(F&& function, Limit limit) {
    if (done()) return Status::done;
    Status status = Status::done;
    if (!begin(limit, status)) return status;
    Turn turn{this};
    std::forward<F>(function)();
    turn.successful = true;
    return status;
  }
  bool done() const { return object_.count.load(std::memory_order_acquire) == kDone; }

 private:
  static constexpr std::int64_t kUnset = 0, kRunning = 1, kDone = 2;
  struct Turn {
    Once* once;
    bool successful = false;
    ~Turn() { once->end(successful); }
  };
  bool begin(const Limit& limit, Status& status);  // true: the caller is to run it, then end()
  void end(bool successful);
  detail::Object object_{detail::ObjectKind::once};
};

}  // namespace fiber
