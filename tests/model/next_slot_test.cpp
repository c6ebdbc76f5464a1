// SPDX-License-Identifier: BSD-2-Clause
// The fiber that runs next (runtime/sched/next_slot.h, the code itself) under every interleaving of its owner, who has
// only compiler barriers, and thieves, who have membarrier: each is taken once, with what its pusher wrote.
#include <gtest/gtest.h>

#include "barrier_policies.h"
#include "report.h"
#include "sched/next_slot.h"

namespace {

using namespace model;

constexpr unsigned kMostItems = 4;

template <class Policy>
struct SlotState {
  fiber::detail::NextSlot<unsigned, Policy> slot;
  Plain<unsigned> written[kMostItems + 1];
  int taken[kMostItems + 1] = {};

  void take(unsigned item) {
    if (item == 0) return;
    check(item <= kMostItems, "something that is no item was taken");
    check(written[item].get() == item, "an item was taken without what was written to it");
    ++taken[item];
  }
};

// What the owner does, a letter a step: `+` puts the next item there and takes the one displaced, `-` takes.
template <class Policy = Atomics>
Result slot_scenario(const char* name, const char* owner, unsigned thieves, unsigned tries = 1,
                     Mutation mutation = Mutation::none, int location = -1) {
  return explore({.name = name, .mutation = mutation, .mutated_location = location}, [=](Scenario& run) {
    auto& state = run.make<SlotState<Policy>>();
    run.thread("owner", [&state, owner] {
      unsigned next = 1;
      for (const char* step = owner; *step != 0; ++step) {
        if (*step == '+') {
          state.written[next].set(next);
          state.take(state.slot.swap(next++));
        } else {
          state.take(state.slot.swap(0));
        }
      }
    });
    for (unsigned t = 0; t < thieves; ++t) {
      run.thread(t == 0 ? "thief 0" : "thief 1", [&state, tries] {
        for (unsigned i = 0; i < tries; ++i) state.take(state.slot.steal());
      });
    }
    unsigned pushed = 0;
    for (const char* step = owner; *step != 0; ++step) pushed += *step == '+';
    run.at_end([&state, pushed] {
      state.take(state.slot.peek());
      for (unsigned item = 1; item <= pushed; ++item) {
        check(state.taken[item] != 0, "an item was lost");
        check(state.taken[item] < 2, "an item was taken twice");
      }
    });
  });
}

// `busy` and `contended` are both bool; only `busy` is set by a store.
struct NeverBusy : Atomics {
  template <class T>
  using atomic = std::conditional_t<std::is_same_v<T, bool>, NeverSet<T>, Atomic<T>>;
};

}  // namespace

TEST(NextSlotModel, OwnerAndThieves) {
  expect_holds("slot, one thief", slot_scenario("slot/one", "+-+-", 1));
  expect_holds("slot, displaced", slot_scenario("slot/displaced", "+++-", 1));
  expect_holds("slot, a thief comes twice", slot_scenario("slot/twice", "+-+", 1, 2));
  expect_holds("slot, two thieves", slot_scenario("slot/thieves", "+-+", 2));
}

// Locations: 0 the item, 1 busy, 2 contended.
TEST(NextSlotModel, FindsTheBugsPutIn) {
  expect_found("no heavy barrier", slot_scenario<NoHeavyBarrier>("slot/no-heavy", "+-", 1), "taken twice");
  expect_found("never busy", slot_scenario<NeverBusy>("slot/never-busy", "+-", 1), "taken twice");
  const auto broken = [](Mutation mutation, int location) {
    return slot_scenario("slot/broken", "+-+-", 1, 2, mutation, location);
  };
  expect_found("item not released", broken(Mutation::relaxed_stores, 0), "a data race");
  expect_found("end of a theft not released", broken(Mutation::relaxed_stores, 2), "taken twice");
  expect_found("end of a theft not acquired", broken(Mutation::relaxed_loads, 2), "taken twice");
  expect_found("item swapped in two steps", broken(Mutation::split_rmw, 0), "an item was");
  expect_found("two thieves at once", slot_scenario("slot/both", "+-+-", 2, 1, Mutation::blind_cas, 2), "an item was");
}
