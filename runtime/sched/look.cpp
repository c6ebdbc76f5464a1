// SPDX-License-Identifier: BSD-2-Clause
// Where a worker with a processor looks for a fiber to run.
#include <algorithm>
#include <mutex>

#include "registry/registry.h"
#include "sched/clock.h"
#include "sched/scheduler.h"
#include "sched/seeded.h"
#include "sched/switch.h"

namespace fiber::detail {

namespace {

constexpr int kStealRounds = 4;
constexpr int kStillPauses = 100;  // 1 to 4 us

}  // namespace

// --- timers ----------------------------------------------------------------------------------------------------------

void Scheduler::arm(Timer& timer) {
  const Worker* worker = this_worker();
  Processor* processor = worker == nullptr ? nullptr : worker->local;
  if (processor == nullptr) {
    std::lock_guard guard(lock_);
    if (processor_count_ == 0) fatal("a timer was armed while the runtime is not running (see fiber::run)");
    processor = processors_.front().get();  // never freed
  }
  const std::uint64_t when = timer.when;  // of a ticker it is another as soon as it is armed
  if (!processor->timers.arm(timer)) return;
  // A worker may sleep in epoll_wait until a later timer; with idle processors it should not miss this one.
  const std::uint64_t sleeps_until = poller_.turn.sleeps_until();
  if (sleeps_until != 0 && when < sleeps_until) poller_.interrupt();
}

std::uint64_t Scheduler::next_timer() const {
  std::uint64_t earliest = TimerHeap::kNever;
  for (unsigned i = 0; i < processor_count_; ++i) {
    earliest = std::min(earliest, processors_[i]->timers.earliest_before_sleep());
  }
  return earliest;
}

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

// --- looking ---------------------------------------------------------------------------------------------------------

void Scheduler::poll_network() {
  if (poller_.waiters() == 0 || !poller_.turn.acquire()) return;
  const int events = poller_.wait_events(0);
  poller_.dispatch(events);
  // A worker that went to sleep because of this glance should have slept in epoll instead.
  if (poller_.turn.release()) wake_one();
}

// Steals happen only when a processor has nothing to do. Elsewhere fibers may wait longer than here: because there are
// more of them, or because that worker, which the kernel has taken off its CPU, runs none.
void Scheduler::balance(Processor* processor, Processor* other) {
  constexpr std::uint32_t kMostAtOnce = 256;
  constexpr std::uint64_t kTolerated = 100'000;  // nanoseconds: a ring's worth of short turns
  LocalQueue& mine = processor->queue;
  LocalQueue& theirs = other->queue;
  if (!mine.has_thieves() || (!mine.has_backlog() && !theirs.has_backlog())) return;
  const std::uint64_t now = now_ns();
  mine.set_time(now);
  const std::uint64_t here = mine.longest_wait(now);
  if (theirs.longest_wait(now) > here + here / 4 + kTolerated) theirs.share_backlog(mine, kMostAtOnce);
}

Fiber* Scheduler::look_once(Worker* worker) {
  if (seeded::on()) [[unlikely]]
    return look_seeded(worker);
  Processor* processor = worker->processor;
  run_due_timers(processor);
  if (processor->round_due) {
    processor->round_due = false;
    // One of the others, in turn: its processor may be busy with a fiber that does not yield.
    Processor* other = processors_[processor->ticks / kRoundTicks % processor_count_].get();
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

}  // namespace fiber::detail
