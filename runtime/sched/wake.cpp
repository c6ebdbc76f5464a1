// SPDX-License-Identifier: BSD-2-Clause
// Waking workers, and which worker has which processor. The protocol is told at the top of scheduler.h.
#include <algorithm>
#include <mutex>

#include "probe/emit.h"
#include "registry/registry.h"
#include "sched/futex.h"
#include "sched/monitor.h"
#include "sched/scheduler.h"

namespace fiber::detail {

namespace {

// After a wake-up that found nothing to steal, a processor does without the next few for a fiber it is about to run
// itself, more of them each time.
constexpr std::uint32_t kMostSkippedWakes = 4096;

}  // namespace

void Scheduler::wake_one() {
  // With one processor, a worker that holds it finds its own work.
  const Worker* self = this_worker();
  if (processor_count_ == 1 && self != nullptr && self->local != nullptr) return;
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

// --- wake-ups that are skipped ---------------------------------------------------------------------------------------

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

// A worker that was woken to look for work has found none.
void Scheduler::wake_was_in_vain() {
  const std::uint32_t skipped = wakes_to_skip_.load(std::memory_order_relaxed);
  wakes_to_skip_.store(std::min(2 * skipped + 8, kMostSkippedWakes), std::memory_order_relaxed);
}

void Scheduler::wake_was_worth_it() {
  if (wakes_to_skip_.load(std::memory_order_relaxed) != 0) wakes_to_skip_.store(0, std::memory_order_relaxed);
}

// --- processors change hands -----------------------------------------------------------------------------------------

void Scheduler::attach_processor(Worker* worker, Processor* processor) {
  worker->processor = processor;
  worker->local = processor;
  worker->place = std::uint64_t{worker->index} << 32 | processor->record.index;
  worker->bias = bias_of(processor);
  processor->worker.store(worker, std::memory_order_release);
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
  processor->worker.store(nullptr, std::memory_order_relaxed);
  processor->wakes_to_skip.store(0, std::memory_order_relaxed);
  publish(processor->record.worker, kNone);
  publish(processor->record.state, static_cast<std::uint32_t>(FIBERPROF_PROCESSOR_IDLE));
  processor->next_idle = idle_processor_list_;
  idle_processor_list_ = processor;
  idle_processor_count_.fetch_add(1, std::memory_order_seq_cst);
}

Worker* Scheduler::pop_idle_worker() {
  Worker* worker = idle_worker_list_;
  if (worker != nullptr) {
    idle_worker_list_ = worker->next_idle;
    --idle_workers_;
  }
  return worker;
}

}  // namespace fiber::detail
