// SPDX-License-Identifier: BSD-2-Clause
// What is behind a Context: a tree of nodes that point at their parents.
//
// A node with a CancelSource is a *scope*. Only scopes have waiters, and only scopes know their children: those scopes
// that have it as the next one above. Nodes that add a deadline or a value cost nothing but themselves; who waits with
// one of them waits in the queue of its scope. Deadlines need no propagation at all, since each node is made with the
// earliest of its own and its parent's, and whoever waits arms a timer for that.
#pragma once

#include <atomic>

#include "fiber/context.h"
#include "fiber/object.h"
#include "sync/waiter.h"

namespace fiber::detail {

// Begins as fiberprof_context.
struct ContextCore {
  Object object{ObjectKind::context};  // count: a Why, settled when first seen
  ContextCore* parent = nullptr;       // counted; null: the background
  ContextCore* scope = nullptr;        // this or the next scope above; null: none
  Deadline deadline = Deadline::max();
  std::uint32_t sources = 0;  // 1: a scope that may still be cancelled; guarded by object.lock
  std::uint32_t cancel_handle = 0;
  std::atomic<std::uint32_t> references{1};
  ContextValue value{};  // key null: none
  // Scopes only. The links of a child are guarded by its outer scope's lock.
  ContextCore* children = nullptr;
  ContextCore* next = nullptr;  // sibling
  ContextCore* previous = nullptr;
  bool linked = false;

  Why why(std::memory_order order) const { return static_cast<Why>(object.count.load(order)); }
  ContextCore* outer() const { return parent == nullptr ? nullptr : parent->scope; }
};

// Lets `waiter`, whose claim is set, be woken by the cancellation of `core`. False: it is cancelled already.
bool context_enqueue(ContextCore* core, Waiter& waiter);
// Afterwards nobody will touch the waiter or its claim.
void context_dequeue(ContextCore* core, Waiter& waiter);

}  // namespace fiber::detail
