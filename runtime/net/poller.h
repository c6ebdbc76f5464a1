// SPDX-License-Identifier: BSD-2-Clause
// Sockets and epoll: one edge-triggered instance, one handle per descriptor.
#pragma once

#include <sys/epoll.h>
#include <atomic>
#include <cstdint>
#include <vector>

#include "fiber/time.h"
#include "net/poller_turn.h"
#include "sched/park.h"
#include "sched/spinlock.h"

namespace fiber::detail {

// Type-stable: an event that epoll reported before the descriptor was closed may still arrive afterwards, and then
// only makes the next user of the handle try once too often.
enum Direction : unsigned { kRead = 0, kWrite = 1 };

struct PollHandle {
  SpinLock lock;
  int fd = -1;
  bool closed = false;
  // By Direction: an attempt may succeed. Set by an edge that nobody waited for, and by whoever leaves something
  // behind; taken back before an attempt, so that an edge that comes during it counts.
  std::atomic<bool> ready[2] = {false, false};
  // The peer has finished, or sent urgent data: a read that got less than it asked for may leave something behind.
  std::atomic<bool> ends_early{false};
  Claim* waiter[2] = {nullptr, nullptr};
  PollHandle* next_free = nullptr;

  bool take_ready(Direction direction) {
    if (!ready[direction].load(std::memory_order_relaxed)) return false;
    return ready[direction].exchange(false, std::memory_order_acq_rel);
  }
  void set_ready(Direction direction) { ready[direction].store(true, std::memory_order_release); }
};

class Poller {
 public:
  // Opens epoll and the eventfd behind interrupt(). Once. False: errno says why.
  bool open();

  // Registers a non-blocking descriptor. Null: errno says why.
  PollHandle* add(int fd);
  // Wakes the waiters with -ECANCELED, closes the descriptor and gives the handle back.
  void close(PollHandle* handle);

  // Parks until the descriptor may be ready: 0; -ETIMEDOUT; -ECANCELED when closed meanwhile. At most one fiber per
  // direction: a second one gets -EBUSY.
  int wait(PollHandle* handle, Direction direction, Reason reason, Deadline deadline);

  // How many fibers wait for sockets.
  std::uint32_t waiters() const { return waiters_.load(std::memory_order_relaxed); }

  // --- for the scheduler
  // -----------------------------------------------------------------------------------------------
  static constexpr int kMaxEvents = 128;
  // acquire, release, and until when the holder sleeps.
  BasicPollerTurn<StdAtomics> turn;
  // Waits up to timeout_ns (0: only look); returns how many events there are for dispatch(). The holder only.
  int wait_events(std::uint64_t timeout_ns);
  void dispatch(int events);
  // Ends a sleep in wait_events, now or the next one.
  void interrupt();

 private:
  void on_events(PollHandle* handle, std::uint32_t events);

  int epoll_fd_ = -1;
  int event_fd_ = -1;
  std::atomic<bool> interrupted_{false};
  std::atomic<std::uint32_t> waiters_{0};
  SpinLock free_lock_;
  PollHandle* free_ = nullptr;
  std::vector<epoll_event> events_;
};

}  // namespace fiber::detail
