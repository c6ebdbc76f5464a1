// SPDX-License-Identifier: BSD-2-Clause
// Reader-writer lock: many readers at a time, or one writer.
#pragma once

#include <cstdint>
#include <shared_mutex>

#include "fiber/config.h"
#include "fiber/limit.h"
#include "fiber/object.h"
#include "fiber/timed_lockable.h"

namespace fiber {

// First come first served, readers that arrive in a row together: a waiting writer blocks the readers that come after
// it, so neither kind starves. A reader that locks again while a writer waits therefore never gets in.
//
// Meets SharedTimedLockable: std::shared_lock, std::unique_lock and std::lock_guard work. Fibers; a thread that is no
// fiber may use it too, and then blocks as a thread. Who unlocks must be who locked; a writer must not lock again in
// either way, nor a reader for writing (Options::self_lock_check): all of these end the process with a message. Fibers
// that read show that in their registry record, up to four locks each; further ones, and the readers that are threads,
// are only counted. A reader that ends without unlocking has it locked for ever: nobody may unlock for another.
class FIBER_API RwLock : public detail::SharedTimedLockable<RwLock> {
 public:
  constexpr RwLock() = default;
  // With a name, for tools and messages; static lifetime.
  constexpr explicit RwLock(const char* name) : object_(detail::ObjectKind::rwlock, name) {}
  RwLock(const RwLock&) = delete;
  RwLock& operator=(const RwLock&) = delete;

  // For writing. With a limit: done when it holds the lock; also as try_lock_until(deadline), try_lock_for(time).
  void lock();
  [[nodiscard]] Status lock(Limit limit);
  bool try_lock();
  void unlock();

  // For reading. The same: try_lock_shared_until(), try_lock_shared_for().
  void lock_shared();
  [[nodiscard]] Status lock_shared(Limit limit);
  bool try_lock_shared();
  void unlock_shared();

  // Id of the fiber that holds it for writing (a thread: 2^63 plus its tid), 0: nobody. A hint unless that is the
  // caller.
  std::uint64_t owner() const { return object_.owner.load(std::memory_order_relaxed); }

 private:
  detail::Object object_{detail::ObjectKind::rwlock};
};

}  // namespace fiber
