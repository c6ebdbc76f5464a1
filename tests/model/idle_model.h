// SPDX-License-Identifier: BSD-2-Clause
// A model of how workers fall asleep and are woken: runtime/sched/wake.cpp, look.cpp and idle.cpp, function by function
// and in their order of accesses. The poller's turn is the code itself (net/poller_turn.h). What differs is said at
// each function:
//
//   - a run queue is a number of fibers (the queue itself: run_queue_test.cpp), a fiber only counts that it has run;
//   - lists are sets of bits, under the same lock;
//   - there is one timer, and time passes when a sleep with a time-out ends: then it is due;
//   - start_thread takes from a few workers that have not started yet;
//   - wake-ups are skipped only where a scenario says that earlier ones were in vain; later ones are not counted;
//   - of the monitor there is what it does about skipped wake-ups. After a brief sleep its next look is judged by what
//   it
//     would see; its longer sleeps do not end by themselves.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>

#include "explorer.h"
#include "net/poller_turn.h"

namespace model {

// Bugs put in on purpose. The last two were in the runtime: deaf_spinner, a waker that counted as spinning, found no
// idle processor and went, did not look whether one had become idle meanwhile, for which another waker had not been
// needed because of it; sleep_beyond_published, sleeping longer than others were told, when the timer was gone on the
// second look.
// The others: skips_to_nothing, a count of wake-ups to skip that says 0 when the last one was skipped; unheard_idle, a
// processor becomes idle and the monitor is not told; no_monitor and monitor_looks_once.
enum class IdleBug {
  none,
  no_second_look,
  no_fence_in_wake,
  no_monitor,
  monitor_looks_once,
  skips_to_nothing,
  unheard_idle,
  no_release_check,
  deaf_spinner,
  sleep_beyond_published
};

struct IdleModel {
  static constexpr unsigned kMost = 4;
  static constexpr std::uint64_t kNever = 100, kSooner = 5, kSoon = 10;

  struct Worker {
    Atomic<int> wake;          // Worker::wake
    Plain<int> processor{-1};  // Worker::processor
    Plain<bool> spinning;      // Worker::spinning
    unsigned ran = 0, pushed = 0;
  };

  const unsigned processors;
  const IdleBug bug;
  Lock lock;                        // lock_
  Plain<unsigned> idle_processors;  // idle_processor_list_
  Plain<unsigned> idle_workers;     // idle_worker_list_
  Plain<unsigned> not_started;
  Atomic<int> idle_count;            // idle_processor_count_
  Atomic<int> spinning;              // spinning_
  Atomic<int> global;                // global_size_
  std::array<Atomic<int>, 2> local;  // Processor::queue
  fiber::detail::BasicPollerTurn<Atomics> turn;
  Atomic<int> eventfd;
  Atomic<bool> interrupted;                // Poller::interrupted_
  Atomic<std::uint64_t> earliest{kNever};  // TimerHeap::earliest_
  std::array<Worker, kMost> workers;
  unsigned fired[kMost] = {};
  Atomic<int> in_vain;         // wakes_to_skip_
  Atomic<int> skip;            // Processor::wakes_to_skip of processor 0: nobody else readies fibers so
  Atomic<bool> monitor_dozes;  // monitor_sleep
  Atomic<bool> monitor_woken;  // Monitor::generation_ has changed since the monitor took note of it
  unsigned ticks_left = 1;
  bool ticking = false;  // it would look again

  IdleModel(unsigned processor_count, unsigned worker_count, IdleBug left_out)
      : processors(processor_count), bug(left_out) {
    not_started.set((1u << worker_count) - 1);
  }

  // --- as set up: the worker holds the processor, and will find nothing
  void holds(unsigned worker, int processor) {
    not_started.set(not_started.get() & ~(1u << worker));
    workers[worker].processor.set(processor);
  }
  void idle(int processor) {
    idle_processors.set(idle_processors.get() | 1u << processor);
    idle_count.fetch_add(1);
  }

  // --- push_global, push_local (scheduler.cpp) and enqueue
  void push_global() {
    lock.lock();
    global.store(global.load(std::memory_order_relaxed) + 1, std::memory_order_seq_cst);
    lock.unlock();
  }
  void push_local(int processor) { local[static_cast<unsigned>(processor)].fetch_add(1, std::memory_order_release); }

  // as set up: earlier wake-ups were in vain, and the processor has skipped all but the last of the next ones
  void skips() {
    in_vain.store(1);
    skip.store(1 + least());
  }
  // the count at which a wake-up is not skipped
  int least() const { return bug == IdleBug::skips_to_nothing ? 0 : 1; }

  // enqueue_next, by the worker that holds processor 0
  void push_next(unsigned number) {
    push_local(0);
    ++workers[number].pushed;
    const int left = skip.load(std::memory_order_relaxed);
    if (left > least()) {
      skip.store(left - 1, std::memory_order_relaxed);
      forget_at(26, number);
      return;
    }
    // wake_for_next
    const int skipped = in_vain.load(std::memory_order_relaxed);
    skip.store(skipped == 0 ? 0 : skipped + least(), std::memory_order_relaxed);
    if (skipped != 0 && left == 0) skipping_begins(number);
    forget_at(25, number);
    wake_one(number);
  }

  void skipping_begins(unsigned number) {
    Atomics::fence(std::memory_order_seq_cst);
    const bool dozes = monitor_dozes.load(std::memory_order_relaxed);
    forget_at(24, number, dozes);
    if (dozes && skips_wakes()) monitor_woken.store(true);
  }

  bool skips_wakes() const {
    return idle_count.load(std::memory_order_seq_cst) != 0 && skip.load(std::memory_order_relaxed) != 0;
  }

  // wake_for_skipped, of a processor that stands still: whether somebody would be woken
  bool waits_skipped() const {
    return skip.load(std::memory_order_relaxed) != 0 && local[0].load(std::memory_order_acquire) != 0;
  }

  static constexpr unsigned kMonitor = kMost + 1;
  void monitor() {
    for (;;) {
      forget_at(20, kMonitor);
      monitor_woken.exchange(false, std::memory_order_acq_rel);
      const bool skips = skips_wakes();
      forget_at(21, kMonitor, skips);
      if (!skips) {
        monitor_dozes.store(true, std::memory_order_seq_cst);
        Atomics::fence(std::memory_order_seq_cst);
        const bool now_skips = bug != IdleBug::monitor_looks_once && skips_wakes();
        forget_at(22, kMonitor, now_skips);
        if (!now_skips) monitor_woken.await(true, "somebody who skips");
        monitor_dozes.store(false, std::memory_order_relaxed);
      } else if (ticks_left-- == 0) {
        ticking = true;
        return;
      }
      forget_at(23, kMonitor);
      if (skips_wakes() && waits_skipped()) wake_one(kMonitor);
    }
  }

  // caller: the worker, which has a processor, or a foreign thread, or the monitor
  static constexpr unsigned kForeign = kMost;
  void wake_one(unsigned caller) {
    if (processors == 1 && caller < kMost) return;
    forget_at(6, caller);
    if (bug != IdleBug::no_fence_in_wake) Atomics::fence(std::memory_order_seq_cst);
    for (;;) {
      if (idle_count.load(std::memory_order_relaxed) == 0) return;
      int nobody = 0;
      forget_at(7, caller);
      if (!spinning.compare_exchange_strong(nobody, 1, std::memory_order_acq_rel)) return;
      int processor = -1, worker = -1;
      bool interrupt = false;
      lock.lock();
      processor = first_of(idle_processors);
      if (processor >= 0) {
        worker = first_of(idle_workers);
        interrupt = worker < 0 && turn.sleeps_until() != 0;
        if (interrupt) {
          processor = -1;
        } else {
          split();
          take_processor(processor);
          if (worker >= 0) remove(idle_workers, worker);
        }
      }
      forget_at(8, caller,
                static_cast<unsigned>(processor + 1) + 4 * static_cast<unsigned>(worker + 1) + 32 * interrupt);
      lock.unlock();
      if (processor < 0) {
        spinning.fetch_sub(1, std::memory_order_acq_rel);
        if (interrupt) {
          this->interrupt();
          return;
        }
        if (bug == IdleBug::deaf_spinner) return;
        Atomics::fence(std::memory_order_seq_cst);
        forget_at(9, caller);
        continue;
      }
      if (worker < 0) {  // start_thread
        lock.lock();
        worker = first_of(not_started);
        check(worker >= 0, "the scenario has too few workers");
        remove(not_started, worker);
        lock.unlock();
      }
      workers[static_cast<unsigned>(worker)].spinning.set(true);
      // assign
      workers[static_cast<unsigned>(worker)].processor.set(processor);
      workers[static_cast<unsigned>(worker)].wake.store(1, std::memory_order_release);
      return;
    }
  }

  bool take_idle_processor(Worker& worker) {
    lock.lock();
    const int processor = first_of(idle_processors);
    if (processor >= 0) {
      take_processor(processor);
      worker.processor.set(processor);
    }
    lock.unlock();
    return processor >= 0;
  }

  void give_back(Worker& worker) {
    const int processor = worker.processor.get();
    worker.processor.set(-1);
    lock.lock();
    if (processor == 0) skip.store(0, std::memory_order_relaxed);
    idle_processors.set(idle_processors.get() | 1u << processor);
    idle_count.fetch_add(1, std::memory_order_seq_cst);
    lock.unlock();
  }

  bool work_visible() {
    if (global.load(std::memory_order_seq_cst) != 0) return true;
    for (unsigned i = 0; i < processors; ++i) {
      if (local[i].load(std::memory_order_acquire) != 0) return true;
    }
    return earliest.load(std::memory_order_seq_cst) == 0;  // next_timer() is due
  }

  // arm; the heap's lock is left out, for there is one timer
  void arm() {
    earliest.store(kSoon, std::memory_order_seq_cst);
    const std::uint64_t sleeps_until = turn.sleeps_until();
    if (sleeps_until != 0 && kSoon < sleeps_until) interrupt();
  }
  bool disarm(std::uint64_t when) { return earliest.compare_exchange_strong(when, kNever, std::memory_order_seq_cst); }
  // TimerHeap::fire, by whoever sees it due; its fiber goes to the processor of the worker.
  bool run_all_due_timers(unsigned worker) {
    if (earliest.load(std::memory_order_relaxed) != 0) return false;
    std::uint64_t due = 0;
    if (!earliest.compare_exchange_strong(due, kNever, std::memory_order_seq_cst)) return false;
    ++fired[worker];
    return true;
  }

  // look_once: whether a fiber was found
  bool look_once(unsigned worker) {
    run_all_due_timers(worker);
    if (pop(local[static_cast<unsigned>(workers[worker].processor.get())])) return true;
    if (global.load(std::memory_order_relaxed) != 0) {  // pop_global
      lock.lock();
      const int size = global.load(std::memory_order_relaxed);
      if (size != 0) global.store(size - 1, std::memory_order_seq_cst);
      lock.unlock();
      if (size != 0) return true;
    }
    return false;
  }

  bool steal(Worker& worker) {
    for (unsigned i = 0; i < processors; ++i) {
      if (static_cast<int>(i) != worker.processor.get() && pop(local[i])) return true;
    }
    return false;
  }

  void start_spinning(Worker& worker) {
    if (worker.spinning.get() || processors == 1) return;
    worker.spinning.set(true);
    spinning.fetch_add(1, std::memory_order_acq_rel);
  }

  void stop_spinning(unsigned number) {
    Worker& worker = workers[number];
    if (!worker.spinning.get()) return;
    worker.spinning.set(false);
    if (spinning.fetch_sub(1, std::memory_order_acq_rel) == 1) wake_one(number);
  }

  // find_runnable
  void find_runnable(unsigned number) {
    Worker& worker = workers[number];
    for (;;) {
      forget_at(1, number);
      if (worker.processor.get() < 0) {
        sleep_on_futex(number);
        continue;
      }
      bool found = look_once(number);
      if (!found && processors > 1) {
        if (!worker.spinning.get()) {
          const int busy = static_cast<int>(processors) - idle_count.load(std::memory_order_relaxed);
          if (2 * spinning.load(std::memory_order_relaxed) < busy) start_spinning(worker);
        }
        if (worker.spinning.get()) found = steal(worker);
        if (found && in_vain.load(std::memory_order_relaxed) != 0) in_vain.store(0, std::memory_order_relaxed);
      }
      forget_at(11, number, found);
      if (found) {
        stop_spinning(number);
        return;
      }
      forget_at(2, number);
      give_back(worker);
      if (worker.spinning.get()) {
        worker.spinning.set(false);
        spinning.fetch_sub(1, std::memory_order_acq_rel);
      }
      Atomics::fence(std::memory_order_seq_cst);
      if (bug != IdleBug::no_second_look && work_visible() && take_idle_processor(worker)) {
        start_spinning(worker);
        continue;
      }
      if (bug != IdleBug::unheard_idle) skipping_begins(number);
      forget_at(3, number);
      if (!sleep_in_poller(number)) sleep_on_futex(number);
    }
  }

  bool sleep_in_poller(unsigned number) {
    Worker& worker = workers[number];
    if (!turn.acquire()) return false;
    std::uint64_t next = earliest.load(std::memory_order_seq_cst);
    turn.set_sleeps_until(next);
    const std::uint64_t again = earliest.load(std::memory_order_seq_cst);
    next = bug == IdleBug::sleep_beyond_published ? again : std::min(next, again);
    bool wait = false;
    if (bug == IdleBug::no_second_look || !work_visible())
      wait = next == kNever;  // else until a time that comes: it may return at any moment
    forget_at(4, number, 2 * next + wait);
    // wait_events
    if (wait) eventfd.await_not(0, "epoll");
    const bool event = eventfd.load(std::memory_order_acquire) != 0;
    if (next != kNever) {  // time has passed
      std::uint64_t armed = earliest.load(std::memory_order_seq_cst);
      if (armed != 0 && armed <= next) earliest.compare_exchange_strong(armed, 0, std::memory_order_seq_cst);
    }
    turn.set_sleeps_until(0);
    take_idle_processor(worker);
    forget_at(10, number, event);
    if (worker.processor.get() >= 0) start_spinning(worker);
    if (event) {  // dispatch
      eventfd.store(0, std::memory_order_seq_cst);
      interrupted.store(false, std::memory_order_release);
    }
    forget_at(12, number);
    const bool wanted = turn.release();
    if (wanted && bug != IdleBug::no_release_check && worker.processor.get() < 0 && take_idle_processor(worker)) {
      start_spinning(worker);
    }
    return worker.processor.get() >= 0;
  }

  void interrupt() {
    if (interrupted.exchange(true, std::memory_order_acq_rel)) return;
    eventfd.store(1, std::memory_order_seq_cst);
  }

  void sleep_on_futex(unsigned number) {
    forget_at(5, number);
    lock.lock();
    workers[number].wake.store(0, std::memory_order_relaxed);
    idle_workers.set(idle_workers.get() | 1u << number);
    lock.unlock();
    workers[number].wake.await(1, "its futex");
  }

  // A worker that has not started; it begins like one that has been woken.
  void await_start(unsigned number) { workers[number].wake.await(1, "its start"); }

 private:
  // The point in the code, and all that the thread still knows there.
  void forget_at(std::uint64_t place, unsigned thread, std::uint64_t known = 0) {
    std::uint64_t left = thread == kMonitor ? ticks_left : 0;
    if (thread < kMost) left = workers[thread].ran + 16 * fired[thread] + 256 * workers[thread].pushed;
    forget(place + 100 * thread, left + 4096 * known);
  }
  static int first_of(const Plain<unsigned>& set) { return set.get() == 0 ? -1 : std::countr_zero(set.get()); }
  static void remove(Plain<unsigned>& set, int which) { set.set(set.get() & ~(1u << which)); }
  void take_processor(int processor) {
    remove(idle_processors, processor);
    idle_count.fetch_sub(1, std::memory_order_seq_cst);
  }
  static bool pop(Atomic<int>& queue) {
    int size = queue.load(std::memory_order_acquire);
    while (size != 0) {
      if (queue.compare_exchange_strong(size, size - 1, std::memory_order_acq_rel)) return true;
    }
    return false;
  }
};

}  // namespace model
