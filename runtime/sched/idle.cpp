// SPDX-License-Identifier: BSD-2-Clause
// A worker that finds nothing to run: it looks once more, and sleeps. The protocol is told at the top of scheduler.h.
#include <algorithm>
#include <mutex>

#include "probe/emit.h"
#include "registry/registry.h"
#include "sched/futex.h"
#include "sched/scheduler.h"
#include "sched/seeded.h"

namespace fiber::detail {

namespace {

// So many idle threads beyond one per processor are kept for the next blocking sections.
constexpr std::uint32_t kSpareWorkers = 8;

// When sockets are quick enough for Options::busy_poll: each sleep that was shorter than it counts for it, each longer
// one, and each time awake in vain, so often against it.
constexpr std::uint32_t kMostQuick = 64, kQuickEnough = 8, kSlowCounts = 4;

// Nobody may have ticked while everything slept.
void refresh_coarse_clock() {
  if (!probe::anybody_attached()) set_coarse_clock(now_ns());
}

}  // namespace

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
      if (fiber != nullptr) wake_was_worth_it();
    }
    if (fiber == nullptr) fiber = busy_poll(worker);
    if (fiber != nullptr) {
      worker->woken_in_vain = false;
      stop_spinning(worker);
      return fiber;
    }
    if (worker->woken_in_vain) {
      worker->woken_in_vain = false;
      wake_was_in_vain();
    }

    give_back(worker);
    if (worker->spinning) {
      worker->spinning = false;
      spinning_.fetch_sub(1, std::memory_order_acq_rel);
    }
    // Whoever made work before the processor was seen idle did not wake anybody: look once more.
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (work_visible() && take_idle_processor(worker)) {
      // It may be in another's queue. Who were only to look at its own would come back here at once, again and again.
      start_spinning(worker);
      continue;
    }
    skipping_begins();
    if (!sleep_in_poller(worker) && !sleep_on_futex(worker)) return nullptr;
  }
}

// Nothing to do: but with Options::busy_poll, when sockets have been quick lately, the next event is awaited for a
// moment without sleeping.
Fiber* Scheduler::busy_poll(Worker* worker) {
  if (busy_poll_ns() == 0 || quick_events_.load(std::memory_order_relaxed) < kQuickEnough) return nullptr;
  if (poller_.waiters() == 0 || seeded::on() || busy_polling_.exchange(true, std::memory_order_acquire)) return nullptr;
  // Whoever makes work meanwhile relies on this worker.
  start_spinning(worker);
  const std::uint64_t until = now_ns() + busy_poll_ns();
  Fiber* fiber = nullptr;
  do {
    fiber = look_once(worker);
    if (fiber == nullptr && processor_count_ > 1) fiber = steal(worker);
  } while (fiber == nullptr && now_ns() < until && !stopping());
  busy_polling_.store(false, std::memory_order_release);
  if (fiber == nullptr) events_were(false);
  return fiber;
}

void Scheduler::events_were(bool quick) {
  const std::uint32_t seen = quick_events_.load(std::memory_order_relaxed);
  quick_events_.store(quick ? std::min(seen + 1, kMostQuick) : seen - std::min(seen, kSlowCounts),
                      std::memory_order_relaxed);
}

bool Scheduler::work_visible() {
  if (global_size_.load(std::memory_order_seq_cst) != 0) return true;
  for (unsigned i = 0; i < processor_count_; ++i) {
    if (processors_[i]->depth() != 0) return true;
  }
  const std::uint64_t earliest = next_timer();
  return earliest != TimerHeap::kNever && earliest <= timer_now();
}

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
  const bool timed = seeded::on() || busy_poll_ns() != 0;
  const std::uint64_t since = timed ? now_ns() : 0;
  publish(worker->record.idle, 1u);
  const int events = poller_.wait_events(timeout);
  publish(worker->record.idle, 0u);
  const std::uint64_t slept = timed ? now_ns() - since : 0;
  if (seeded::on()) seeded::time_passed(slept, timeout);
  if (busy_poll_ns() != 0) events_were(events > 0 && slept < busy_poll_ns());
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
  publish(worker->record.idle, 1u);
  while (worker->wake.load(std::memory_order_acquire) == 0) futex_wait(worker->wake, 0);
  publish(worker->record.idle, 0u);
  refresh_coarse_clock();
  if (worker->processor != nullptr) {
    FIBER_EMIT(worker_wake, worker->record.tid, worker->processor->record.index);
    processor_arrived(worker);
  }
  return true;
}

}  // namespace fiber::detail
