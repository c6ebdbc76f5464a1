// SPDX-License-Identifier: BSD-2-Clause
// The lock of a synchronisation object (runtime/sched/biased_lock.h, the code itself) under every interleaving of a
// processor it is biased to and one or two others: one at a time is inside, each sees what the last one did there, and
// nobody waits for ever.
#include <gtest/gtest.h>

#include <utility>
#include <vector>

#include "barrier_policies.h"
#include "report.h"
#include "sched/biased_lock.h"

namespace {

using namespace model;
using namespace fiber::detail;

template <class Byte, class Bias>
struct BasicModelLock {
  Atomic<std::uint8_t> word{0};
  Byte held{0};
  Bias bias{0};
  Plain<std::uint16_t> recent{0}, streak{0}, backoff{0};
};
using ModelLock = BasicModelLock<Atomic<std::uint8_t>, Atomic<std::uint16_t>>;

// One thread each: the worker that holds processor 1, 2 and so on, or one that has none.
struct Party {
  std::uint16_t bias;
  int times;
};

// `streak`: as kStreak, small, so that a bias is set within the scenario.
template <class Policy = Atomics, class Lock = ModelLock>
Result lock_scenario(const char* name, std::uint16_t biased_to, std::vector<Party> parties, unsigned streak = 100,
                     Mutation mutation = Mutation::none, int location = -1, bool sequential = false) {
  struct State {
    Lock lock;
    Plain<unsigned> entered;
    int inside = 0;
  };
  const Options options{
      .name = name, .mutation = mutation, .mutated_location = location, .max_steps = 300, .sequential = sequential};
  return explore(options, [=](Scenario& run) {
    State& state = run.make<State>();
    state.lock.bias.store(biased_to);
    int expected = 0;
    for (std::size_t i = 0; i < parties.size(); ++i) {
      static const char* const kNames[] = {"first", "second", "third"};
      const Party party = parties[i];
      expected += party.times;
      run.thread(kNames[i], [&state, party, streak] {
        for (int time = 0; time < party.times; ++time) {
          forget(static_cast<std::uint64_t>(time));
          // As lock_object.
          const bool by_bias = lock_biased<Policy>(state.lock, party.bias);
          if (!by_bias) lock_word<Policy>(state.lock, party.bias, streak);
          check(state.inside++ == 0, "two are inside");
          const unsigned before = state.entered.get();
          split();
          state.entered.set(before + 1);
          --state.inside;
          // As unlock_object, by the caller or by the switch it was handed over to.
          if (by_bias) {
            state.lock.held.store(0, std::memory_order_release);
          } else {
            state.lock.word.store(0, std::memory_order_release);
          }
        }
      });
    }
    run.at_end([&state, expected] {
      check(state.entered.get() == static_cast<unsigned>(expected), "a critical section was lost");
      check(state.lock.word.load() == 0 && state.lock.held.load() == 0, "the lock is still held");
    });
  });
}

// The owner does not look a second time: the look after its barrier, in the same step, says what the first one said.
bool looks_again = false;
struct LooksOnce : Atomics {
  static void light_barrier() { looks_again = true; }
};
class SeenBias : public Atomic<std::uint16_t> {
 public:
  using Atomic<std::uint16_t>::Atomic;
  std::uint16_t load(std::memory_order order = std::memory_order_seq_cst) const {
    return std::exchange(looks_again, false) ? 1 : Atomic<std::uint16_t>::load(order);
  }
};

// Whoever has got `word` does not look whether a bias has come.
class NeverCame : public Atomic<std::uint16_t> {
 public:
  using Atomic<std::uint16_t>::Atomic;
  std::uint16_t load(std::memory_order order = std::memory_order_seq_cst) const {
    return order == std::memory_order_acquire ? kUnbiased : Atomic<std::uint16_t>::load(order);
  }
};

}  // namespace

TEST(BiasedLockModel, OwnerAndAnother) {
  expect_holds("bias, another revokes", lock_scenario("bias/revoke", 1, {{1, 2}, {2, 1}}));
  expect_holds("bias, no processor", lock_scenario("bias/foreign", 1, {{1, 2}, {kNoBias, 2}}));
  expect_holds("bias, unbiased", lock_scenario("bias/none", 0, {{1, 2}, {2, 2}}));
  // The first locking makes it the latest, the second and the third bias it.
  expect_holds("bias, comes meanwhile", lock_scenario("bias/comes", 0, {{1, 3}, {2, 1}}, 1));
  expect_holds("bias, comes back", lock_scenario("bias/back", 1, {{1, 4}, {kNoBias, 1}}, 1));
}

TEST(BiasedLockModel, OwnerAndTwoOthers) {
  // With all orders that weaker memory allows these are beyond reach; what barriers are for is seen above.
  const auto sequential = [](const char* name, std::uint16_t bias, std::vector<Party> parties, unsigned streak) {
    return lock_scenario(name, bias, std::move(parties), streak, Mutation::none, -1, true);
  };
  expect_holds("bias, nobody has it", sequential("bias/nobody", 0, {{1, 1}, {2, 1}, {kNoBias, 1}}, 100));
  expect_holds("bias, two revoke", sequential("bias/two", 1, {{1, 1}, {2, 1}, {kNoBias, 1}}, 100));
}

// Locations: 0 word, 1 held, 2 bias.
TEST(BiasedLockModel, FindsTheBugsPutIn) {
  const std::vector<Party> two{{1, 2}, {2, 1}};
  expect_found("no heavy barrier", lock_scenario<NoHeavyBarrier>("bias/no-heavy", 1, two), "a data race");
  using Once = BasicModelLock<Atomic<std::uint8_t>, SeenBias>;
  expect_found("owner looks once", lock_scenario<LooksOnce, Once>("bias/once", 1, {{1, 1}, {kNoBias, 1}}),
               "a data race");
  using Unseen = BasicModelLock<NeverSeen<std::uint8_t>, Atomic<std::uint16_t>>;
  expect_found("revoker does not wait", lock_scenario<Atomics, Unseen>("bias/no-wait", 1, two), "a data race");
  using Unset = BasicModelLock<NeverSet<std::uint8_t>, Atomic<std::uint16_t>>;
  expect_found("owner does not say so", lock_scenario<Atomics, Unset>("bias/silent", 1, two), "a data race");
  using Unchecked = BasicModelLock<Atomic<std::uint8_t>, NeverCame>;
  expect_found("bias that came is not seen",
               lock_scenario<Atomics, Unchecked>("bias/unchecked", 0, {{1, 3}, {2, 1}}, 1), "a data race");
  expect_found("owner's unlock not released",
               lock_scenario("bias/unreleased", 1, two, 100, Mutation::relaxed_stores, 1), "a data race");
  expect_found("word's unlock not released", lock_scenario("bias/word", 0, two, 100, Mutation::relaxed_stores, 0),
               "a data race");
  // Neither has a processor: the race is over what only a revoker touches then.
  expect_found("two revokers at once",
               lock_scenario("bias/both", 1, {{1, 1}, {kNoBias, 1}, {kNoBias, 1}}, 100, Mutation::blind_cas, 2),
               "a data race");
}
