// SPDX-License-Identifier: BSD-2-Clause
// Looking for work, and sleeping when there is none. The protocol is told at the top of scheduler.h.
#include <algorithm>
#include <mutex>

#include "probe/emit.h"
#include "registry/registry.h"
#include "sched/futex.h"
#include "sched/monitor.h"
#include "sched/seeded.h"
#include "sched/scheduler.h"
#include "sched/switch.h"

namespace fiber::detail {

namespace {

constexpr int kStealRounds = 4;
constexpr int kStillPauses = 100;  // 1 to 4 us
// After a wake-up that found nothing to steal, a processor does without the next few for a fiber it is about to run
// itself, more of them each time.
constexpr std::uint32_t kMostSkippedWakes = 4096;
// So many idle threads beyond one per processor are kept for the next blocking sections.
constexpr std::uint32_t kSpareWorkers = 8;

// Nobody may have ticked while everything slept.
void refresh_coarse_clock() {
  if (!probe::anybody_attached()) set_coarse_clock(now_ns());
}

}  // namespace

// --- waking ----------------------------------------------------------------------------------------------------------

void Scheduler::wake_one() {
  // With one processor, a worker that holds it finds its own work.
  Worker* self = this_worker();
  if (processor_count_ == 1 && self != nullptr && self->processor != nullptr && !self->in_blocking) return;
  // The other half is in find_runnable: the worker publishes that its processor is idle, then looks at the queues.
  do {
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (idle_processor_count_.load(std::memory_order_relaxed) == 0) return;
    std::uint32_t nobody = 0;
    if (!spinning_.compare_exchange_strong(nobody, 1, std::memory_order_acq_rel)) return;
    // No processor was left: then a worker may have given one back meanwhile, and another waker have gone because this
    // one seemed to be looking for work.
  } while (!wake_for_idle_processor());
}

// Counts as spinning. False, and no longer so: all processors are taken.
bool Scheduler::wake_for_idle_processor() {
  Processor* processor = nullptr;
  Worker* worker = nullptr;
  bool interrupt = false;
  {
    std::lock_guard guard(lock_);
    processor = idle_processor_list_;
    if (processor != nullptr) {
      worker = idle_worker_list_;
      interrupt = worker == nullptr && poller_.turn.sleeps_until() != 0;
      if (interrupt) {
        processor = nullptr;  // the worker in epoll_wait takes it itself
      } else {
        idle_processor_list_ = processor->next_idle;
        idle_processor_count_.fetch_sub(1, std::memory_order_seq_cst);
        pop_idle_worker();
      }
    }
  }
  if (processor == nullptr) {
    spinning_.fetch_sub(1, std::memory_order_acq_rel);
    if (interrupt) poller_.interrupt();
    return interrupt;
  }
  if (worker == nullptr) {
    start_thread(processor, true);
  } else {
    worker->spinning = true;
    worker->woken_in_vain = true;
    assign(worker, processor);
  }
  return true;
}

void Scheduler::wake_for_next(Processor* processor) {
  const std::uint32_t skipped = wakes_to_skip_.load(std::memory_order_relaxed);
  const bool begins = skipped != 0 && processor->wakes_to_skip.load(std::memory_order_relaxed) == 0;
  processor->wakes_to_skip.store(skipped == 0 ? 0 : skipped + 1, std::memory_order_relaxed);
  if (begins) skipping_begins();
  wake_one();
}

// A processor begins to skip wake-ups, or one becomes idle while another skips them. The monitor either sees that
// before it sleeps longer than a millisecond, or is seen to do so.
void Scheduler::skipping_begins() {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (monitor_sleeps_long() && skips_wakes()) monitor_wake_up();
}

bool Scheduler::skips_wakes() const {
  if (idle_processors() == 0) return false;
  for (unsigned i = 0; i < processor_count_; ++i) {
    if (processors_[i]->wakes_to_skip.load(std::memory_order_relaxed) != 0) return true;
  }
  return false;
}

void Scheduler::wake_for_skipped() {
  for (unsigned i = 0; i < processor_count_; ++i) {
    const Processor& processor = *processors_[i];
    if (processor.wakes_to_skip.load(std::memory_order_relaxed) == 0) continue;
    const std::uint32_t waiting = processor.depth();
    if (waiting > 1 || (waiting == 1 && processor.stands_still())) return wake_one();
  }
}

void Scheduler::attach_processor(Worker* worker, Processor* processor) {
  worker->processor = processor;
  worker->local = processor;
  worker->place = std::uint64_t{worker->index} << 32 | processor->record.index;
  worker->bias = bias_of(processor);
  processor->worker = worker;
  publish(worker->record.processor, processor->record.index);
  publish(processor->record.worker, worker->index);
  publish(processor->record.state, static_cast<std::uint32_t>(FIBERPROF_PROCESSOR_RUNNING));
}

void Scheduler::assign(Worker* worker, Processor* processor) {
  attach_processor(worker, processor);
  worker->wake.store(1, std::memory_order_release);
  futex_wake(worker->wake, 1);
}

void Scheduler::processor_arrived(Worker* worker) {
  Processor* processor = worker->processor;
  const std::uint32_t from = processor->last_tid;
  if (from != worker->record.tid) {
    processor->last_tid = worker->record.tid;
    if (from != 0) {
      FIBER_EMIT(handoff, processor->record.index, from, worker->record.tid,
                 processor->handoff_why == 0 ? FIBERPROF_HANDOFF_WAKE : processor->handoff_why,
                 processor->handoff_fiber);
    }
  }
  processor->handoff_why = 0;
  processor->handoff_fiber = 0;
}

// The processor was taken from a worker in a blocking section; somebody must look after its queue, and after sockets
// and timers if nobody else does.
void Scheduler::give_to_a_worker(Processor* processor) {
  Worker* worker = nullptr;
  bool interrupt = false;
  {
    std::lock_guard guard(lock_);
    worker = pop_idle_worker();
    if (worker == nullptr && poller_.turn.sleeps_until() != 0) {
      interrupt = true;
      put_idle(processor);
    }
  }
  if (interrupt) {
    poller_.interrupt();
  } else if (worker != nullptr) {
    assign(worker, processor);
  } else {
    start_thread(processor, false);
  }
}

// --- idle processors -------------------------------------------------------------------------------------------------

bool Scheduler::take_idle_processor(Worker* worker) {
  {
    std::lock_guard guard(lock_);
    Processor* processor = idle_processor_list_;
    if (processor == nullptr || stopping()) return false;
    idle_processor_list_ = processor->next_idle;
    idle_processor_count_.fetch_sub(1, std::memory_order_seq_cst);
    attach_processor(worker, processor);
  }
  processor_arrived(worker);
  return true;
}

void Scheduler::give_back(Worker* worker) {
  Processor* processor = worker->processor;
  worker->processor = nullptr;
  worker->local = nullptr;
  worker->bias = kNoBias;
  publish(worker->record.processor, kNone);
  std::lock_guard guard(lock_);
  put_idle(processor);
}

// With the lock held.
void Scheduler::put_idle(Processor* processor) {
  processor->worker = nullptr;
  processor->wakes_to_skip.store(0, std::memory_order_relaxed);
  publish(processor->record.worker, kNone);
  publish(processor->record.state, static_cast<std::uint32_t>(FIBERPROF_PROCESSOR_IDLE));
  processor->next_idle = idle_processor_list_;
  idle_processor_list_ = processor;
  idle_processor_count_.fetch_add(1, std::memory_order_seq_cst);
}

bool Scheduler::work_visible() {
  if (global_size_.load(std::memory_order_seq_cst) != 0) return true;
  for (unsigned i = 0; i < processor_count_; ++i) {
    if (processors_[i]->depth() != 0) return true;
  }
  const std::uint64_t earliest = next_timer();
  return earliest != TimerHeap::kNever && earliest <= timer_now();
}

// --- timers ----------------------------------------------------------------------------------------------------------

void Scheduler::arm(Timer& timer) {
  Worker* worker = this_worker();
  Processor* processor = worker == nullptr || worker->in_blocking ? nullptr : worker->processor;
  if (processor == nullptr) {
    std::lock_guard guard(lock_);
    if (processor_count_ == 0) fatal("a timer was armed while the runtime is not running (see fiber::run)");
    processor = processors_.front().get();  // never freed
  }
  if (!processor->timers.arm(timer)) return;
  // A worker may sleep in epoll_wait until a later timer; with idle processors it should not miss this one.
  const std::uint64_t sleeps_until = poller_.turn.sleeps_until();
  if (sleeps_until != 0 && timer.when < sleeps_until) poller_.interrupt();
}

std::uint64_t Scheduler::next_timer() const {
  std::uint64_t earliest = TimerHeap::kNever;
  for (unsigned i = 0; i < processor_count_; ++i) {
    earliest = std::min(earliest, processors_[i]->timers.earliest_before_sleep());
  }
  return earliest;
}

// --- looking ---------------------------------------------------------------------------------------------------------

void Scheduler::run_due_timers(Processor* processor) {
  if (processor->timers.earliest() != TimerHeap::kNever) processor->timers.fire(timer_now());
}

bool Scheduler::run_all_due_timers() {
  std::uint64_t now = 0;
  bool any = false;
  for (unsigned i = 0; i < processor_count_; ++i) {
    TimerHeap& timers = processors_[i]->timers;
    if (timers.earliest() == TimerHeap::kNever) continue;
    if (now == 0) now = timer_now();
    any |= timers.fire(now);
  }
  return any;
}

void Scheduler::poll_network() {
  if (poller_.waiters() == 0 || !poller_.turn.acquire()) return;
  const int events = poller_.wait_events(0);
  poller_.dispatch(events);
  // A worker that went to sleep because of this glance should have slept in epoll instead.
  if (poller_.turn.release()) wake_one();
}

// Steals happen only when a processor has nothing to do. With more fibers here than there, these would wait longer
// for their turn.
void Scheduler::balance(Processor* processor, Processor* other) {
  constexpr std::uint32_t kMostAtOnce = 256;
  const std::uint32_t mine = processor->queue.size(), theirs = other->queue.size();
  if (theirs > mine + mine / 8 + 64) {
    other->queue.share_backlog(processor->queue, std::min((theirs - mine) / 2, kMostAtOnce));
  }
}

Fiber* Scheduler::look_once(Worker* worker) {
  if (seeded::on()) [[unlikely]] return look_seeded(worker);
  Processor* processor = worker->processor;
  run_due_timers(processor);
  if (processor->tick % kFairnessTick == 0) {
    // One of the others, in turn: its processor may be busy with a fiber that does not yield.
    Processor* other = processors_[processor->tick / kFairnessTick % processor_count_].get();
    run_due_timers(other);
    balance(processor, other);
    poll_network();
    if (Fiber* fiber = pop_global(processor)) return fiber;
  }
  if (Fiber* fiber = processor->queue.pop()) return fiber;
  if (Fiber* fiber = pop_global(processor)) return fiber;
  poll_network();
  if (Fiber* fiber = processor->queue.pop()) return fiber;
  return run_all_due_timers() ? processor->queue.pop() : nullptr;
}

bool Processor::stands_still() const {
  const std::uint64_t switches = __atomic_load_n(&record.switches, __ATOMIC_RELAXED);
  for (int i = 0; i < kStillPauses; ++i) {
    cpu_pause();
    if (__atomic_load_n(&record.switches, __ATOMIC_RELAXED) != switches) return false;
  }
  return true;
}

Fiber* Scheduler::steal(Worker* worker) {
  Processor* own = worker->processor;
  for (int round = 0; round < kStealRounds; ++round) {
    const std::uint64_t start = next_random(worker->random) % processor_count_;
    for (unsigned i = 0; i < processor_count_; ++i) {
      Processor* victim = processors_[(start + i) % processor_count_].get();
      if (victim == own) continue;
      Fiber* fiber = victim->queue.steal_into(own->queue);
      // What the victim is about to run next is in that CPU's cache: it is taken last, and only if nothing moves there.
      if (fiber == nullptr && round == kStealRounds - 1 && victim->queue.has_next() && victim->stands_still()) {
        fiber = victim->queue.steal_next();
      }
      if (fiber != nullptr) {
        publish(own->record.steals, own->record.steals + 1);
        return fiber;
      }
    }
  }
  return nullptr;
}

void Scheduler::start_spinning(Worker* worker) {
  if (worker->spinning || processor_count_ == 1) return;
  worker->spinning = true;
  spinning_.fetch_add(1, std::memory_order_acq_rel);
}

void Scheduler::stop_spinning(Worker* worker) {
  if (!worker->spinning) return;
  worker->spinning = false;
  // The last one to look for work found some: there may be more.
  if (spinning_.fetch_sub(1, std::memory_order_acq_rel) == 1) wake_one();
}

Fiber* Scheduler::find_runnable(Worker* worker) {
  for (;;) {
    if (stopping()) return nullptr;
    if (worker->processor == nullptr) {
      if (!sleep_on_futex(worker)) return nullptr;
      continue;
    }
    Fiber* fiber = look_once(worker);
    if (fiber == nullptr && processor_count_ > 1) {
      if (!worker->spinning) {
        const std::uint32_t busy = processor_count_ - idle_processor_count_.load(std::memory_order_relaxed);
        if (2 * spinning_.load(std::memory_order_relaxed) < busy) start_spinning(worker);
      }
      if (worker->spinning) fiber = steal(worker);
      if (fiber != nullptr && wakes_to_skip_.load(std::memory_order_relaxed) != 0) {
        wakes_to_skip_.store(0, std::memory_order_relaxed);
      }
    }
    if (fiber != nullptr) {
      worker->woken_in_vain = false;
      stop_spinning(worker);
      return fiber;
    }
    if (worker->woken_in_vain) {
      worker->woken_in_vain = false;
      const std::uint32_t skipped = wakes_to_skip_.load(std::memory_order_relaxed);
      wakes_to_skip_.store(std::min(2 * skipped + 8, kMostSkippedWakes), std::memory_order_relaxed);
    }

    give_back(worker);
    if (worker->spinning) {
      worker->spinning = false;
      spinning_.fetch_sub(1, std::memory_order_acq_rel);
    }
    // Whoever made work before the processor was seen idle did not wake anybody: look once more.
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (work_visible() && take_idle_processor(worker)) continue;
    skipping_begins();
    if (!sleep_in_poller(worker) && !sleep_on_futex(worker)) return nullptr;
  }
}

// --- sleeping --------------------------------------------------------------------------------------------------------

bool Scheduler::sleep_in_poller(Worker* worker) {
  if (!poller_.turn.acquire()) return false;
  constexpr std::uint64_t kLong = 3'600'000'000'000u;
  std::uint64_t earliest = next_timer();
  poller_.turn.set_sleeps_until(earliest);  // kNever is far enough away to count as sleeping
  // A timer armed, or work made, before that was visible did not interrupt: look once more. Not beyond the time just
  // published though, even if that timer is gone: whoever arms one behind it does not interrupt.
  earliest = std::min(earliest, next_timer());
  std::uint64_t timeout = 0;
  if (!work_visible() && !stopping()) {
    const std::uint64_t now = timer_now();
    timeout = earliest == TimerHeap::kNever ? kLong : (earliest > now ? earliest - now : 0);
  }
  FIBER_EMIT(worker_idle, worker->record.tid, kNone);
  const std::uint64_t since = seeded::on() ? now_ns() : 0;
  const int events = poller_.wait_events(timeout);
  if (since != 0) seeded::time_passed(now_ns() - since, timeout);
  poller_.turn.set_sleeps_until(0);
  refresh_coarse_clock();
  take_idle_processor(worker);
  FIBER_EMIT(worker_wake, worker->record.tid, worker->processor == nullptr ? kNone : worker->processor->record.index);
  // Counts as looking for work: when it finds some, the next worker is woken and takes over epoll.
  if (worker->processor != nullptr) start_spinning(worker);
  worker->woken_in_vain = true;
  poller_.dispatch(events);
  // Without a processor, this worker goes to sleep on its futex: fine while all processors are busy, but one may have
  // become idle just now, and its worker gone to sleep because epoll was taken. Then nobody would be left to look after
  // sockets and timers.
  if (poller_.turn.release() && worker->processor == nullptr && take_idle_processor(worker)) start_spinning(worker);
  return worker->processor != nullptr;
}

Worker* Scheduler::pop_idle_worker() {
  Worker* worker = idle_worker_list_;
  if (worker != nullptr) {
    idle_worker_list_ = worker->next_idle;
    --idle_workers_;
  }
  return worker;
}

// False: there are idle workers enough, this one should end.
bool Scheduler::sleep_on_futex(Worker* worker) {
  {
    std::lock_guard guard(lock_);
    if (stopping()) return true;
    if (idle_workers_ >= processor_count_ + kSpareWorkers) return false;
    ++idle_workers_;
    worker->wake.store(0, std::memory_order_relaxed);
    worker->next_idle = idle_worker_list_;
    idle_worker_list_ = worker;
  }
  FIBER_EMIT(worker_idle, worker->record.tid, kNone);
  while (worker->wake.load(std::memory_order_acquire) == 0) futex_wait(worker->wake, 0);
  refresh_coarse_clock();
  if (worker->processor != nullptr) {
    FIBER_EMIT(worker_wake, worker->record.tid, worker->processor->record.index);
    processor_arrived(worker);
  }
  return true;
}

}  // namespace fiber::detail
