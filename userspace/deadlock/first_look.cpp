// SPDX-License-Identifier: BSD-2-Clause
#include "deadlock/first_look.h"

#include <fiberprof/registry.h>

#include <algorithm>

#include "deadlock/waits.h"

namespace fiberprof {

void FirstLook::add(const FiberInfo& info) {
  fiber_.alternatives.clear();
  bool open = info.state != FIBERPROF_FIBER_PARKED || info.deadline_ns != 0;
  if (!open) {
    fiber_.info = info;
    read_alternatives(view_, fiber_);
    open = !in_question(fiber_) || stays_open(fiber_);
  }
  if (open)
    others_.push_back(info.id);
  else
    candidates_.push_back({info.id, info.slot, depends_on(fiber_), static_cast<uint32_t>(info.switches)});
}

// Even if no other fiber lived: identity says nothing of what it waits for, or the object itself does.
bool FirstLook::stays_open(FiberState& fiber) {
  // Of what these wait for other fibers say whether it comes.
  const auto depends = [](const Alternative& wait) {
    return wait.reason == FIBERPROF_REASON_JOIN || object_kind_of(wait.reason) == FIBERPROF_OBJECT_RWLOCK;
  };
  if (std::any_of(fiber.alternatives.begin(), fiber.alternatives.end(), depends)) return false;
  if (seen_.objects.size() > kObjects) seen_.objects.clear();
  read_objects(reader_, fiber, seen_, 0);
  as_seen_once(fiber.info.context);
  for (const Alternative& wait : fiber.alternatives) as_seen_once(wait.resource);
  fiber.settled = true;
  const bool open = solver_.stays_open(fiber);
  fiber.settled = false;
  return open;
}

void FirstLook::as_seen_once(uint64_t address) {
  for (int depth = 0; address != 0 && depth < kDeepestContext; ++depth) {
    const auto found = seen_.objects.find(address);
    if (found == seen_.objects.end() || !found->second.seen[0] || found->second.seen[1]) return;
    found->second.seen[1] = found->second.seen[0];
    address = found->second.seen[0]->kind == FIBERPROF_OBJECT_CONTEXT ? found->second.seen[0]->parent : 0;
  }
}

// Of a wait that only one fiber could end, which.
uint64_t FirstLook::depends_on(const FiberState& fiber) const {
  if (fiber.alternatives.size() != 1) return 0;
  const Alternative& wait = fiber.alternatives[0];
  if (wait.reason == FIBERPROF_REASON_JOIN) return wait.resource;
  if (wait.reason != FIBERPROF_REASON_MUTEX && wait.reason != FIBERPROF_REASON_ONCE) return 0;
  const auto found = seen_.objects.find(wait.resource);
  return found == seen_.objects.end() || !found->second.readable() ? 0 : found->second.seen[1]->owner;
}

FirstLook::Candidate* FirstLook::candidate(uint64_t id) {
  const auto found = std::ranges::lower_bound(candidates_, id, {}, &Candidate::id);
  return found == candidates_.end() || found->id != id ? nullptr : &*found;
}

// From fiber to fiber as each depends on the next: to one that lives, or in a circle, or to where it is not so simple.
void FirstLook::follow(Candidate& first) {
  using Known = Candidate::Known;
  Known end = Known::may_be_dead;
  for (Candidate* at = &first;;) {
    if (at->known != Known::no) {
      if (at->known == Known::lives) end = Known::lives;
      break;
    }
    at->known = Known::in_work;
    if (at->depends == 0) break;
    Candidate* next = candidate(at->depends);
    if (next == nullptr) {
      if (std::ranges::binary_search(others_, at->depends)) end = Known::lives;
      break;
    }
    at = next;
  }
  for (Candidate* at = &first; at != nullptr && at->known == Known::in_work; at = candidate(at->depends))
    at->known = end;
}

std::vector<FiberInfo> FirstLook::left() {
  std::ranges::sort(candidates_, {}, &Candidate::id);
  std::ranges::sort(others_);
  for (Candidate& one : candidates_) follow(one);
  others_ = {};
  std::erase_if(candidates_, [](const Candidate& one) { return one.known == Candidate::Known::lives; });
  std::vector<FiberInfo> left;
  for (const Candidate& one : candidates_) {
    FiberInfo stub;
    stub.id = one.id;
    stub.slot = one.slot;
    const auto info = view_.again(stub);
    if (info && static_cast<uint32_t>(info->switches) == one.switches) left.push_back(*info);
  }
  candidates_ = {};
  return left;
}

}  // namespace fiberprof
