// SPDX-License-Identifier: BSD-2-Clause
// Making fibers, their first and last steps, joining, and what a fiber may say about itself.
#include <cxxabi.h>
#include <sched.h>
#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <typeinfo>

#include "fiber/blocking.h"
#include "fiber/fiber.h"
#include "fiber/time.h"
#include "probe/emit.h"
#include "registry/registry.h"
#include "sched/join.h"
#include "sched/scheduler.h"
#include "sched/seeded.h"
#include "sched/switch.h"
#include "sync/locals.h"
#include "sync/shared_holds.h"

namespace fiber {

namespace detail {

namespace {

void copy_name(fiberprof_fiber& record, std::string_view name) {
  // Readers see old and new words mixed at worst, always with a zero at the end.
  using Words = std::array<std::uint64_t, FIBERPROF_NAME_SIZE / 8>;
  Words words{};
  if (!name.empty())
    std::memcpy(words.data(), name.data(), std::min<std::size_t>(name.size(), FIBERPROF_NAME_SIZE - 1));
  static_assert(offsetof(fiberprof_fiber, name) % 8 == 0);
  for (std::size_t i = 0; i < words.size(); ++i)
    __atomic_store_n(reinterpret_cast<AnyWord*>(record.name) + i, words[i], __ATOMIC_RELAXED);
}

}  // namespace

NewFiber new_fiber(std::size_t closure_size, std::size_t closure_align, Body body, const void* entry,
                   const void* creator_pc, const SpawnOptions& options) {
  Scheduler& scheduler = Scheduler::instance();
  if (!scheduler.running()) fatal("a fiber was spawned while the runtime is not running (see fiber::run)");
  Fiber* fiber = scheduler.allocate_fiber();
  const std::uintptr_t top = reinterpret_cast<std::uintptr_t>(fiber->stack.high);
  const std::uintptr_t closure = (top - closure_size) & ~(std::max<std::uintptr_t>(closure_align, 16) - 1);
  if (closure_size > static_cast<std::size_t>(fiber->stack.high - fiber->stack.low) / 2) {
    fatal("a fiber was spawned with a closure of %zu bytes, more than half its stack", closure_size);
  }

  sanitizer::fiber_born(fiber->sanitizer, fiber->stack);
  registry_begin_rewrite(fiber);
  fiberprof_fiber& record = fiber->record;
  publish(record.id, scheduler.next_id());
  publish(record.switches, std::uint64_t{0});
  publish(record.reason, std::uint8_t{0});
  publish(record.resource, std::uint64_t{0});
  publish(record.arms, std::uint64_t{0});
  publish(record.arms_len, std::uint16_t{0});
  publish(record.stack_low, address_of(fiber->stack.low));
  publish(record.stack_high, address_of(fiber->stack.high));
  publish(record.entry, address_of(entry));
  publish(record.creator_pc, address_of(creator_pc));
  publish(record.parent, id_of(this_fiber()));
  copy_name(record, options.name);
  publish(record.sp, static_cast<std::uint64_t>(make_context(reinterpret_cast<void*>(closure), fiber)));
  set_state(fiber, FIBERPROF_FIBER_RUNNABLE);
  registry_end_rewrite(fiber);

  fiber->body = body;
  fiber->closure = reinterpret_cast<void*>(closure);
  fiber->has_exceptions = false;
  fiber->blocking_depth = 0;
  fiber->timing.measured = false;
  FIBER_EMIT(spawn, record.id, record.parent, record.entry);
  return {fiber, fiber->closure};
}

void* allocate_small(std::size_t size) { return Scheduler::instance().allocate_small(size); }
void free_small(void* memory, std::size_t size) { Scheduler::instance().free_small(memory, size); }

namespace {

[[gnu::cold, gnu::noinline]] void start_fiber_seeded(Fiber* fiber) {
  Scheduler::instance().enqueue(fiber, ReadyHint::spawned);
  seeded::maybe_yield();
}

}  // namespace

void start_fiber(Fiber* fiber) {
  if (seeded::on()) [[unlikely]]
    return start_fiber_seeded(fiber);
  Scheduler::instance().enqueue(fiber, ReadyHint::spawned);
}

std::uint64_t fiber_id(const Fiber* fiber) { return fiber->record.id; }

void unhandled_exception() noexcept {
  const std::type_info* type = abi::__cxa_current_exception_type();
  int status = 0;
  char* name = type == nullptr ? nullptr : abi::__cxa_demangle(type->name(), nullptr, nullptr, &status);
  try {
    throw;
  } catch (const std::exception& error) {
    fatal("an exception left the fiber: %s: %s", name == nullptr ? "?" : name, error.what());
  } catch (...) {
    fatal("an exception left the fiber: %s", name == nullptr ? "of unknown type" : name);
  }
}

// --- join ------------------------------------------------------------------------------------------------------------

namespace {

// Whether the fiber still runs, and `wait` is the one to be claimed at its end.
bool join_begin(JoinCore* core, Claim& wait) {
  if (core == nullptr) fatal("join on a handle that has no fiber");
  const std::uintptr_t seen = join::enter(core->waiter, reinterpret_cast<std::uintptr_t>(&wait));
  if (seen == join::kNobody) return true;
  if (seen > join::kFinishing) fatal("two joins on fiber %llu", static_cast<unsigned long long>(core->fiber_id));
  return false;
}

}  // namespace

void join_wait(JoinCore* core) {
  seeded::sync_point();
  Claim wait(this_fiber());
  if (join_begin(core, wait)) park_claimed(Reason::JOIN, core->fiber_id, wait);
}

Status join_wait_limited(JoinCore* core, const Limit& limit) {
  seeded::sync_point();
  Claim wait(this_fiber());
  if (!join_begin(core, wait)) return Status::done;
  const Status ended = status_of(park_claimed(Reason::JOIN, core->fiber_id, wait, limit));
  if (ended == Status::done) return ended;
  if (join::leave(core->waiter, reinterpret_cast<std::uintptr_t>(&wait))) return ended;
  while (!join::settled(core->waiter)) sched_yield();
  return Status::done;
}

void join_finish(JoinCore* core) {
  if (Fiber* self = this_fiber(); self->locals != nullptr) [[unlikely]]
    end_of_locals(self);
  join::finish(core->waiter, [](std::uintptr_t waiter) { claim(*reinterpret_cast<Claim*>(waiter), 0); });
}

}  // namespace detail

// --- the calling fiber -----------------------------------------------------------------------------------------------

void yield() {
  using namespace detail;
  const Worker* worker = this_worker();
  if (worker == nullptr || worker->current == nullptr || worker->local == nullptr) [[unlikely]] {
    sched_yield();
    return;
  }
  Fiber* fiber = worker->current;
  set_state(fiber, FIBERPROF_FIBER_RUNNABLE);
  if (worker->local->queue.has_thieves())
    Scheduler::instance().leave(fiber, {AfterSwitch::Kind::requeue, fiber});
  else
    Scheduler::instance().leave(fiber, {AfterSwitch::Kind::nothing, nullptr});
}

std::uint64_t current_id() { return detail::id_of(detail::this_fiber()); }

void set_name(std::string_view name) {
  if (detail::Fiber* fiber = detail::this_fiber()) detail::copy_name(fiber->record, name);
}

void sleep_until(Deadline when) {
  using namespace detail;
  if (this_fiber() == nullptr) {
    std::this_thread::sleep_for(when - Clock::now());
    return;
  }
  Claim wait(this_fiber());
  // A sleep without end has a timer all the same: who sleeps is not asleep for good.
  if (when == Deadline::max()) when -= Deadline::duration(1);
  park_claimed(Reason::SLEEP, 0, wait, when);
}

Status sleep_until(Deadline when, const Limit& limit) {
  using namespace detail;
  Claim wait(this_fiber());
  if (when == Deadline::max()) when -= Deadline::duration(1);
  const Status ended = status_of(park_claimed(Reason::SLEEP, 0, wait, limit.no_later_than(when)));
  return ended == Status::timed_out && when <= limit.deadline() ? Status::done : ended;
}

namespace detail {

// --- blocking sections -----------------------------------------------------------------------------------------------

void blocking_begin() {
  Worker* worker = this_worker();
  if (worker == nullptr || worker->current == nullptr) return;
  Fiber* fiber = worker->current;
  if (fiber->blocking_depth++ == 0) Scheduler::instance().blocking_begin(worker, fiber);
}

void blocking_end() {
  Worker* worker = this_worker();
  if (worker == nullptr || worker->current == nullptr) return;
  Fiber* fiber = worker->current;
  if (--fiber->blocking_depth == 0) Scheduler::instance().blocking_end(worker, fiber);
}

}  // namespace detail
}  // namespace fiber

// A new fiber's first C++ frame, and its last.
extern "C" __attribute__((visibility("hidden"))) void fiber_main(void* argument) {
  using namespace fiber::detail;
  auto* self = static_cast<Fiber*>(argument);
  Scheduler& scheduler = Scheduler::instance();
  sanitizer::arrived(self->sanitizer);
  scheduler.finish_switch();
  self->body(self->closure);
  if (self->locals != nullptr) [[unlikely]]
    end_of_locals(self);
  if (self->record.shared_len != 0) [[unlikely]]
    forget_shared(self);
  FIBER_EMIT(exit, self->record.id);
  set_state(self, FIBERPROF_FIBER_DEAD);
  scheduler.leave(self, {AfterSwitch::Kind::recycle, self});
  __builtin_unreachable();
}
