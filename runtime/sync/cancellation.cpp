// SPDX-License-Identifier: BSD-2-Clause
#include "sync/cancellation.h"

#include <algorithm>

#include "probe/emit.h"
#include "sched/seeded.h"

namespace fiber::detail {

namespace {

ContextCore* new_node(ContextCore* parent) {
  auto* core = new ContextCore;
  if (parent != nullptr) {
    context_retain(parent);
    core->parent = parent;
    core->scope = parent->scope;
    core->deadline = parent->deadline;
  }
  return core;
}

// The first reason that anybody sees stays.
Why settle(ContextCore* core, Why why) {
  std::int64_t seen = 0;
  const bool first = core->object.count.compare_exchange_strong(seen, static_cast<std::int64_t>(why),
                                                                std::memory_order_acq_rel, std::memory_order_acquire);
  return first ? why : static_cast<Why>(seen);
}

bool deadline_passed(const ContextCore* core) {
  return core->deadline != Deadline::max() && core->deadline <= Clock::now();
}

void unlink(ContextCore* outer, ContextCore* child) {
  if (!child->linked) return;
  child->linked = false;
  (child->previous == nullptr ? outer->children : child->previous->next) = child->next;
  if (child->next != nullptr) child->next->previous = child->previous;
}

// How many waiters are woken before others get at the lock: those woken want it.
constexpr int kBatch = 64;

void wake_waiters(ContextCore* scope) {
  for (;;) {
    ObjectGuard guard(scope->object.lock);
    for (int i = 0; i < kBatch; ++i) {
      if (pop_waiter(scope->object.waiters) == nullptr) return;
    }
  }
}

}  // namespace

ContextCore* context_with_cancel(ContextCore* parent) {
  ContextCore* core = new_node(parent);
  core->scope = core;
  ContextCore* outer = core->outer();
  if (outer == nullptr) {
    core->sources = 1;
    return core;
  }
  ObjectGuard guard(outer->object.lock);
  if (outer->sources == 0) {
    core->object.count.store(outer->object.count.load(std::memory_order_relaxed), std::memory_order_relaxed);
    return core;
  }
  core->sources = 1;
  core->next = outer->children;
  if (core->next != nullptr) core->next->previous = core;
  outer->children = core;
  core->linked = true;
  return core;
}

ContextCore* context_with_deadline(ContextCore* parent, Deadline deadline) {
  ContextCore* core = new_node(parent);
  core->deadline = std::min(core->deadline, deadline);
  return core;
}

ContextCore* context_with_value(ContextCore* parent, const ContextValue& value) {
  ContextCore* core = new_node(parent);
  core->value = value;
  return core;
}

void context_retain(ContextCore* core) { core->references.fetch_add(1, std::memory_order_relaxed); }

void context_release(ContextCore* core) {
  // A loop: chains of contexts may be longer than a fiber's stack is deep.
  while (core != nullptr && core->references.fetch_sub(1, std::memory_order_acq_rel) == 1) {
    // A scope is in no list any more: its source has cancelled it.
    ContextCore* parent = core->parent;
    if (core->value.key != nullptr) core->value.destroy(core->value.value);
    delete core;
    core = parent;
  }
}

void context_cancel(ContextCore* core) {
  seeded::sync_point();
  if (ContextCore* outer = core->outer()) {
    ObjectGuard guard(outer->object.lock);
    unlink(outer, core);
  }
  context_retain(core);
  // Everything below, without recursion. A node joins the list when it is unlinked, which happens once, and by one
  // party; its source, which has not got that far yet, or the reference taken here keeps it alive.
  ContextCore* todo = nullptr;
  do {
    {
      ObjectGuard guard(core->object.lock);
      if (core->sources != 0) {
        core->sources = 0;
        settle(core, deadline_passed(core) ? Why::deadline_exceeded : Why::cancelled);
      }
      while (ContextCore* child = core->children) {
        unlink(core, child);
        context_retain(child);
        child->next = todo;
        todo = child;
      }
    }
    wake_waiters(core);
    context_release(std::exchange(core, todo));
    if (core != nullptr) todo = core->next;
  } while (core != nullptr);
}

Why context_why(ContextCore* core) {
  const Why known = core->why(std::memory_order_acquire);
  if (known != Why::not_cancelled) return known;
  if (core->scope != nullptr && core->scope != core) {
    const Why above = core->scope->why(std::memory_order_acquire);
    if (above != Why::not_cancelled) return settle(core, above);
  }
  return deadline_passed(core) ? settle(core, Why::deadline_exceeded) : Why::not_cancelled;
}

Deadline context_deadline(const ContextCore* core) { return core->deadline; }

const void* context_value(const ContextCore* core, const void* key) {
  for (; core != nullptr; core = core->parent) {
    if (core->value.key == key) return core->value.value;
  }
  return nullptr;
}

bool context_enqueue(ContextCore* core, Waiter& waiter) {
  if (context_why(core) != Why::not_cancelled) return false;
  ContextCore* scope = core->scope;
  if (scope == nullptr) return true;
  ObjectGuard guard(scope->object.lock);
  if (scope->sources == 0) return false;
  enqueue_waiter(scope->object.waiters, waiter);
  return true;
}

void context_dequeue(ContextCore* core, Waiter& waiter) {
  if (core->scope == nullptr) return;
  ObjectGuard guard(core->scope->object.lock);
  remove_waiter(core->scope->object.waiters, waiter);
}

Status context_wait(ContextCore* core, const Limit& limit) {
  seeded::sync_point();
  Claim wait(this_fiber());
  if (core == nullptr) return status_of(park_claimed(Reason::CONTEXT, 0, wait, limit));
  // Two contexts may end this wait: the limit's wakes it as any wait, this one as what is waited for.
  Waiter waiter(wait.fiber);
  waiter.wait = &wait;
  if (!context_enqueue(core, waiter)) return Status::done;
  const bool own_deadline = core->deadline < limit.deadline();
  Status status = status_of(park_claimed(Reason::CONTEXT, address_of(core), wait, limit.no_later_than(core->deadline)));
  context_dequeue(core, waiter);
  if (status == Status::timed_out && own_deadline) status = Status::done;
  if (status == Status::done) context_why(core);
  return status;
}

}  // namespace fiber::detail
