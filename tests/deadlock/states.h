// SPDX-License-Identifier: BSD-2-Clause
// States made by hand, and what is found in them.
#pragma once

#include <fiberprof/registry.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "deadlock/solver.h"
#include "deadlock/verdict.h"

namespace fiberprof::test {

class Solve : public testing::Test {
 protected:
  FiberState& fiber(uint64_t id, std::vector<Alternative> alternatives) {
    FiberState fiber;
    fiber.info.id = id;
    fiber.info.state = FIBERPROF_FIBER_PARKED;
    fiber.info.reason = alternatives.size() == 1 ? static_cast<uint8_t>(alternatives[0].reason)
                                                 : static_cast<uint8_t>(FIBERPROF_REASON_SELECT);
    fiber.settled = true;
    for (const Alternative& wait : alternatives)
      if (const auto found = state.objects.find(wait.resource); found != state.objects.end())
        (wait.reason == FIBERPROF_REASON_CHAN_RECV ? found->second.receivers : found->second.queue).push_back(id);
    fiber.alternatives = std::move(alternatives);
    state.by_id.emplace(id, state.fibers.size());
    state.fibers.push_back(std::move(fiber));
    return state.fibers.back();
  }
  void runs(uint64_t id) { fiber(id, {}).info.state = FIBERPROF_FIBER_RUNNING; }
  ObjectInfo& object(uint64_t address, uint32_t kind) {
    ObjectState& made = state.objects[address];
    made.seen[0] = ObjectInfo{};
    made.seen[0]->address = address;
    made.seen[0]->kind = kind;
    made.queue_complete = true;
    return *made.seen[0];
  }
  void mutex(uint64_t address, uint64_t owner) { object(address, FIBERPROF_OBJECT_MUTEX).owner = owner; }
  ObjectInfo& channel(uint64_t address, uint32_t senders = 1, uint32_t receivers = 1) {
    ObjectInfo& made = object(address, FIBERPROF_OBJECT_CHANNEL);
    made.send_rights = senders;
    made.receive_rights = receivers;
    return made;
  }
  std::vector<uint64_t> dead() { return dead_with(identity); }
  std::vector<uint64_t> dead_with(Evidence& evidence, Holdings holdings = {}) {
    for (auto& [address, object] : state.objects)
      if (!object.seen[1]) object.seen[1] = object.seen[0];
    Solver solver(state, evidence);
    const auto indices = solver.dead();
    verdict = explain(state, solver, indices, Grade::certain, std::move(holdings));
    std::vector<uint64_t> ids;
    for (const size_t index : indices) ids.push_back(state.fibers[index].info.id);
    return ids;
  }
  State state;
  IdentityEvidence identity;
  Verdict verdict;
};

constexpr Alternative lock(uint64_t mutex) { return {FIBERPROF_REASON_MUTEX, mutex}; }
constexpr Alternative receive(uint64_t channel) { return {FIBERPROF_REASON_CHAN_RECV, channel}; }
constexpr Alternative send(uint64_t channel) { return {FIBERPROF_REASON_CHAN_SEND, channel}; }

}  // namespace fiberprof::test
