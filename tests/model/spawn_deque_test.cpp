// SPDX-License-Identifier: BSD-2-Clause
// The deque of spawned fibers (runtime/sched/spawn_deque.h, the code itself with few slots) under every interleaving of
// its owner and thieves: each is taken once, with what its pusher wrote, and none is lost.
#include <gtest/gtest.h>

#include "report.h"
#include "sched/spawn_deque.h"

namespace {

using namespace model;

constexpr unsigned kMostItems = 4;

template <std::uint32_t Capacity>
struct DequeState {
  fiber::detail::BasicSpawnDeque<unsigned, Capacity, Atomics> deque;
  Plain<unsigned> written[kMostItems + 1];
  int taken[kMostItems + 1] = {};

  bool take(unsigned item) {
    if (item == 0) return false;
    check(item <= kMostItems, "a slot that holds no item was taken");
    check(written[item].get() == item, "an item was taken without what was written to it");
    ++taken[item];
    return true;
  }
};

// What the owner does, a letter a step: `+` pushes the next item, `-` pops. Each thief tries so many times.
template <std::uint32_t Capacity>
Result deque_scenario(const char* name, const char* owner, unsigned thieves, unsigned tries, unsigned before = 0,
                      Mutation mutation = Mutation::none, int location = -1) {
  return explore({.name = name, .mutation = mutation, .mutated_location = location}, [=](Scenario& run) {
    auto& state = run.make<DequeState<Capacity>>();
    for (unsigned i = 0; i < before; ++i) {
      state.deque.push(1);
      state.deque.take_oldest();
    }
    run.thread("owner", [&state, owner] {
      unsigned next = 1;
      for (const char* step = owner; *step != 0; ++step) {
        if (*step == '+') {
          state.written[next].set(next);
          if (!state.deque.push(next)) state.take(next);  // as LocalQueue: it goes elsewhere
          ++next;
        } else {
          state.take(state.deque.pop_newest());
        }
      }
    });
    for (unsigned t = 0; t < thieves; ++t) {
      run.thread(t == 0 ? "thief 0" : "thief 1", [&state, tries] {
        for (unsigned i = 0; i < tries; ++i) state.take(state.deque.take_oldest());
      });
    }
    unsigned pushed = 0;
    for (const char* step = owner; *step != 0; ++step) pushed += *step == '+';
    run.at_end([&state, pushed] {
      while (state.take(state.deque.pop_newest())) {
      }
      for (unsigned item = 1; item <= pushed; ++item) {
        check(state.taken[item] != 0, "an item was lost");
        check(state.taken[item] < 2, "an item was taken twice");
      }
    });
  });
}

}  // namespace

TEST(SpawnDequeModel, OwnerAndThieves) {
  expect_holds("deque, one item", deque_scenario<2>("deque/one", "+-", 1, 2));
  expect_holds("deque, two items", deque_scenario<4>("deque/two", "++--", 1, 2));
  expect_holds("deque, push after pop", deque_scenario<2>("deque/again", "+-++-", 1, 2, 1));
  expect_holds("deque, full", deque_scenario<2>("deque/full", "+++--", 1, 2, 1));
  expect_holds("deque, two thieves", deque_scenario<2>("deque/thieves", "++--", 2, 1));
}

// Locations: 0 top, 1 bottom, then the slots.
TEST(SpawnDequeModel, FindsTheBugsPutIn) {
  const auto broken = [](Mutation mutation, int location) {
    return deque_scenario<4>("deque/broken", "++--", 1, 2, 0, mutation, location);
  };
  expect_found("no fences", broken(Mutation::no_fences, -1), "taken twice");
  expect_found("top without the CAS", broken(Mutation::split_rmw, 0), "taken twice");
  expect_found("bottom not released", broken(Mutation::relaxed_stores, 1), "a data race");
}
