// SPDX-License-Identifier: BSD-2-Clause
// Sockets and epoll: one edge-triggered instance, one handle per descriptor.
#pragma once

#include <sys/epoll.h>
#include <atomic>
#include <cstdint>
#include <vector>

#include "fiber/limit.h"
#include "net/poller_turn.h"
#include "sched/park.h"
#include "sched/spinlock.h"

namespace fiber::detail {

enum Direction : unsigned { kRead = 0, kWrite = 1 };

// The runtime's side of one descriptor.
//
// It has an owner, the socket object, and at most one operation per direction (net/operation.h); all of them, and
// whether the descriptor has been closed, are bits of `state`. The descriptor is closed once it is to be and no
// operation may be using it: otherwise one that has been overtaken would read from whatever has got its number by now.
// Operations that are parked use nothing, so close() takes them over. The handle is free once the owner and the
// operations have left it. Each of the two is done by whoever takes away the last bit in its way.
//
// Type-stable: an event that epoll reported before the descriptor was closed may still arrive afterwards, and then
// only makes the next user of the handle try once too often.
struct PollHandle {
  static constexpr std::uint32_t kClosed = 4, kOwnerless = 8, kOperations = 3;
  static constexpr std::uint32_t busy(Direction direction) { return 1u << direction; }
  // That operation is a thread's, and goes on when the runtime ends.
  static constexpr std::uint32_t by_thread(Direction direction) { return 16u << direction; }
  static constexpr std::uint32_t operation(Direction direction) { return busy(direction) | by_thread(direction); }

  std::atomic<std::uint32_t> state{0};
  SpinLock lock;
  std::atomic<int> fd{-1};
  // By Direction: an attempt may succeed. Set by an edge that nobody waited for, and by whoever leaves something
  // behind; taken back before an attempt, so that an edge that comes during it counts.
  std::atomic<bool> ready[2] = {false, false};
  // The peer has finished, or sent urgent data: a read that got less than it asked for may leave something behind.
  std::atomic<bool> ends_early{false};
  std::atomic<Deadline> deadline[2] = {Deadline::max(), Deadline::max()};  // by Direction
  Claim* waiter[2] = {nullptr, nullptr};
  PollHandle* next_free = nullptr;
  PollHandle* next_made = nullptr;  // of all there are

  bool closed() const { return (state.load(std::memory_order_acquire) & kClosed) != 0; }
  bool take_ready(Direction direction) {
    if (!ready[direction].load(std::memory_order_relaxed)) return false;
    return ready[direction].exchange(false, std::memory_order_acq_rel);
  }
  void set_ready(Direction direction) { ready[direction].store(true, std::memory_order_release); }
};

class Poller {
 public:
  // Opens epoll and the eventfd behind interrupt(). Once; the second time and later: nothing. False: errno says why.
  bool open();
  // In a forked child: closes its copies of the descriptors, and open() makes new ones. Sockets made before are not in
  // those, and so are of no use to the child.
  void leave_to_parent();

  // Registers a non-blocking descriptor. Null: errno says why.
  PollHandle* add(int fd);
  // Wakes the waiters with kClosed, and closes the descriptor when no operation uses it.
  void close(PollHandle* handle);
  // The owner leaves it, after close().
  void release(PollHandle* handle);

  // An operation begins, and ends. begin: 0, -ECANCELED or -EBUSY.
  int begin(PollHandle* handle, Direction direction);
  void end(PollHandle* handle, Direction direction);
  // Parks the operation until the descriptor may be ready. kClosed: the operation has ended, without end().
  enum Outcome : std::uint32_t { kReady, kClosed };  // or kTimedOut, kCancelled
  std::uint32_t wait(PollHandle* handle, Direction direction, Reason reason, const Limit& limit);

  // Somebody who waits on a handle because there are no descriptors left. On his stack.
  struct Starved {
    explicit Starved(PollHandle* waits_on) : handle(waits_on) {}
    PollHandle* handle;
    Starved* next = nullptr;
    bool listed = false;
  };
  // From now on a descriptor that becomes free makes his handle ready to be read from, once. False: he is in the list
  // already.
  bool starve(Starved& starved);
  void leave(Starved& starved);
  // A descriptor has been closed.
  void descriptor_closed() {
    if (starved_count_.load(std::memory_order_seq_cst) != 0) feed_one();
  }

  // The runtime has ended: the operations of its fibers, which will not go on, end here, so that what they waited on
  // can be used by the next one.
  void end_abandoned();

  // How many fibers and threads wait for sockets.
  std::uint32_t waiters() const {
    return waiting_fibers_.load(std::memory_order_relaxed) + waiting_threads_.load(std::memory_order_relaxed);
  }

  // --- for the scheduler -------------------------------------------------------------------------------------------
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
  void recycle(PollHandle* handle);
  void close_descriptor(int fd);
  void feed_one();

  std::atomic<int> epoll_fd_{-1};  // set last of what open() sets
  int event_fd_ = -1;
  std::atomic<bool> interrupted_{false};
  std::atomic<std::uint32_t> waiting_fibers_{0};
  std::atomic<std::uint32_t> waiting_threads_{0};
  SpinLock free_lock_;
  PollHandle* free_ = nullptr;
  PollHandle* made_ = nullptr;  // guarded by free_lock_, too
  std::vector<epoll_event> events_;
  SpinLock starved_lock_;  // taken before that of a handle
  Starved* starved_ = nullptr;
  std::atomic<std::uint32_t> starved_count_{0};
};

}  // namespace fiber::detail
