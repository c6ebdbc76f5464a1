// SPDX-License-Identifier: BSD-2-Clause
// The mutex under every interleaving of a few threads: what happens to its state (runtime/sync/mutex_state.h) is the
// code itself, as is most of waiter_model.h; the loop around it is that of mutex.cpp. One at a time is inside and sees
// what the one before did there, nobody waits for ever, and who was made to wait too long is not overtaken once more.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "report.h"
#include "sync/mutex_state.h"
#include "waiter_model.h"

namespace model {

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

// `Waking`, `Starving`, `Success`: the types of these flags.
template <class Waking, class Starving, class Success>
struct MutexState {
  using Waiter = ModelWaiter<Success>;
  struct Object {
    Lock lock;
    Atomic<std::int64_t> count{mutex::kFree};
    Atomic<std::uint64_t> owner{0};
    ModelQueue<Waiter> waiters;
  } object;
  struct {
    Waking waking{false};
    Starving starving{false};
  } flags;
  Sleeper sleepers[4];
  Plain<unsigned> entered{0};
  Atomic<int> time{0};              // who has waited since an earlier one has waited for too long
  Plain<std::uint64_t> next_in{0};  // who must be the next inside, for it does not give up
  ModelTimer timer;
  bool gives_up = false;  // whether somebody may
  // Not part of the state: what happened.
  int inside = 0;

  int now() const { return time.load(std::memory_order_relaxed); }
  // With the object's lock.
  void got_in(std::uint64_t self) {
    check(next_in.get() == 0 || next_in.get() == self, "who was made to wait too long was overtaken");
    next_in.set(0);
  }

  // As Mutex::lock.
  bool lock(std::uint64_t self, bool limited, Bug bug) {
    object.lock.lock();
    const bool taken = mutex::take(object, self);
    if (taken) got_in(self);
    object.lock.unlock();
    const int since = now();
    for (bool woken = false; !taken;) {
      Waiter waiter(self, sleepers[self]);
      waiter.since = since;
      object.lock.lock();
      if (mutex::come(object, flags, self, woken, [&] { return now() > since; })) {
        got_in(self);
        object.lock.unlock();
        break;
      }
      if (woken && now() > since && !limited) next_in.set(self);
      if (bug == Bug::unlocks_before_it_queues) {
        object.lock.unlock();
        object.lock.lock();
      }
      const Place place = woken && bug != Bug::queues_last ? Place::first : Place::last;
      if (!wait_in(object, waiter, place, limited ? &timer : nullptr, bug != Bug::keeps_its_place)) return false;
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
      run.thread("timer", [&state] { state.timer.expire(); });
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
