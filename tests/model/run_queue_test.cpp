// SPDX-License-Identifier: BSD-2-Clause
// The run queue (runtime/sched/run_queue.h, the code itself with a small ring) under every interleaving of its owner
// and thieves: every fiber is taken exactly once, with what its pusher wrote before, and none is lost.
#include <gtest/gtest.h>

#include "report.h"
#include "sched/run_queue.h"

namespace {

using namespace model;

constexpr unsigned kMostItems = 5;

template <std::uint32_t Capacity>
using Queue = fiber::detail::BasicRunQueue<unsigned, Capacity, Atomics>;

// Items are numbered from 1. `written` stands for the fiber's own memory, written before it is pushed and read by
// whoever takes it.
template <std::uint32_t Capacity>
struct Ring {
  Queue<Capacity> queue;
  Plain<unsigned> written[kMostItems + 1];
  int taken[kMostItems + 1] = {};
  unsigned pushed = 0;

  void push(unsigned item) {
    written[item].set(item);
    ++pushed;
    if (queue.push(item)) return;
    take(item);  // with a full ring it goes elsewhere
  }
  void take(unsigned item) {
    if (item == 0) return;
    check(item <= kMostItems, "a slot that holds no item was taken");
    check(written[item].get() == item, "an item was taken without what was written to it");
    ++taken[item];
  }
  bool pop() {
    const unsigned item = queue.pop();
    take(item);
    return item != 0;
  }
  void steal(Queue<Capacity>& own) {
    take(queue.steal_into(own));
    while (const unsigned item = own.pop()) take(item);
  }
  void check_all_taken_once() {
    for (unsigned item = 1; item <= pushed; ++item) {
      check(taken[item] != 0, "an item was lost");
      check(taken[item] < 2, "an item was taken twice");
    }
  }
};

// What the owner does, one letter a step: `+` pushes the next item, `-` pops. At the end it pops until empty.
template <std::uint32_t Capacity>
Result queue_scenario(const char* name, const char* owner, unsigned thieves, unsigned before,
                      Mutation mutation = Mutation::none, int location = -1) {
  struct State {
    Ring<Capacity> ring;
    Queue<Capacity> own[2];
  };
  return explore({.name = name, .mutation = mutation, .mutated_location = location}, [=](Scenario& run) {
    State& state = run.make<State>();
    // Turns the ring, so that indices wrap around inside the scenario.
    for (unsigned i = 0; i < before; ++i) {
      state.ring.queue.push(1);
      state.ring.queue.pop();
    }
    run.thread("owner", [&state, owner] {
      unsigned next = 1;
      for (const char* step = owner; *step != 0; ++step) {
        if (*step == '+') {
          state.ring.push(next++);
        } else {
          state.ring.pop();
        }
      }
      while (state.ring.pop()) {
      }
    });
    for (unsigned t = 0; t < thieves; ++t) {
      run.thread(t == 0 ? "thief 0" : "thief 1", [&state, t] { state.ring.steal(state.own[t]); });
    }
    run.at_end([&state] {
      while (state.ring.pop()) {
      }
      state.ring.check_all_taken_once();
    });
  });
}

}  // namespace

TEST(RunQueueModel, OwnerAndOneThief) {
  expect_holds("queue/push-pop", queue_scenario<4>("queue/push-pop", "++-+-", 1, 0));
  expect_holds("queue/wrap", queue_scenario<4>("queue/wrap", "+++-+", 1, 3));
  expect_holds("queue/full", queue_scenario<4>("queue/full", "+++++", 1, 2));
  expect_holds("queue/ring-of-2", queue_scenario<2>("queue/ring-of-2", "+++-+", 1, 1));
}

// The explorer is only worth something if it finds these. Locations: 0 head, 1 tail, then the slots.
TEST(RunQueueModel, FindsTheBugsPutIn) {
  const auto broken = [](Mutation mutation, int location) {
    return queue_scenario<4>("queue/broken", "++-+-", 1, 0, mutation, location);
  };
  expect_found("head without the CAS", broken(Mutation::split_rmw, 0), "taken twice");
  expect_found("head set blindly", broken(Mutation::blind_cas, 0), "taken twice");
  expect_found("tail not released", broken(Mutation::relaxed_stores, 1), "a data race");
  expect_found("tail not acquired", broken(Mutation::relaxed_loads, 1), "a data race");
}

TEST(RunQueueModel, OwnerAndTwoThieves) {
  expect_holds("queue/thieves", queue_scenario<4>("queue/thieves", "++-", 2, 0));
  expect_holds("queue/thieves-full", queue_scenario<2>("queue/thieves-full", "+++", 2, 1));
  expect_holds("queue/thieves-pop", queue_scenario<4>("queue/thieves-pop", "++-+", 2, 3));
}
