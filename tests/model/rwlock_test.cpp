// SPDX-License-Identifier: BSD-2-Clause
// The reader-writer lock under every interleaving of a few threads: what happens to its state
// (runtime/sync/rwlock_state.h) is the code itself, as is most of waiter_model.h; what is around it is that of
// rwlock.cpp. A writer is inside alone and sees what others did there, readers see what writers did, and nobody waits
// for ever.
#include <gtest/gtest.h>

#include <vector>

#include "report.h"
#include "sync/rwlock_state.h"
#include "waiter_model.h"

namespace model {

namespace {

namespace rwlock = fiber::detail::rwlock;

using Count = Atomic<std::int64_t>;
// In a sequential exploration what is done with the object's lock is one step; but the count changes without it, too.
struct SteppedCount : Count {
  using Count::Count;
  std::int64_t load(std::memory_order order) const {
    split();
    return Count::load(order);
  }
  std::int64_t fetch_add(std::int64_t value, std::memory_order order) {
    split();
    return Count::fetch_add(value, order);
  }
  std::int64_t fetch_sub(std::int64_t value, std::memory_order order) {
    split();
    return Count::fetch_sub(value, order);
  }
  std::int64_t fetch_or(std::int64_t value, std::memory_order order) {
    split();
    return Count::fetch_or(value, order);
  }
  std::int64_t fetch_and(std::int64_t value, std::memory_order order) {
    split();
    return Count::fetch_and(value, order);
  }
};
// Bugs: nobody is kept out by those who wait; the last to leave does not see that somebody does.
struct CountWithoutWaiters : SteppedCount {
  using SteppedCount::SteppedCount;
  std::int64_t fetch_or(std::int64_t, std::memory_order order) { return SteppedCount::load(order); }
};

enum class Bug { none, leaves_without_looking, gives_up_quietly, takes_its_turn_anyway };

template <class CountType>
struct RwLockState {
  using Waiter = ModelWaiter<>;
  struct Object {
    Lock lock;
    CountType count{0};
    Atomic<std::uint64_t> owner{0};
    ModelQueue<Waiter> waiters;
  } object;
  Sleeper sleepers[5];
  ModelTimer timer;
  Plain<unsigned> written{0};
  Atomic<int> met{0};
  // Not part of the state: what happened.
  int readers = 0, writers = 0;

  // As regrant(); the lock is held, and is given up.
  void grant() {
    Sleeper* woken[4];
    int count = 0;
    rwlock::grant<Waiter>(object, [&](Waiter* waiter) {
      if (waiter->wait == nullptr) woken[count++] = &waiter->sleeper;
    });
    object.lock.unlock();
    for (int i = 0; i < count; ++i) woken[i]->ready();
  }

  // As RwLock::lock and lock_shared.
  bool lock(std::uint64_t self, bool writing, bool limited, Bug bug) {
    if (writing ? rwlock::enter(object, self) : rwlock::enter_shared(object)) return true;
    Waiter waiter(self, sleepers[self]);
    waiter.writing = writing;
    object.lock.lock();
    if (rwlock::come(object, self, writing)) {
      object.lock.unlock();
      return true;
    }
    if (wait_in(object, waiter, Place::last, limited ? &timer : nullptr)) return true;
    if (bug == Bug::takes_its_turn_anyway) return true;
    if (bug != Bug::gives_up_quietly) {
      object.lock.lock();
      grant();
    }
    return false;
  }

  // As unlock and unlock_shared.
  void unlock(bool writing, Bug bug) {
    if (writing ? rwlock::leave(object) : rwlock::leave_shared(object)) return;
    object.lock.lock();
    rwlock::leave_locked(object, writing);
    if (bug == Bug::leaves_without_looking) return object.lock.unlock();
    grant();
  }
};

struct Party {
  bool writing;
  int times = 1;
  bool limited = false;
  bool meets = false;  // stays until another reader is, or was, inside
};
constexpr Party kReader{false}, kWriter{true}, kHastyReader{false, 1, true}, kHastyWriter{true, 1, true},
    kMeetingReader{false, 1, false, true};

template <class CountType = Count>
Result rwlock_scenario(const char* name, std::vector<Party> parties, bool sequential, Bug bug = Bug::none,
                       Mutation mutation = Mutation::none, int location = -1) {
  using State = RwLockState<CountType>;
  const Options options{
      .name = name, .mutation = mutation, .mutated_location = location, .max_steps = 400, .sequential = sequential};
  return explore(options, [=](Scenario& run) {
    State& state = run.make<State>();
    bool any_limited = false, any_meets = false;
    for (std::size_t i = 0; i < parties.size(); ++i) {
      static const char* const kNames[] = {"first", "second", "third", "fourth"};
      const Party party = parties[i];
      any_limited |= party.limited;
      any_meets |= party.meets;
      run.thread(kNames[i], [&state, party, self = i + 1, bug] {
        for (int time = 0; time < party.times; ++time) {
          forget(static_cast<std::uint64_t>(time));
          if (!state.lock(self, party.writing, party.limited, bug)) continue;
          int& mine = party.writing ? state.writers : state.readers;
          ++mine;
          check(state.writers == 0 || (state.writers == 1 && state.readers == 0), "a writer is not alone");
          const unsigned seen = state.written.get();
          if (party.writing) {
            check(state.object.owner.load(std::memory_order_relaxed) == self, "who writes is not the owner");
            state.written.set(seen + 1);
          }
          if (party.meets) {
            state.met.await(1, "another reader");
          } else if (!party.writing) {
            state.met.store(1);
          }
          --mine;
          state.unlock(party.writing, bug);
        }
        forget(100);
        if (party.limited && state.timer.announced) state.timer.due.store(1);
      });
    }
    state.timer.announced = any_meets;
    if (any_limited) {
      run.thread("timer", [&state, any_meets] {
        // Not before somebody waits with a limit, if others wait for that to end.
        if (any_meets) state.timer.due.await(1, "somebody to wait with a limit");
        state.timer.expire();
      });
    }
    run.at_end([&state] {
      check(state.object.count.load(std::memory_order_relaxed) == 0 && state.object.owner.load() == 0,
            "it is not free at the end");
      check(state.object.waiters.head == nullptr, "somebody is left in the queue");
    });
  });
}

}  // namespace

TEST(RwLockModel, WritersAreAloneAndNobodyWaitsForEver) {
  expect_holds("rwlock, two writers", rwlock_scenario("rwlock/writers", {kWriter, kWriter}, false));
  expect_holds("rwlock, one reads", rwlock_scenario("rwlock/reader", {kReader, kWriter}, false));
  expect_holds("rwlock, two read",
               rwlock_scenario<SteppedCount>("rwlock/readers", {kReader, {false, 2}, kWriter}, true));
  expect_holds("rwlock, two write", rwlock_scenario<SteppedCount>("rwlock/three", {kReader, kWriter, kWriter}, true));
  expect_holds("rwlock, a writer gives up",
               rwlock_scenario<SteppedCount>("rwlock/hasty", {kReader, kHastyWriter, kReader}, true));
  expect_holds("rwlock, a writer between",
               rwlock_scenario<SteppedCount>("rwlock/between", {kMeetingReader, kHastyWriter, kReader}, true));
  expect_holds("rwlock, a reader gives up",
               rwlock_scenario<SteppedCount>("rwlock/hasty-reader", {kWriter, kHastyReader, kWriter}, true));
}

TEST(RwLockModel, FindsTheBugsPutIn) {
  const auto with = [](const char* name, std::vector<Party> parties, Bug bug) {
    return rwlock_scenario<SteppedCount>(name, std::move(parties), true, bug);
  };
  expect_found("waiters are not announced",
               rwlock_scenario<CountWithoutWaiters>("rwlock/silent", {kReader, kWriter}, true), "not free");
  expect_found("leaves without looking", with("rwlock/blind", {kReader, kWriter}, Bug::leaves_without_looking),
               "deadlock");
  expect_found("gives up quietly", with("rwlock/quiet", {kMeetingReader, kHastyWriter, kReader}, Bug::gives_up_quietly),
               "deadlock");
  expect_found("takes its turn anyway", with("rwlock/anyway", {kReader, kHastyWriter}, Bug::takes_its_turn_anyway),
               "not the owner");
  // Locations: 0 the object's lock, 1 the count.
  const auto mutated = [](const char* name, std::vector<Party> parties, Mutation mutation, int location) {
    return rwlock_scenario(name, std::move(parties), false, Bug::none, mutation, location);
  };
  expect_found("leaving releases nothing",
               mutated("rwlock/unreleased", {kReader, kWriter}, Mutation::relaxed_stores, 1), "a data race");
  expect_found("entering acquires nothing",
               mutated("rwlock/unacquired", {kReader, kWriter}, Mutation::relaxed_loads, 1), "a data race");
  expect_found("entering in two steps", mutated("rwlock/split", {kWriter, kWriter}, Mutation::split_rmw, 1), "");
}

}  // namespace model
