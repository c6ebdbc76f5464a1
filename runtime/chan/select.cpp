// SPDX-License-Identifier: BSD-2-Clause
// select: locks every channel in address order, takes a ready arm at random, else joins all queues and waits for the
// first party that claims the wait. The shape is that of Go's selectgo.
#include "fiber/select.h"

#include <algorithm>
#include <memory>

#include "chan/channel.h"
#include "chan/polls.h"
#include "chan/transfer.h"
#include "probe/emit.h"
#include "registry/registry.h"
#include "sched/clock.h"
#include "sched/scheduler.h"
#include "sched/seeded.h"

namespace fiber::detail {

namespace {

constexpr std::size_t kOnStack = 8;

// What a select needs per arm. The memory is not initialised: of eight arms most have two.
struct Locked {
  ChannelCore* core;
  LockByte* held;
};
struct Scratch {
  Waiter* waiters;         // by arm, constructed when queued
  fiberprof_arm* visible;  // by arm
  Locked* locks;           // every channel once, in the order of their addresses
  std::size_t lock_count = 0;

  void add_lock(ChannelCore* core) {
    std::size_t at = lock_count;
    while (at > 0 && locks[at - 1].core > core) --at;
    if (at > 0 && locks[at - 1].core == core) return;
    for (std::size_t i = lock_count; i > at; --i) locks[i] = locks[i - 1];
    locks[at].core = core;
    ++lock_count;
  }
  void lock_all() {
    for (std::size_t i = 0; i < lock_count; ++i) locks[i].held = &lock_object(locks[i].core->lock());
  }
  void unlock_all() {
    for (std::size_t i = lock_count; i-- > 0;) unlock_object(*locks[i].held);
  }
};

std::uint64_t random_number() {
  Worker* worker = this_worker();
  if (worker != nullptr) return seeded::on() ? seeded::random() : next_random(worker->random);
  static thread_local std::uint64_t state = now_ns() | 1;
  return next_random(state);
}

std::uint32_t wait_without_channels(Claim& wait, const Limit& limit) {
  if (limit.context() != nullptr) return park_claimed(Reason::CONTEXT, address_of(limit.context()), wait, limit);
  return park_claimed(limit.none() ? Reason::EMPTY_SELECT : Reason::SELECT, 0, wait, limit);
}

void emit_select([[maybe_unused]] const SelectArm* arms, [[maybe_unused]] std::size_t count,
                 [[maybe_unused]] bool blocked, [[maybe_unused]] int chosen) {
#ifndef FIBER_NO_PROBES
  if (!FIBERPROF_ENABLED(select)) return;
  const ChannelCore* core = chosen < 0 ? nullptr : arms[chosen].core;
  fiberprof_site_select(id_of(this_fiber()), address_of(core), channel_length(core), channel_capacity(core), blocked,
                        chosen < 0 ? count : static_cast<std::uint64_t>(chosen));
#endif
}

enum class Mode { wait, poll };

template <Mode mode>
[[gnu::always_inline]] inline SelectOutcome select_in(Scratch scratch, const SelectArm* arms, std::size_t count,
                                                      const Limit& limit) {
  for (std::size_t i = 0; i < count; ++i) {
    if (arms[i].core != nullptr) scratch.add_lock(arms[i].core);
  }

  // Pass 1: somebody may be ready already. A random starting point makes the choice fair.
  scratch.lock_all();
  std::size_t index = (random_number() >> 32) * count >> 32;
  for (std::size_t left = count; left != 0; --left, index = index + 1 == count ? 0 : index + 1) {
    const SelectArm& arm = arms[index];
    if (arm.core == nullptr) continue;
    Fiber* wake = nullptr;
    const Status result =
        arm.is_send ? try_send_locked(arm.core, arm.element, &wake) : try_receive_locked(arm.core, arm.element, &wake);
    if (result == Status::timed_out) continue;
    scratch.unlock_all();
    if (result == Status::closed && arm.is_send) send_on_closed(arm.core);
    if (wake != nullptr) ready(wake);
    emit_select(arms, count, false, static_cast<int>(index));
    return {static_cast<int>(index), result == Status::closed};
  }
  if constexpr (mode == Mode::poll) {
    scratch.unlock_all();
    emit_select(arms, count, false, kSelectNone);
    return {kSelectNone, false};
  }

  // Pass 2: wait on all of them.
  Fiber* fiber = this_fiber();
  Claim wait(fiber);
  ChannelCore* first = nullptr;
  for (std::size_t i = 0; i < count; ++i) {
    const SelectArm& arm = arms[i];
    scratch.visible[i] = {address_of(arm.core),
                          static_cast<std::uint32_t>(arm.is_send ? Reason::CHAN_SEND : Reason::CHAN_RECV), 0};
    if (arm.core == nullptr) continue;
    if (first == nullptr) first = arm.core;
    Waiter& waiter = *new (&scratch.waiters[i]) Waiter(fiber);
    waiter.wait = &wait;
    waiter.outcome = static_cast<std::uint32_t>(i);
    waiter.element = arm.element;
    enqueue_waiter(arm.is_send ? arm.core->senders() : arm.core->receivers, waiter);
  }
  if (fiber != nullptr) {
    publish(fiber->record.arms, address_of(scratch.visible));
    publish(fiber->record.arms_len, static_cast<std::uint16_t>(std::min<std::size_t>(count, 0xffff)));
  }
  scratch.unlock_all();
  const std::uint32_t outcome = first == nullptr ? wait_without_channels(wait, limit)
                                : limit.none()   ? park_claimed(Reason::SELECT, address_of(first), wait)
                                                 : park_claimed(Reason::SELECT, address_of(first), wait, limit);
  if (fiber != nullptr) {
    publish(fiber->record.arms_len, std::uint16_t{0});
    publish(fiber->record.arms, std::uint64_t{0});
  }

  // Also waits for a waker that has won the claim and is still moving the value.
  scratch.lock_all();
  bool success = false;
  for (std::size_t i = 0; i < count; ++i) {
    if (arms[i].core == nullptr) continue;
    Waiter& waiter = scratch.waiters[i];
    remove_waiter(arms[i].is_send ? arms[i].core->senders() : arms[i].core->receivers, waiter);
    if (i == outcome) success = waiter.success;
  }
  scratch.unlock_all();
  if (outcome == kTimedOut || outcome == kCancelled) {
    const int chosen = outcome == kTimedOut ? kSelectNone : kSelectCancelled;
    emit_select(arms, count, true, chosen);
    return {chosen, false};
  }
  if (!success && arms[outcome].is_send) send_on_closed(arms[outcome].core);
  emit_select(arms, count, true, static_cast<int>(outcome));
  return {static_cast<int>(outcome), !success};
}

template <Mode mode>
[[gnu::always_inline]] inline SelectOutcome select_among(const SelectArm* arms, std::size_t count, const Limit& limit) {
  seeded::sync_point();
  if (limit.context() != nullptr && context_why(limit.context()) != Why::not_cancelled) {
    emit_select(arms, count, false, kSelectCancelled);
    return {kSelectCancelled, false};
  }
  // Bytes: the types have constructors, which are for those that are used.
  constexpr std::size_t kBytes = sizeof(Waiter) + sizeof(fiberprof_arm) + sizeof(Locked);
  static_assert(alignof(Waiter) == alignof(fiberprof_arm) && alignof(Waiter) == alignof(Locked));
  alignas(Waiter) std::byte small[kOnStack * kBytes];
  std::unique_ptr<std::byte[]> large;
  std::byte* memory = small;
  if (count > kOnStack) {
    large = std::make_unique_for_overwrite<std::byte[]>(count * kBytes);
    memory = large.get();
  }
  Scratch scratch{reinterpret_cast<Waiter*>(memory), reinterpret_cast<fiberprof_arm*>(memory + count * sizeof(Waiter)),
                  reinterpret_cast<Locked*>(memory + count * (sizeof(Waiter) + sizeof(fiberprof_arm)))};
  return select_in<mode>(scratch, arms, count, limit);
}

}  // namespace

SelectOutcome select_arms(const SelectArm* arms, std::size_t count, const Limit& limit) {
  return select_among<Mode::wait>(arms, count, limit);
}

SelectOutcome poll_arms(const SelectArm* arms, std::size_t count, const Limit& limit) {
  const SelectOutcome outcome = select_among<Mode::poll>(arms, count, limit);
  polled(outcome.chosen >= 0 && !outcome.closed, __builtin_return_address(0));
  return outcome;
}

}  // namespace fiber::detail
