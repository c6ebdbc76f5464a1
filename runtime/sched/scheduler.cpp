// SPDX-License-Identifier: BSD-2-Clause
// Queues, switching and blocking sections. How workers are woken, look for work and sleep is in wake.cpp,
// look.cpp and idle.cpp; start and end are in lifecycle.cpp.
#include "sched/scheduler.h"

#include <cxxabi.h>
#include <algorithm>
#include <mutex>

#include "probe/emit.h"
#include "registry/registry.h"
#include "sched/monitor.h"
#include "sched/ready.h"
#include "sched/switch.h"

namespace fiber::detail {

extern "C" {
thread_local constinit Worker* fiber_this_worker = nullptr;
}

constinit SchedulerStorage scheduler_storage;

// --- queues ----------------------------------------------------------------------------------------------------------

void Scheduler::push_global(Fiber* fiber) {
  std::lock_guard guard(lock_);
  global_.push(fiber);
  global_size_.store(global_.size, std::memory_order_seq_cst);
}

void Scheduler::enqueue(Fiber* fiber, ReadyHint hint) {
  const Worker* worker = this_worker();
  if (worker == nullptr || worker->local == nullptr) return enqueue_outside(fiber);
  Processor* processor = worker->local;
  switch (hint) {
    case ReadyHint::next:
      return enqueue_next(processor, fiber);
    case ReadyHint::last:
      processor->queue.push_last(fiber);
      break;
    case ReadyHint::spawned:
      processor->queue.push_spawned(fiber);
      break;
  }
  if (processor->queue.has_thieves()) wake_one();
}

void Scheduler::enqueue_outside(Fiber* fiber) {
  push_global(fiber);
  wake_one();
}

const Fiber* Scheduler::first_global() {
  std::lock_guard guard(lock_);
  return global_.head;
}

Fiber* Scheduler::pop_global(Processor* processor) {
  if (global_size_.load(std::memory_order_relaxed) == 0) return nullptr;
  std::lock_guard guard(lock_);
  Fiber* first = global_.pop();
  if (first == nullptr) return nullptr;
  // A fair share for this processor, so that the lock is taken once per batch.
  std::uint32_t share = global_.size / processor_count_ + 1;
  if (share > RunQueue::kCapacity / 2) share = RunQueue::kCapacity / 2;
  while (share-- > 1) {
    Fiber* fiber = global_.pop();
    if (fiber == nullptr) break;
    processor->queue.push_last(fiber);
  }
  global_size_.store(global_.size, std::memory_order_seq_cst);
  return first;
}

// --- switching -------------------------------------------------------------------------------------------------------

void Scheduler::finish_switch_slow(Worker* worker, AfterSwitch::Kind kind, void* argument) {
  switch (kind) {
    case AfterSwitch::Kind::nothing:
    case AfterSwitch::Kind::unlock:
    case AfterSwitch::Kind::requeue:  // in finish_switch
      break;
    case AfterSwitch::Kind::unlock_probed:
      unlock_object(*static_cast<LockByte*>(argument));
      break;
    case AfterSwitch::Kind::commit: {
      auto* wait = static_cast<Claim*>(argument);
      Fiber* fiber = wait->fiber;  // once committed, the claim may be gone
      if (!wait->commit()) ready(fiber);
      break;
    }
    case AfterSwitch::Kind::requeue_global:
      push_global(static_cast<Fiber*>(argument));
      wake_one();
      break;
    case AfterSwitch::Kind::recycle:
      recycle(worker->processor, static_cast<Fiber*>(argument));
      break;
  }
}

// --- slots -----------------------------------------------------------------------------------------------------------

void Scheduler::take_free(Processor* processor) {
  const FiberBatch batch = pool_.take();
  processor->free.head = batch.head;
  publish(processor->free.count, batch.count);
}

Fiber* Scheduler::allocate_fiber() {
  Worker* worker = this_worker();
  if (worker == nullptr || worker->local == nullptr) {
    FiberBatch batch = pool_.take();
    Fiber* fiber = batch.head;
    pool_.give({fiber->next, batch.count - 1});
    return fiber;
  }
  Processor* processor = worker->local;
  if (processor->free.head == nullptr) [[unlikely]]
    take_free(processor);
  Fiber* fiber = processor->free.head;
  processor->free.head = fiber->next;
  publish(processor->free.count, processor->free.count - 1);
  return fiber;
}

std::uint64_t Scheduler::live_fibers() const {
  std::uint64_t free = 0;
  for (unsigned i = 0; i < processor_count_; ++i) {
    free += __atomic_load_n(&processors_[i]->free.count, __ATOMIC_RELAXED);
  }
  const std::uint64_t taken = pool_.taken();
  return taken - std::min(taken, free);
}

void Scheduler::recycle(Processor* processor, Fiber* fiber) {
  constexpr std::uint32_t kKeep = 2 * FiberPool::kBatch;
  sanitizer::fiber_gone(fiber->sanitizer);
  registry_begin_rewrite(fiber);
  set_state(fiber, FIBERPROF_FIBER_FREE);
  publish(fiber->record.id, std::uint64_t{0});
  registry_end_rewrite(fiber);
  fiber->next = processor->free.head;
  processor->free.head = fiber;
  publish(processor->free.count, processor->free.count + 1);
  if (processor->free.count <= kKeep) return;
  FiberBatch surplus;
  while (surplus.count < FiberPool::kBatch) {
    Fiber* moved = processor->free.head;
    processor->free.head = moved->next;
    moved->next = surplus.head;
    surplus.head = moved;
    ++surplus.count;
  }
  publish(processor->free.count, processor->free.count - surplus.count);
  pool_.give(surplus);
}

std::uint64_t Scheduler::next_id() {
  constexpr std::uint64_t kIds = 16;  // at a time: the counter is shared by all processors
  const Worker* worker = this_worker();
  if (worker == nullptr || worker->local == nullptr) return registry_take_ids(1);
  Processor* processor = worker->local;
  if (processor->next_id == processor->end_id) [[unlikely]] {
    processor->next_id = registry_take_ids(kIds);
    processor->end_id = processor->next_id + kIds;
  }
  return processor->next_id++;
}

namespace {

// The processor's own store, if there is one and it keeps blocks of that size.
[[gnu::always_inline]] inline SmallBlocks* small_blocks(std::size_t size) {
  const Worker* worker = this_worker();
  if (FIBER_ASAN || size > SmallBlocks::kSize || worker == nullptr || worker->local == nullptr) [[unlikely]] {
    return nullptr;
  }
  return &worker->local->small_blocks;
}

}  // namespace

void* Scheduler::allocate_small(std::size_t size) {
  SmallBlocks* blocks = small_blocks(size);
  if (blocks != nullptr && blocks->inverted_head != 0) [[likely]]
    return blocks->pop();
  return ::operator new(std::max(size, SmallBlocks::kSize));
}

void Scheduler::free_small(void* memory, std::size_t size) {
  SmallBlocks* blocks = small_blocks(size);
  if (blocks != nullptr && blocks->count < SmallBlocks::kMost) [[likely]] {
    blocks->push(memory);
    return;
  }
  ::operator delete(memory);
}

// --- blocking sections -----------------------------------------------------------------------------------------------

void Scheduler::blocking_begin(Worker* worker, Fiber* fiber) {
  Processor* processor = worker->processor;
  blocking_fibers_.fetch_add(1, std::memory_order_relaxed);
  set_state(fiber, FIBERPROF_FIBER_BLOCKING);
  publish(processor->record.state, static_cast<std::uint32_t>(FIBERPROF_PROCESSOR_BLOCKING));
  worker->blocking_started = 0;
#ifndef FIBER_NO_PROBES
  if (FIBERPROF_ENABLED(syscall_exit)) worker->blocking_started = now_ns();
#endif
  FIBER_EMIT(syscall_enter, fiber->record.id, processor->record.index);
  worker->in_blocking = true;
  worker->local = nullptr;
  worker->bias = kNoBias;
  worker->blocking_token = (std::uint64_t{worker->index + 1} << 32) | ((worker->blocking_token + 1) & 0xffffffffu);
  // From here on the monitor may take the processor.
  processor->blocking.store(worker->blocking_token, std::memory_order_seq_cst);
  monitor_needed();
}

void Scheduler::blocking_end(Worker* worker, Fiber* fiber) {
  Processor* processor = worker->processor;
  std::uint64_t token = worker->blocking_token;
  [[maybe_unused]] const std::uint64_t started = worker->blocking_started;
  const bool kept = processor->blocking.compare_exchange_strong(token, 0, std::memory_order_acq_rel);
  bool resumed = kept;
  if (kept) {
    worker->in_blocking = false;
    worker->local = processor;
    worker->bias = bias_of(processor);
    publish(processor->record.state, static_cast<std::uint32_t>(FIBERPROF_PROCESSOR_RUNNING));
  } else {
    {
      std::lock_guard guard(lock_);
      if (stopping() || worker->left_behind) {
        // run() has returned, or is about to, without this thread: the fiber is abandoned here.
        lock_.unlock();
        for (;;) pause();
      }
      worker->processor_taken = false;
    }
    worker->processor = nullptr;
    worker->in_blocking = false;
    resumed = take_idle_processor(worker);
  }
  if (resumed) {
    set_state(fiber, FIBERPROF_FIBER_RUNNING);
    publish(fiber->record.processor, worker->processor->record.index);
  } else {
    // No processor: queue up like everybody else. The switch goes to the scheduler's loop, which puts this worker to
    // sleep.
    set_state(fiber, FIBERPROF_FIBER_RUNNABLE);
    leave(fiber, {AfterSwitch::Kind::requeue_global, fiber});
  }
  // Only now: until it has a processor, or is in a queue, it must not count as asleep.
  blocking_fibers_.fetch_sub(1, std::memory_order_release);
#ifndef FIBER_NO_PROBES
  if (FIBERPROF_ENABLED(syscall_exit)) {
    fiberprof_site_syscall_exit(fiber->record.id, started != 0 ? now_ns() - started : 0, kept);
  }
#endif
}

bool Scheduler::retake(Processor* processor, std::uint64_t token) {
  {
    std::lock_guard guard(lock_);
    if (!processor->blocking.compare_exchange_strong(token, 0, std::memory_order_acq_rel)) return false;
    Worker* from = processor->worker.load(std::memory_order_relaxed);
    from->processor_taken = true;
    processor->worker.store(nullptr, std::memory_order_relaxed);
    processor->handoff_why = FIBERPROF_HANDOFF_BLOCKING;
    processor->handoff_fiber = from->record.current_fiber;
  }
  give_to_a_worker(processor);
  return true;
}

}  // namespace fiber::detail
