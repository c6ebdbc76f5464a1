// SPDX-License-Identifier: BSD-2-Clause
#include "deadlock/solver.h"

#include <fiberprof/registry.h>

#include <algorithm>

namespace fiberprof {
namespace {

bool either(const ObjectState& object, auto&& test) { return test(*object.seen[0]) || test(*object.seen[1]); }

int64_t readers_inside(const ObjectInfo& lock) { return lock.count & 0xffff'ffff; }

// Contexts above one another; what is deeper counts as alive.
constexpr int kDeepest = 10'000;

}  // namespace

Solver::Solver(const State& state, Evidence& evidence) : state_(state), evidence_(evidence) {
  for (const FiberState& fiber : state.fibers)
    for (const uint64_t lock : fiber.info.shared)
      if (lock != 0) readers_[lock].push_back(fiber.info.id);
}

const ObjectState* Solver::object(uint64_t address) const {
  const auto found = state_.objects.find(address);
  return found == state_.objects.end() || !found->second.readable() ? nullptr : &found->second;
}

std::vector<uint64_t> Solver::holders(uint64_t lock) const {
  const auto found = readers_.find(lock);
  return found == readers_.end() ? std::vector<uint64_t>{} : found->second;
}

// Whoever is named as an owner: a fiber that lives, or a thread; a fiber that has ended does not.
bool Solver::lives(uint64_t owner) const {
  if ((owner & FIBERPROF_OWNER_THREAD) != 0) return true;
  const auto found = state_.by_id.find(owner);
  if (found == state_.by_id.end()) return state_.torn != 0 || state_.exists(owner);
  return live_[found->second] != 0;
}

// A context ends by its deadline, by its source, or by those of the contexts above it.
bool Solver::cancellable(uint64_t context) const {
  for (int depth = 0; context != 0; ++depth) {
    const ObjectState* node = object(context);
    if (node == nullptr || depth == kDeepest) return true;
    if (either(*node, [](const ObjectInfo& seen) { return seen.count != 0 || seen.deadline_ns != INT64_MAX; }))
      return true;
    if (either(*node, [](const ObjectInfo& seen) { return seen.sources != 0; }) &&
        evidence_.has(Right::cancel, context))
      return true;
    if (node->seen[0]->parent != node->seen[1]->parent) return true;
    context = node->seen[0]->parent;
  }
  return false;
}

bool Solver::writer_in_front_lives(const FiberState& reader, const ObjectState& lock) const {
  if (!lock.queue_complete || lock.foreign) return true;
  for (const uint64_t id : lock.queue) {
    if (id == reader.info.id) return true;  // nobody is in front: it is just being let in
    const FiberState* waiter = state_.find(id);
    if (waiter == nullptr) return true;
    if (waiter->info.reason == FIBERPROF_REASON_RWLOCK_WRITE) return lives(id);
  }
  return true;
}

bool Solver::can_end(const FiberState& fiber, const Alternative& wait) const {
  switch (wait.reason) {
    case FIBERPROF_REASON_NIL_CHANNEL:
    case FIBERPROF_REASON_EMPTY_SELECT:
      return false;
    case FIBERPROF_REASON_JOIN:
      // Whoever has ended has been joined.
      return state_.find(wait.resource) == nullptr || lives(wait.resource);
    case FIBERPROF_REASON_CONTEXT:
      return cancellable(wait.resource);
    default:
      break;
  }
  if (object_kind_of(wait.reason) == 0) return true;  // time, the kernel, or what this reader does not know
  if (wait.resource == 0) return false;               // an arm on a nil channel
  const ObjectState* found = object(wait.resource);
  // Memory that has become something else between the looks proves nothing.
  if (found == nullptr || found->seen[1]->kind != object_kind_of(wait.reason)) return true;
  const ObjectState& object = *found;
  const bool reached = evidence_.has(Right::touch, wait.resource);
  const uint64_t owner = object.seen[1]->owner;
  const bool same_owner = object.seen[0]->owner == owner;
  switch (wait.reason) {
    case FIBERPROF_REASON_CHAN_RECV:
      return either(object,
                    [](const ObjectInfo& c) { return c.length != 0 || c.closed || c.timers != 0 || c.waiters != 0; }) ||
             (either(object, [](const ObjectInfo& c) { return c.send_rights != 0; }) &&
              evidence_.has(Right::send, wait.resource));
    case FIBERPROF_REASON_CHAN_SEND:
      // Closing ends this wait, too, and with it the process.
      return either(object,
                    [](const ObjectInfo& c) { return c.length < c.capacity || c.closed || c.receivers != 0; }) ||
             (either(object, [](const ObjectInfo& c) { return c.receive_rights != 0; }) &&
              evidence_.has(Right::receive, wait.resource));
    case FIBERPROF_REASON_MUTEX:
      return !same_owner || owner == 0 || (lives(owner) && reached);
    case FIBERPROF_REASON_RWLOCK_WRITE:
    case FIBERPROF_REASON_RWLOCK_READ: {
      if (!same_owner || object.seen[0]->count != object.seen[1]->count) return true;
      if (owner != 0) return lives(owner) && reached;
      if (wait.reason == FIBERPROF_REASON_RWLOCK_READ) return writer_in_front_lives(fiber, object);
      if (object.readers_settled && object.orphaned > 0) return false;
      const std::vector<uint64_t> inside = holders(wait.resource);
      if (readers_inside(*object.seen[1]) == 0 || !reached) return readers_inside(*object.seen[1]) == 0;
      return std::all_of(inside.begin(), inside.end(), [&](uint64_t id) { return lives(id); });
    }
    case FIBERPROF_REASON_ONCE:
      return !same_owner || owner == 0 || lives(owner);
    case FIBERPROF_REASON_WAIT_GROUP: {
      if (either(object, [](const ObjectInfo& group) { return group.count <= 0; })) return true;
      const int64_t tokens = std::max(object.seen[0]->tokens, object.seen[1]->tokens);
      const int64_t count = std::max(object.seen[0]->count, object.seen[1]->count);
      // All that is to be done will be done by the end of tokens: each must be in reach.
      if (tokens == count) return evidence_.tokens(wait.resource, tokens) >= tokens;
      return reached;
    }
    case FIBERPROF_REASON_SEMAPHORE:
      return reached || either(object, [](const ObjectInfo& semaphore) { return semaphore.count > 0; });
    default:  // condition, barrier
      return reached;
  }
}

bool Solver::alive(const FiberState& fiber) const {
  const FiberInfo& info = fiber.info;
  if (info.state != FIBERPROF_FIBER_PARKED || !fiber.settled || info.deadline_ns != 0) return true;
  if (info.context != 0 && cancellable(info.context)) return true;
  return std::any_of(fiber.alternatives.begin(), fiber.alternatives.end(),
                     [&](const Alternative& wait) { return can_end(fiber, wait); });
}

void Solver::depend(size_t index) {
  const FiberState& fiber = state_.fibers[index];
  const auto on_owner = [&](uint64_t id) { on_fiber_[id].push_back(index); };
  const auto on_contexts = [&](uint64_t context) {
    for (int depth = 0; context != 0 && depth < kDeepest; ++depth) {
      on_object_[context].push_back(index);
      const ObjectState* node = object(context);
      context = node == nullptr ? 0 : node->seen[1]->parent;
    }
  };
  on_contexts(fiber.info.context);
  for (const Alternative& wait : fiber.alternatives) {
    if (wait.reason == FIBERPROF_REASON_JOIN) {
      on_owner(wait.resource);
      continue;
    }
    if (wait.reason == FIBERPROF_REASON_CONTEXT) {
      on_contexts(wait.resource);
      continue;
    }
    on_object_[wait.resource].push_back(index);
    const ObjectState* found = object(wait.resource);
    if (found == nullptr) continue;
    if (found->seen[1]->owner != 0) on_owner(found->seen[1]->owner);
    if (wait.reason == FIBERPROF_REASON_RWLOCK_WRITE)
      for (const uint64_t reader : holders(wait.resource)) on_owner(reader);
    if (wait.reason == FIBERPROF_REASON_RWLOCK_READ)
      for (const uint64_t id : found->queue) {
        const FiberState* waiter = state_.find(id);
        if (waiter == nullptr || waiter->info.reason != FIBERPROF_REASON_RWLOCK_WRITE) continue;
        on_owner(id);
        break;
      }
  }
}

void Solver::make_live(size_t index) {
  if (live_[index] != 0) return;
  live_[index] = 1;
  todo_.push_back(index);
}

std::vector<size_t> Solver::dead() {
  const size_t count = state_.fibers.size();
  live_.assign(count, 0);
  for (size_t i = 0; i < count; ++i) depend(i);
  for (size_t i = 0; i < count; ++i)
    if (alive(state_.fibers[i])) make_live(i);
  std::vector<uint64_t> changed;
  const auto again = [&](const std::vector<size_t>& waiters) {
    for (const size_t waiter : waiters)
      if (live_[waiter] == 0 && alive(state_.fibers[waiter])) make_live(waiter);
  };
  while (!todo_.empty()) {
    const FiberState& fiber = state_.fibers[todo_.back()];
    todo_.pop_back();
    changed.clear();
    evidence_.revive(fiber, changed);
    if (const auto found = on_fiber_.find(fiber.info.id); found != on_fiber_.end()) again(found->second);
    for (const uint64_t address : changed)
      if (const auto found = on_object_.find(address); found != on_object_.end()) again(found->second);
  }
  std::vector<size_t> dead;
  for (size_t i = 0; i < count; ++i)
    if (live_[i] == 0) dead.push_back(i);
  return dead;
}

std::vector<Enabler> Solver::enablers(size_t index) const {
  const FiberState& fiber = state_.fibers[index];
  std::vector<Enabler> all;
  const auto add = [&](uint64_t id, uint64_t address) {
    const auto found = state_.by_id.find(id);
    if (found != state_.by_id.end() && live_[found->second] == 0) all.push_back({id, address});
  };
  for (const Alternative& wait : fiber.alternatives) {
    if (wait.reason == FIBERPROF_REASON_JOIN) {
      add(wait.resource, 0);
      continue;
    }
    const ObjectState* found = object(wait.resource);
    if (found == nullptr) continue;
    if (const uint64_t owner = found->seen[1]->owner; owner != 0) {
      add(owner, wait.resource);
    } else if (wait.reason == FIBERPROF_REASON_RWLOCK_WRITE) {
      if (found->readers_settled && found->orphaned > 0) continue;  // whatever the others do
      for (const uint64_t reader : holders(wait.resource)) add(reader, wait.resource);
    } else if (wait.reason == FIBERPROF_REASON_RWLOCK_READ) {
      for (const uint64_t id : found->queue) {
        const FiberState* waiter = state_.find(id);
        if (waiter == nullptr || waiter->info.reason != FIBERPROF_REASON_RWLOCK_WRITE) continue;
        add(id, wait.resource);
        break;
      }
    }
  }
  return all;
}

}  // namespace fiberprof
