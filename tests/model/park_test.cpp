// SPDX-License-Identifier: BSD-2-Clause
// Park and ready, and join, under every interleaving: runtime/sched/claim.h, spinlock.h and join.h, the code itself.
#include <gtest/gtest.h>

#include "report.h"
#include "sched/claim.h"
#include "sched/join.h"
#include "sched/spinlock.h"

namespace {

using namespace model;

using Claim = fiber::detail::BasicClaim<Atomics>;
namespace join = fiber::detail::join;

constexpr int kNotReady = 0, kReady = 1, kNeverParked = 2;

// A fiber as the protocols see it: registers that are on its stack or not, and a place in a run queue.
struct FiberModel {
  Plain<int> registers{0};  // written by the switch away, read by whoever resumes it
  Atomic<int> runnable{kNotReady};

  void ready() {
    check(runnable.exchange(kReady, std::memory_order_acq_rel) == kNotReady, "a fiber was readied twice");
  }
};

// Bugs of logic, as opposed to those of the explorer's Mutation.
enum class Bug { none, ready_unparked, ignore_commit };

struct ParkState {
  Claim claim;
  FiberModel fiber;
  Plain<int> result[3];
  int winners = 0;  // counted, not decided upon
  int resumed = 0;

  void go_on() {
    ++resumed;
    const std::uint32_t outcome = claim.outcome();
    check(outcome < 3, "the outcome is nobody's");
    check(result[outcome].get() == static_cast<int>(outcome) + 10, "the winner's result is not there");
  }
};

// park_claimed and claim (park.cpp): the parker and its processor's next step, several parties, and the processor
// that resumes the fiber when it finds it runnable.
Result park_scenario(unsigned parties, Mutation mutation = Mutation::none, Bug bug = Bug::none) {
  return explore({.name = "park", .mutation = mutation, .mutated_location = mutation == Mutation::none ? -1 : 0},
                 [=](Scenario& run) {
                   ParkState& state = run.make<ParkState>();
                   run.thread("parker", [&state, bug] {
                     if (state.claim.claimed()) {
                       state.fiber.runnable.store(kNeverParked);
                       state.go_on();
                       return;
                     }
                     state.fiber.registers.set(1);
                     // Off its stack: this is the next fiber's, or the scheduler's, finish_switch.
                     if (!state.claim.commit() && bug != Bug::ignore_commit) state.fiber.ready();
                   });
                   for (unsigned i = 0; i < parties; ++i) {
                     static constexpr const char* kNames[] = {"party 0", "party 1", "party 2"};
                     run.thread(kNames[i], [&state, i, bug] {
                       state.result[i].set(static_cast<int>(i) + 10);
                       const Claim::Attempt attempt = state.claim.attempt(i);
                       if (attempt != Claim::Attempt::lost) ++state.winners;
                       if (attempt == Claim::Attempt::won_parked ||
                           (attempt == Claim::Attempt::won && bug == Bug::ready_unparked)) {
                         state.fiber.ready();
                       }
                     });
                   }
                   run.thread("processor", [&state] {
                     state.fiber.runnable.await_not(kNotReady, "the fiber to be readied");
                     if (state.fiber.runnable.load() == kNeverParked) return;
                     check(state.fiber.registers.get() == 1, "a fiber was resumed before it was off its stack");
                     state.go_on();
                   });
                   run.at_end([&state] {
                     check(state.winners == 1, "not exactly one party has won");
                     check(state.resumed == 1, "the fiber did not go on exactly once");
                   });
                 });
}

// sleep_claimed (park.cpp): the waiter is a thread, and its claim ends with it. The party is not the last to touch it.
Result thread_scenario() {
  struct State {
    Atomic<Claim*> published;
    Plain<int> result;
  };
  return explore({.name = "park/thread"}, [](Scenario& run) {
    State& state = run.make<State>();
    run.thread("waiter", [&state] {
      Claim claim;
      state.published.store(&claim, std::memory_order_release);
      if (claim.commit()) claim.state.await_not(Claim::kParked, "the futex");
      check(claim.outcome() == 3 && state.result.get() == 1, "the result is not there");
    });
    run.thread("party", [&state] {
      state.published.await_not(nullptr, "the waiter");
      Claim* claim = state.published.load(std::memory_order_acquire);
      state.result.set(1);
      check(claim->attempt(3) != Claim::Attempt::lost, "the only party has lost");
    });
  });
}

// park_locked: the waiter is in a queue, whose lock the switch releases.
Result locked_scenario(Mutation mutation = Mutation::none, bool unlock_early = false) {
  struct State {
    Atomic<std::uint32_t> lock;
    Plain<bool> queued{false};
    FiberModel fiber;
  };
  return explore({.name = "park/locked", .mutation = mutation, .mutated_location = mutation == Mutation::none ? -1 : 0},
                 [=](Scenario& run) {
                   State& state = run.make<State>();
                   run.thread("parker", [&state, unlock_early] {
                     fiber::spin_lock(state.lock);
                     state.queued.set(true);
                     if (unlock_early) fiber::spin_unlock(state.lock);
                     state.fiber.registers.set(1);
                     if (!unlock_early) fiber::spin_unlock(state.lock);  // finish_switch
                   });
                   for (const char* name : {"waker 0", "waker 1"}) {
                     run.thread(name, [&state] {
                       fiber::spin_lock(state.lock);
                       const bool found = state.queued.get();
                       if (found) state.queued.set(false);
                       fiber::spin_unlock(state.lock);
                       if (found) state.fiber.ready();
                     });
                   }
                   run.thread("processor", [&state] {
                     // The wakers may both come too early: then nobody wakes it, and that is no fault of the lock's.
                     if (state.fiber.runnable.load(std::memory_order_acquire) == kNotReady) return;
                     check(state.fiber.registers.get() == 1, "a fiber was resumed before it was off its stack");
                   });
                 });
}

// join_wait_limited and join_finish (spawn.cpp). The claim is on the joiner's stack: nobody may touch it when it has
// left. `timed`: a timer may end the wait first; it is disarmed, behind its own lock, before the joiner leaves.
Result join_scenario(bool timed, Mutation mutation = Mutation::none, bool forget_finishing = false) {
  struct State {
    Atomic<std::uintptr_t> word;
    Plain<int> result;
    Lock timers;
    Plain<Claim*> armed;
    Atomic<int> readied;
    Atomic<bool> timer_done;
    int ended = 0;
  };
  return explore({.name = timed ? "join/timed" : "join",
                  .mutation = mutation,
                  .mutated_location = mutation == Mutation::none ? -1 : 0},
                 [=](Scenario& run) {
                   State& state = run.make<State>();
                   const auto wake = [&state](Claim& claim, std::uint32_t outcome) {
                     if (claim.attempt(outcome) != Claim::Attempt::won_parked) return;
                     check(state.readied.exchange(1, std::memory_order_acq_rel) == 0, "the joiner was readied twice");
                   };
                   run.thread("joiner", [&state, timed, forget_finishing] {
                     {
                       Claim claim;
                       const auto self = reinterpret_cast<std::uintptr_t>(&claim);
                       bool finished = true;
                       if (join::enter(state.word, self) == join::kNobody) {
                         if (timed) {
                           state.timers.lock();
                           state.armed.set(&claim);
                           state.timers.unlock();
                         }
                         if (!claim.claimed() && claim.commit()) state.readied.await(1, "the end of the fiber");
                         if (timed) {
                           state.timers.lock();
                           state.armed.set(nullptr);
                           state.timers.unlock();
                         }
                         if (claim.outcome() != 0) {
                           finished = !join::leave(state.word, self);
                           while (finished && !forget_finishing && !join::settled(state.word)) model::pause();
                         }
                       }
                       if (finished) check(state.result.get() == 42, "the result is not there");
                     }
                     ++state.ended;
                   });
                   run.thread("fiber", [&state, wake] {
                     state.result.set(42);
                     join::finish(state.word,
                                  [&](std::uintptr_t waiter) { wake(*reinterpret_cast<Claim*>(waiter), 0); });
                   });
                   if (timed) {
                     run.thread("timer", [&state, wake] {
                       state.timers.lock();
                       if (Claim* claim = state.armed.get()) {
                         state.armed.set(nullptr);
                         wake(*claim, 1);
                       }
                       state.timers.unlock();
                     });
                   }
                   run.at_end([&state] {
                     check(state.ended == 1, "the joiner did not go on");
                     check(state.word.load() == join::kFinished, "the end was forgotten");
                   });
                 });
}

}  // namespace

TEST(ParkModel, OneOfSeveralPartiesEndsAWait) {
  expect_holds("park, 1 party", park_scenario(1));
  expect_holds("park, 2 parties", park_scenario(2));
  expect_holds("park, 3 parties", park_scenario(3));
  expect_holds("park, of a thread", thread_scenario());
}

TEST(ParkModel, FindsTheBugsPutIntoTheClaim) {
  expect_found("a blind claim", park_scenario(2, Mutation::blind_cas), "readied twice");
  expect_found("a claim in two steps", park_scenario(2, Mutation::split_rmw), "readied twice");
  expect_found("a claim that releases nothing", park_scenario(1, Mutation::relaxed_stores), "a data race");
  expect_found("a claim that acquires nothing", park_scenario(1, Mutation::relaxed_loads), "a data race");
  expect_found("readied before it has parked", park_scenario(1, Mutation::none, Bug::ready_unparked), "readied twice");
  expect_found("the commit's answer ignored", park_scenario(1, Mutation::none, Bug::ignore_commit), "deadlock");
}

TEST(ParkModel, ALockIsHandedOverToTheSwitch) {
  expect_holds("park under a lock", locked_scenario());
  expect_found("unlocked before the switch", locked_scenario(Mutation::none, true), "a data race");
  expect_found("a lock without its exchange", locked_scenario(Mutation::split_rmw), "deadlock");
  expect_found("a lock that releases nothing", locked_scenario(Mutation::relaxed_stores), "a data race");
}

TEST(JoinModel, TheEndOfAFiberIsSeenOnce) {
  expect_holds("join", join_scenario(false));
  expect_holds("join with a deadline", join_scenario(true));
}

TEST(JoinModel, FindsTheBugsPutIn) {
  expect_found("a blind exchange", join_scenario(false, Mutation::blind_cas), "deadlock");
  expect_found("an end in two steps", join_scenario(false, Mutation::split_rmw), "deadlock");
  expect_found("an end that releases nothing", join_scenario(false, Mutation::relaxed_stores), "a data race");
  expect_found("a claim gone too early", join_scenario(true, Mutation::none, true), "after its end of life");
}
