// SPDX-License-Identifier: BSD-2-Clause
// The mutex under every interleaving of a few threads: what happens to its state (runtime/sync/mutex_state.h and
// wait_queue.h) and how a wait with a limit ends (runtime/sched/claim.h) are the code itself; the loop around them is
// that of mutex.cpp and wait_in_claimed. One at a time is inside and sees what the one before did there, nobody waits
// for ever, and who was made to wait too long is not overtaken once more.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "report.h"
#include "sched/claim.h"
#include "sync/mutex_state.h"

namespace model {

using Claim = fiber::detail::BasicClaim<Atomics>;

// A fiber or thread as far as it waits.
struct Sleeper {
  Atomic<int> awake{0};
  void park() { awake.await(1, "to be made runnable", 0); }
  void ready() { check(awake.exchange(1, std::memory_order_acq_rel) == 0, "somebody was readied twice"); }
};

template <class Flag>
struct MutexWaiter {
  MutexWaiter(std::uint64_t whose, int start, Sleeper& its_sleeper) : self(whose), since(start), sleeper(its_sleeper) {}
  const std::uint64_t self;
  const int since;
  Sleeper& sleeper;
  Plain<MutexWaiter*> next{nullptr}, previous{nullptr};
  Plain<bool> queued{false};
  Flag success{false};
  Claim* wait = nullptr;  // does not change while others can see the waiter
  std::uint64_t id() const { return self; }
};

// As claim() and win_waiter().
inline bool end_wait(Claim& claim, Sleeper& sleeper, std::uint32_t outcome) {
  const Claim::Attempt attempt = claim.attempt(outcome);
  if (attempt == Claim::Attempt::won_parked) sleeper.ready();
  return attempt != Claim::Attempt::lost;
}
template <class Flag>
bool win_waiter(MutexWaiter<Flag>& waiter) {
  return waiter.wait == nullptr || end_wait(*waiter.wait, waiter.sleeper, 0);
}

// A flag that somebody forgets to set, or to take back.
struct ForgottenFlag : Plain<bool> {
  using Plain::Plain;
  bool operator=(bool value) { return value ? value : Plain<bool>::operator=(value); }  // NOLINT
};
struct LastingFlag : Plain<bool> {
  using Plain::Plain;
  bool operator=(bool value) { return value ? Plain<bool>::operator=(value) : value; }  // NOLINT
};

// Bugs of the loop.
enum class Bug { none, unlocks_before_it_queues, queues_last, gives_up_when_woken, keeps_its_place };

namespace {

namespace mutex = fiber::detail::mutex;
using fiber::detail::Place, fiber::detail::remove_waiter;

// `Waking`, `Starving`, `Success`: the types of these flags.
template <class Waking, class Starving, class Success>
struct MutexState {
  using Waiter = MutexWaiter<Success>;
  struct Object {
    Lock lock;
    Atomic<std::int64_t> count{mutex::kFree};
    Atomic<std::uint64_t> owner{0};
    struct {
      Plain<Waiter*> head{nullptr}, tail{nullptr};
    } waiters;
  } object;
  struct {
    Waking waking{false};
    Starving starving{false};
  } flags;
  Sleeper sleepers[4];
  Plain<unsigned> entered{0};
  Atomic<int> time{0};              // who has waited since an earlier one has waited for too long
  Plain<std::uint64_t> next_in{0};  // who must be the next inside, for it does not give up
  // the timer
  Lock timers;
  Plain<Claim*> armed{nullptr};
  Plain<std::uint64_t> armed_by{0};
  bool gives_up = false;  // whether somebody may
  // Not part of the state: what happened.
  int inside = 0;

  int now() const { return time.load(std::memory_order_relaxed); }
  // With the object's lock.
  void got_in(std::uint64_t self) {
    check(next_in.get() == 0 || next_in.get() == self, "who was made to wait too long was overtaken");
    next_in.set(0);
  }

  // As wait_in. False: the limit came first.
  bool wait(Waiter& waiter, Place place, bool limited, Bug bug) {
    if (bug == Bug::unlocks_before_it_queues) {
      object.lock.unlock();
      object.lock.lock();
    }
    if (!limited) {
      enqueue_waiter(object.waiters, waiter, place);
      object.lock.unlock();
      waiter.sleeper.park();
      return true;
    }
    Claim claim;
    waiter.wait = &claim;
    enqueue_waiter(object.waiters, waiter, place);
    object.lock.unlock();
    timers.lock();
    armed.set(&claim);
    armed_by.set(waiter.self);
    timers.unlock();
    if (!claim.claimed() && claim.commit()) waiter.sleeper.park();
    timers.lock();
    armed.set(nullptr);
    timers.unlock();
    object.lock.lock();
    if (bug != Bug::keeps_its_place) remove_waiter(object.waiters, waiter);
    object.lock.unlock();
    return claim.outcome() == 0;
  }

  // As Mutex::lock.
  bool lock(std::uint64_t self, bool limited, Bug bug) {
    object.lock.lock();
    const bool taken = mutex::take(object, self);
    if (taken) got_in(self);
    object.lock.unlock();
    const int since = now();
    for (bool woken = false; !taken;) {
      Waiter waiter(self, since, sleepers[self]);
      object.lock.lock();
      if (mutex::come(object, flags, self, woken, [&] { return now() > since; })) {
        got_in(self);
        object.lock.unlock();
        break;
      }
      if (woken && now() > since && !limited) next_in.set(self);
      if (!wait(waiter, woken && bug != Bug::queues_last ? Place::first : Place::last, limited, bug)) return false;
      if (waiter.success) break;
      woken = true;
      if (bug == Bug::gives_up_when_woken && limited) return false;
    }
    return true;
  }

  // As Mutex::unlock.
  void unlock() {
    object.lock.lock();
    object.owner.store(0, std::memory_order_relaxed);
    if (object.waiters.head == nullptr) {
      object.count.store(mutex::kFree, std::memory_order_relaxed);
      object.lock.unlock();
      return;
    }
    const Waiter* next =
        mutex::let_go<Waiter>(object, flags, [&](const Waiter& waiter) { return now() > waiter.since; });
    Sleeper* wake = next != nullptr && next->wait == nullptr ? &next->sleeper : nullptr;
    if (next != nullptr && next->success) {
      check(gives_up || now() > next->since, "it was handed to somebody who has not waited for long");
      got_in(next->self);
    }
    object.lock.unlock();
    if (wake != nullptr) wake->ready();
  }
};

struct Party {
  int times;
  bool limited = false;
};

template <class Waking = Plain<bool>, class Starving = Plain<bool>, class Success = Plain<bool>>
Result mutex_scenario(const char* name, std::vector<Party> parties, bool clock, bool sequential, Bug bug = Bug::none,
                      Mutation mutation = Mutation::none, int location = -1) {
  using State = MutexState<Waking, Starving, Success>;
  const Options options{
      .name = name, .mutation = mutation, .mutated_location = location, .max_steps = 400, .sequential = sequential};
  return explore(options, [=](Scenario& run) {
    State& state = run.make<State>();
    for (std::size_t i = 0; i < parties.size(); ++i) {
      static const char* const kNames[] = {"first", "second", "third"};
      const Party party = parties[i];
      state.gives_up |= party.limited;
      run.thread(kNames[i], [&state, party, self = i + 1, bug] {
        for (int time = 0; time < party.times; ++time) {
          forget(static_cast<std::uint64_t>(time));
          if (!state.lock(self, party.limited, bug)) continue;
          check(state.inside++ == 0, "two are inside");
          check(state.object.owner.load(std::memory_order_relaxed) == self, "who is inside is not the owner");
          state.entered.set(state.entered.get() + 1);
          --state.inside;
          state.unlock();
        }
        forget(100);
      });
    }
    if (clock) run.thread("clock", [&state] { state.time.store(1, std::memory_order_relaxed); });
    if (state.gives_up) {
      run.thread("timer", [&state] {
        state.timers.lock();
        if (Claim* claim = state.armed.get()) end_wait(*claim, state.sleepers[state.armed_by.get()], 1);
        state.timers.unlock();
      });
    }
    run.at_end([&state] {
      check(state.object.count.load() == mutex::kFree && state.object.owner.load() == 0, "it is not free at the end");
      check(state.object.waiters.head == nullptr, "somebody is left in the queue");
      check(!state.flags.waking, "somebody is still said to be on its way");
      // Of one that gave up a flag stays, until somebody lets go with others waiting.
      check(state.gives_up || !state.flags.starving, "it is still starving");
    });
  });
}

}  // namespace

TEST(MutexModel, OneIsInsideAndNobodyWaitsForEver) {
  expect_holds("mutex, two", mutex_scenario("mutex/two", {{1}, {1}}, false, false));
  expect_holds("mutex, a limit", mutex_scenario("mutex/limit", {{1}, {1, true}}, false, false));
  expect_holds("mutex, two twice", mutex_scenario("mutex/twice", {{2}, {2}}, true, true));
  expect_holds("mutex, three", mutex_scenario("mutex/three", {{1}, {1}, {2}}, true, true));
  expect_holds("mutex, three and a limit", mutex_scenario("mutex/limits", {{1}, {1, true}, {2}}, true, true));
}

TEST(MutexModel, FindsTheBugsPutIn) {
  const std::vector<Party> two{{2}, {2}}, three{{1}, {1}, {2}}, limited{{1}, {2, true}, {2}};
  expect_found("waking for ever", mutex_scenario<LastingFlag>("mutex/waking", three, false, true), "on its way");
  expect_found("never starving", mutex_scenario<Plain<bool>, ForgottenFlag>("mutex/patient", {{1}, {3}}, true, true),
               "overtaken");
  expect_found("starving for ever", mutex_scenario<Plain<bool>, LastingFlag>("mutex/starving", two, true, true),
               "it is still starving");
  expect_found("handed over in secret",
               mutex_scenario<Plain<bool>, Plain<bool>, ForgottenFlag>("mutex/secret", two, true, true), "deadlock");
  const auto with = [](const char* name, const std::vector<Party>& parties, Bug bug) {
    return mutex_scenario(name, parties, true, true, bug);
  };
  expect_found("queues without the lock", with("mutex/late", two, Bug::unlocks_before_it_queues), "deadlock");
  expect_found("goes to the end when woken", with("mutex/end", three, Bug::queues_last), "overtaken");
  expect_found("woken and gives up", with("mutex/gives-up", limited, Bug::gives_up_when_woken), "on its way");
  expect_found("keeps its place", with("mutex/place", limited, Bug::keeps_its_place), "after its end of life");
  // Location 0: the object's lock.
  expect_found("a lock that releases nothing",
               mutex_scenario("mutex/relaxed", {{1}, {1}}, false, false, Bug::none, Mutation::relaxed_stores, 0),
               "a data race");
}

}  // namespace model
