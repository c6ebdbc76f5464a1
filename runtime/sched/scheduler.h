// SPDX-License-Identifier: BSD-2-Clause
// The scheduler: processors, workers, global queue, and who sleeps.
//
// Life of a worker. With a processor it looks for a fiber, in this order: its processor's `next` and queue; the global
// queue; the network; the queues of other processors. With one, it switches to it; a fiber that parks switches
// directly to the next one in the local queue and comes back to the worker's own stack only when there is none, or
// every so many times, so that the global queue, timers and sockets get their turn. Without one, it gives the processor
// back, looks once more (whoever made work before seeing the idle processor has made it visible by then), and sleeps:
// one worker in epoll_wait with the time-out of the next timer, the others on a futex. Workers beyond kSpareWorkers end
// instead.
//
// Who makes a fiber runnable wakes one more worker if a processor is idle and nobody is already looking ("spinning").
// A worker that finds work while it was the only one looking wakes the next. So workers start one after the other as
// long as there is work, and no wake-up is lost.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "fiber/runtime.h"
#include "net/poller.h"
#include "sched/clock.h"
#include "sched/fiber_list.h"
#include "sched/fiber_pool.h"
#include "sched/park.h"
#include "sched/processor.h"
#include "sched/this_worker.h"

namespace fiber::detail {

// How many decisions apart the clock is read while timers are armed (22 ns), and whether somebody has attached is
// looked at; and how many of these ticks apart a processor looks at the global queue, others' timers and sockets first.
inline constexpr std::uint32_t kTickDecisions = 8, kRoundTicks = 7;

class RunEnd;

class Scheduler {
 public:
  // One per process; it exists for ever, and runs or not.
  static Scheduler& instance();
  constexpr Scheduler() = default;

  void run(const Options& options, const std::function<void()>& main_fiber, const void* entry);
  bool running() const { return running_.load(std::memory_order_acquire); }

  // --- making fibers -----------------------------------------------------------------------------------------------
  Fiber* allocate_fiber();
  std::uint64_t next_id();
  // Memory of a few dozen bytes, from the processor's own store where there is one.
  void* allocate_small(std::size_t size);
  void free_small(void* memory, std::size_t size);
  void recycle(Processor* processor, Fiber* fiber);

  // --- making them runnable ----------------------------------------------------------------------------------------
  void enqueue(Fiber* fiber, ReadyHint hint);
  // From a thread without a processor.
  void enqueue_outside(Fiber* fiber);
  // On `processor`, the caller's, as the one that runs next (sched/ready.h).
  void enqueue_next(Processor* processor, Fiber* fiber);

  // --- leaving the processor ---------------------------------------------------------------------------------------
  // Emits what is due when a processor has come to this thread. Worker only.
  void processor_arrived(Worker* worker);
  // Switches away from the calling fiber; `after` is done once it is off its stack. Returns when it runs again.
  // False, of both: this fiber has no wait to report to a profiler; it spares every resume a test. (Both in
  // sched/switch.h.)
  bool leave(Fiber* fiber, AfterSwitch after);
  bool finish_switch();

  // --- timers ------------------------------------------------------------------------------------------------------
  // Arms it on the calling worker's processor, and sees to it that nobody sleeps past it. Any thread while the runtime
  // runs; disarm() ends it.
  void arm(Timer& timer);

  // --- blocking sections -------------------------------------------------------------------------------------------
  void blocking_begin(Worker* worker, Fiber* fiber);
  void blocking_end(Worker* worker, Fiber* fiber);
  // Takes the processor of a worker that has been in the section `token` for too long and gives it to another.
  bool retake(Processor* processor, std::uint64_t token);

  // --- what others look at -----------------------------------------------------------------------------------------
  unsigned processor_count() const { return processor_count_; }
  Processor& processor(unsigned index) { return *processors_[index]; }
  Poller& poller() { return poller_; }
  FiberPool& pool() { return pool_; }
  bool stopping() const { return stopping_.load(std::memory_order_acquire); }
  bool main_fiber_done() const { return done_.load(std::memory_order_acquire) != 0; }
  // Fibers that exist, as far as another thread can tell while they come and go.
  std::uint64_t live_fibers() const;
  // Who waits in the global queue for longest; null: nobody.
  const Fiber* first_global();
  std::uint32_t idle_processors() const { return idle_processor_count_.load(std::memory_order_seq_cst); }
  std::uint64_t global_size() const { return global_size_.load(std::memory_order_relaxed); }
  // Wakes one worker if there is a processor for it and nobody is looking for work already.
  void wake_one();
  // Whether fibers may be readied without a wake-up while somebody could run them; then the monitor, who asks, must
  // call the other one every millisecond. It wakes a worker for those that seem not to get their turn.
  bool skips_wakes() const;
  void wake_for_skipped();
  // True when no fiber runs, none is runnable, and nothing inside the process can wake one.
  bool everything_asleep();
  // Workers of this run and of earlier ones that are still stuck in a section.
  std::uint32_t worker_threads() const { return worker_threads_.load(std::memory_order_relaxed); }
  const Options& options() const { return options_; }

 private:
  void worker_main(Worker* worker);
  bool wake_for_idle_processor();
  void wake_for_next(Processor* processor);
  void skipping_begins();
  void wake_was_in_vain();
  void wake_was_worth_it();
  Fiber* find_runnable(Worker* worker);
  Fiber* look_once(Worker* worker);
  Fiber* look_seeded(Worker* worker);
  Fiber* steal(Worker* worker);
  void balance(Processor* processor, Processor* other);
  Fiber* pop_global(Processor* processor);
  void finish_switch_slow(Worker* worker, AfterSwitch::Kind kind, void* argument);
  void poll_network();
  bool sleep_in_poller(Worker* worker);
  bool work_visible();
  Fiber* busy_poll(Worker* worker);
  void events_were(bool quick);
  std::uint64_t busy_poll_ns() const { return static_cast<std::uint64_t>(options_.busy_poll.count()); }
  void start_running(Worker* worker, Fiber* fiber);
  void start_running_slow(Worker* worker, Fiber* fiber, std::uint64_t clock);
  bool decide_slowly(Worker* worker, Fiber* fiber);
  void push_global(Fiber* fiber);
  void take_free(Processor* processor);
  void start_spinning(Worker* worker);
  void stop_spinning(Worker* worker);
  std::uint64_t next_timer() const;
  void run_due_timers(Processor* processor);
  bool run_all_due_timers();
  bool sleep_on_futex(Worker* worker);
  Worker* pop_idle_worker();
  void assign(Worker* worker, Processor* processor);
  bool take_idle_processor(Worker* worker);
  void give_back(Worker* worker);
  void put_idle(Processor* processor);
  void give_to_a_worker(Processor* processor);
  void start_thread(Processor* processor, bool spinning);
  void attach_processor(Worker* worker, Processor* processor);
  void shut_down(RunEnd& end);

  Options options_;
  unsigned processor_count_ = 0;
  // Both only ever grow, and serve all runs: outside readers, and threads left behind in a blocking section, may look
  // at them at any time.
  std::vector<std::unique_ptr<Processor>> processors_;  // the first processor_count_ are this run's
  std::vector<std::unique_ptr<Worker>> workers_;        // guarded by lock_

  SpinLock lock_;  // the global queue, the lists of idle processors and of workers
  FiberList global_;
  std::atomic<std::uint64_t> global_size_{0};
  Processor* idle_processor_list_ = nullptr;
  Worker* idle_worker_list_ = nullptr;
  std::uint32_t idle_workers_ = 0;
  Worker* threadless_workers_ = nullptr;  // their threads have ended, or are about to
  FiberPool pool_;
  std::atomic<std::uint32_t> quick_events_{0};  // how quick sockets have been lately (busy_poll)
  std::atomic<bool> busy_polling_{false};       // one worker does

  std::atomic<std::uint32_t> idle_processor_count_{0};
  std::atomic<std::uint32_t> spinning_{0};
  std::atomic<std::uint32_t> wakes_to_skip_{0};  // how many were in vain lately, in a sense; see enqueue_next
  std::atomic<std::uint32_t> blocking_fibers_{0};
  std::atomic<std::uint32_t> worker_threads_{0};
  std::atomic<std::uint32_t> done_{0};  // futex: 1 when the main fiber has returned
  std::atomic<bool> stopping_{false};
  std::atomic<bool> running_{false};
  Poller poller_;
};

// Constant-initialised, and never destroyed: threads that come late must still find it.
union SchedulerStorage {
  Scheduler scheduler;
  constexpr SchedulerStorage() : scheduler() {}
  ~SchedulerStorage() {}
};
extern constinit SchedulerStorage scheduler_storage;
inline Scheduler& Scheduler::instance() { return scheduler_storage.scheduler; }

// xorshift64.
inline std::uint64_t next_random(std::uint64_t& state) {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state;
}

}  // namespace fiber::detail
