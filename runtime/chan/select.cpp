// SPDX-License-Identifier: BSD-2-Clause
// select: locks every channel in address order, takes a ready arm at random, else joins all queues and waits for the
// first party that claims the wait. The shape is that of Go's selectgo.
#include "fiber/select.h"

#include <algorithm>
#include <memory>

#include "chan/channel.h"
#include "chan/transfer.h"
#include "probe/emit.h"
#include "registry/registry.h"
#include "sched/clock.h"
#include "sched/scheduler.h"

namespace fiber::detail {

namespace {

constexpr std::size_t kOnStack = 8;

// Per-arm scratch space: on the stack for small selects.
struct Scratch {
  Waiter waiter;
  ChannelCore* lock_order = nullptr;
  LockByte* held = nullptr;  // of lock_order
  fiberprof_arm visible{};
};

void lock_all(Scratch* scratch, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    ChannelCore* core = scratch[i].lock_order;
    if (core != nullptr && (i == 0 || core != scratch[i - 1].lock_order)) scratch[i].held = &lock_object(core->lock());
  }
}

void unlock_all(Scratch* scratch, std::size_t count) {
  for (std::size_t i = count; i-- > 0;) {
    ChannelCore* core = scratch[i].lock_order;
    if (core != nullptr && (i == 0 || core != scratch[i - 1].lock_order)) unlock_object(*scratch[i].held);
  }
}

std::uint64_t& random_state() {
  Worker* worker = this_worker();
  if (worker != nullptr) return worker->random;
  static thread_local std::uint64_t state = now_ns() | 1;
  return state;
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

}  // namespace

SelectOutcome select_arms(const SelectArm* arms, std::size_t count, SelectMode mode, const Limit& limit) {
  if (limit.context() != nullptr && context_why(limit.context()) != Why::not_cancelled) {
    emit_select(arms, count, false, kSelectCancelled);
    return {kSelectCancelled, false};
  }
  Scratch small[kOnStack];
  std::unique_ptr<Scratch[]> large;
  Scratch* scratch = small;
  if (count > kOnStack) {
    large = std::make_unique<Scratch[]>(count);
    scratch = large.get();
  }
  for (std::size_t i = 0; i < count; ++i) scratch[i].lock_order = arms[i].core;
  std::sort(scratch, scratch + count, [](const Scratch& a, const Scratch& b) { return a.lock_order < b.lock_order; });

  // Pass 1: somebody may be ready already. A random starting point makes the choice fair.
  lock_all(scratch, count);
  const std::size_t start = count == 0 ? 0 : next_random(random_state()) % count;
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t index = (start + i) % count;
    const SelectArm& arm = arms[index];
    if (arm.core == nullptr) continue;
    Fiber* wake = nullptr;
    const Status result =
        arm.is_send ? try_send_locked(arm.core, arm.element, &wake) : try_receive_locked(arm.core, arm.element, &wake);
    if (result == Status::timed_out) continue;
    unlock_all(scratch, count);
    if (result == Status::closed && arm.is_send) send_on_closed(arm.core);
    if (wake != nullptr) ready(wake);
    emit_select(arms, count, false, static_cast<int>(index));
    return {static_cast<int>(index), result == Status::closed};
  }
  if (mode == SelectMode::poll) {
    unlock_all(scratch, count);
    emit_select(arms, count, false, kSelectNone);
    return {kSelectNone, false};
  }

  // Pass 2: wait on all of them.
  Fiber* fiber = this_fiber();
  const std::uint64_t thread = fiber == nullptr ? this_thread_id() : 0;
  Claim wait(fiber);
  ChannelCore* first = nullptr;
  for (std::size_t i = 0; i < count; ++i) {
    const SelectArm& arm = arms[i];
    if (arm.core == nullptr) continue;
    if (first == nullptr) first = arm.core;
    Waiter& waiter = scratch[i].waiter;
    waiter.fiber = fiber;
    waiter.thread = thread;
    waiter.wait = &wait;
    waiter.outcome = static_cast<std::uint32_t>(i);
    waiter.element = arm.element;
    enqueue_waiter(arm.is_send ? arm.core->senders() : arm.core->receivers, waiter);
    scratch[i].visible = {address_of(arm.core),
                          static_cast<std::uint32_t>(arm.is_send ? Reason::CHAN_SEND : Reason::CHAN_RECV), 0};
  }
  // The order by address is needed again after the wait, when the arms' own order is too: `visible` is a copy.
  std::unique_ptr<fiberprof_arm[]> visible_heap;
  fiberprof_arm visible_small[kOnStack];
  fiberprof_arm* visible = visible_small;
  if (count > kOnStack) {
    visible_heap = std::make_unique<fiberprof_arm[]>(count);
    visible = visible_heap.get();
  }
  for (std::size_t i = 0; i < count; ++i) visible[i] = scratch[i].visible;
  unlock_all(scratch, count);
  if (fiber != nullptr) {
    publish(fiber->record.arms, address_of(visible));
    publish(fiber->record.arms_len, static_cast<std::uint16_t>(std::min<std::size_t>(count, 0xffff)));
  }
  const std::uint32_t outcome = first != nullptr ? park_claimed(Reason::SELECT, address_of(first), wait, limit)
                                                 : wait_without_channels(wait, limit);
  if (fiber != nullptr) {
    publish(fiber->record.arms_len, std::uint16_t{0});
    publish(fiber->record.arms, std::uint64_t{0});
  }

  // Also waits for a waker that has won the claim and is still moving the value.
  lock_all(scratch, count);
  bool success = false;
  for (std::size_t i = 0; i < count; ++i) {
    if (arms[i].core == nullptr) continue;
    remove_waiter(arms[i].is_send ? arms[i].core->senders() : arms[i].core->receivers, scratch[i].waiter);
    if (i == outcome) success = scratch[i].waiter.success;
  }
  unlock_all(scratch, count);
  if (outcome == kTimedOut || outcome == kCancelled) {
    const int chosen = outcome == kTimedOut ? kSelectNone : kSelectCancelled;
    emit_select(arms, count, true, chosen);
    return {chosen, false};
  }
  if (!success && arms[outcome].is_send) send_on_closed(arms[outcome].core);
  emit_select(arms, count, true, static_cast<int>(outcome));
  return {static_cast<int>(outcome), !success};
}

}  // namespace fiber::detail
