// SPDX-License-Identifier: BSD-2-Clause
// Contexts, and that every wait takes one, or a deadline, or both.
#include <fiber/all.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "on_processors.h"

using namespace std::chrono_literals;
using fiber::Status;
using fiber::Why;

namespace {

class Contexts : public OnProcessors {};
INSTANTIATE_TEST_SUITE_P(Processors, Contexts, testing::Values(1u, 2u, 4u));

// Every kind of wait, on something that never happens.
struct EndlessWait {
  const char* name;
  std::function<Status(fiber::Limit)> wait;
};

// What the waits below wait for.
struct Things {
  fiber::Channel<int> empty;
  fiber::Channel<int> full{1};
  fiber::Receiver<int> nil;
  fiber::Mutex held;
  fiber::Mutex free;
  fiber::Condition condition;
  fiber::WaitGroup group{1};
  fiber::CancelSource other;
  fiber::JoinHandle<void> fiber;
  fiber::Channel<bool> end;

  Things() : other(fiber::with_cancel()) {
    full.send(1);
    fiber::WaitGroup locked(1);
    fiber = fiber::spawn([&] {
      std::lock_guard guard(held);
      locked.done();
      end.receive();
    });
    locked.wait();
  }
  ~Things() {
    end.close();
    fiber.join();
  }

  std::vector<EndlessWait> waits() {
    return {
        {"receive", [this](fiber::Limit limit) { return empty.receive(limit).status; }},
        {"send", [this](fiber::Limit limit) { return full.send(2, limit); }},
        {"nil channel", [this](fiber::Limit limit) { return nil.receive(limit).status; }},
        {"mutex", [this](fiber::Limit limit) { return held.lock(limit); }},
        {"condition",
         [this](fiber::Limit limit) {
           std::unique_lock lock(free);
           const Status status = condition.wait(lock, limit);
           EXPECT_TRUE(lock.owns_lock());
           return status;
         }},
        {"wait group", [this](fiber::Limit limit) { return group.wait(limit); }},
        {"join", [this](fiber::Limit limit) { return fiber.wait(limit); }},
        {"sleep", [](fiber::Limit limit) { return fiber::sleep_for(1h, limit); }},
        {"context", [this](fiber::Limit limit) { return other.context().wait(limit); }},
        {"background", [](fiber::Limit limit) { return fiber::Context().wait(limit); }},
    };
  }
};

}  // namespace

TEST_P(Contexts, EveryWaitEndsWhenItsContextIsCancelled) {
  run([] {
    Things things;
    for (const EndlessWait& endless : things.waits()) {
      fiber::CancelSource source = fiber::with_cancel();
      auto waiter = fiber::spawn([&] { return endless.wait(source.context()); });
      for (int i = 0; i < 3; ++i) fiber::yield();
      source.cancel();
      EXPECT_EQ(waiter.join(), Status::cancelled) << endless.name;
      // One that is cancelled already does not park.
      EXPECT_EQ(endless.wait(source.context()), Status::cancelled) << endless.name;
    }
  });
}

TEST_P(Contexts, EveryWaitSaysWhichOfDeadlineAndContextCameFirst) {
  run([] {
    Things things;
    for (const EndlessWait& endless : things.waits()) {
      EXPECT_EQ(endless.wait(1ms), Status::timed_out) << endless.name;
      EXPECT_EQ(endless.wait(fiber::Clock::now() - 1s), Status::timed_out) << endless.name;
      EXPECT_EQ(endless.wait(fiber::with_timeout({}, 1ms)), Status::cancelled) << endless.name;
      EXPECT_EQ(endless.wait(fiber::Limit(fiber::with_timeout({}, 1ms), 1h)), Status::cancelled) << endless.name;
      EXPECT_EQ(endless.wait(fiber::Limit(fiber::with_timeout({}, 1h), 1ms)), Status::timed_out) << endless.name;
      fiber::CancelSource source = fiber::with_cancel();
      EXPECT_EQ(endless.wait(fiber::Limit(source.context(), 1ms)), Status::timed_out) << endless.name;
    }
  });
}

TEST_P(Contexts, ALimitedWaitThatNeedNotWaitSucceeds) {
  run([] {
    fiber::CancelSource source = fiber::with_cancel();
    source.cancel();
    const fiber::Context& cancelled = source.context();
    fiber::Channel<int> channel(1);
    EXPECT_EQ(channel.send(7, cancelled), Status::done);
    auto received = channel.receive(cancelled);
    EXPECT_EQ(received.status, Status::done);
    EXPECT_EQ(received, 7);
    channel.close();
    EXPECT_EQ(channel.receive(cancelled).status, Status::closed);
    fiber::Mutex mutex;
    EXPECT_EQ(mutex.lock(cancelled), Status::done);
    mutex.unlock();
    EXPECT_EQ(fiber::WaitGroup(0).wait(cancelled), Status::done);
    auto finished = fiber::spawn([] { return 3; });
    EXPECT_EQ(finished.wait(), Status::done);
    EXPECT_EQ(finished.wait(cancelled), Status::done);
    EXPECT_EQ(finished.join(), 3);
    EXPECT_EQ(cancelled.wait(0ms), Status::done);
  });
}

TEST_P(Contexts, ALimitedWaitIsDoneWhenWhatItWaitsForHappens) {
  run([] {
    fiber::CancelSource source = fiber::with_cancel();
    const fiber::Limit limit(source.context(), 1h);
    fiber::Channel<int> channel;
    auto receiver = fiber::spawn([&] { return channel.receive(limit); });
    EXPECT_EQ(channel.send(5, limit), Status::done);
    EXPECT_EQ(receiver.join(), 5);
    auto closed = fiber::spawn([&] { return channel.receive(limit).status; });
    fiber::yield();
    channel.close();
    EXPECT_EQ(closed.join(), Status::closed);
    fiber::WaitGroup group(1);
    auto waiter = fiber::spawn([&] { return group.wait(limit); });
    fiber::yield();
    group.done();
    EXPECT_EQ(waiter.join(), Status::done);
    EXPECT_EQ(fiber::sleep_for(1ms, limit), Status::done);
    fiber::CancelSource other = fiber::with_cancel();
    auto watcher = fiber::spawn([&] { return other.context().wait(limit); });
    fiber::yield();
    other.cancel();
    EXPECT_EQ(watcher.join(), Status::done);
    EXPECT_EQ(fiber::with_timeout({}, 1ms).wait(limit), Status::done);
  });
}

TEST_P(Contexts, CancellingAParentCancelsWhatWasDerivedFromIt) {
  run([] {
    fiber::CancelSource root = fiber::with_cancel();
    fiber::CancelSource left = fiber::with_cancel(fiber::with_timeout(root.context(), 1h));
    static constexpr fiber::ContextKey<int> key;
    fiber::CancelSource below = fiber::with_cancel(fiber::with_value(left.context(), key, 1));
    fiber::CancelSource right = fiber::with_cancel(root.context());
    const fiber::Context leaf = fiber::with_timeout(below.context(), 2h);

    left.cancel();
    EXPECT_EQ(left.context().why(), Why::cancelled);
    EXPECT_EQ(below.context().why(), Why::cancelled);
    EXPECT_EQ(leaf.why(), Why::cancelled);
    EXPECT_FALSE(root.context().cancelled());
    EXPECT_FALSE(right.context().cancelled());
    root.cancel();
    root.cancel();
    EXPECT_TRUE(right.context().cancelled());
    EXPECT_TRUE(fiber::with_cancel(root.context()).context().cancelled());
    EXPECT_TRUE(fiber::with_timeout(right.context(), 1h).cancelled());
  });
}

TEST_P(Contexts, DeadlinesAreInheritedAndTheReasonStays) {
  run([] {
    const fiber::Deadline soon = fiber::Clock::now() + 3ms;
    const fiber::Context outer = fiber::with_deadline({}, soon);
    fiber::CancelSource inner = fiber::with_cancel(fiber::with_timeout(outer, 1h));
    EXPECT_EQ(inner.context().deadline(), soon);
    EXPECT_EQ(fiber::with_deadline(outer, soon - 1ms).deadline(), soon - 1ms);
    EXPECT_EQ(fiber::Context().deadline(), fiber::Deadline::max());
    EXPECT_EQ(inner.context().wait(), Status::done);
    EXPECT_GE(fiber::Clock::now(), soon);
    EXPECT_EQ(inner.context().why(), Why::deadline_exceeded);
    inner.cancel();
    EXPECT_EQ(inner.context().why(), Why::deadline_exceeded);

    // First cancelled, then too late.
    fiber::CancelSource early = fiber::with_cancel(fiber::with_timeout({}, 2ms));
    early.cancel();
    fiber::sleep_for(3ms);
    EXPECT_EQ(early.context().why(), Why::cancelled);
  });
}

TEST_P(Contexts, ValuesAreFoundByKeyInTheNearestContext) {
  run([] {
    static constexpr fiber::ContextKey<std::string> user;
    static constexpr fiber::ContextKey<std::string> city;
    static constexpr fiber::ContextKey<std::shared_ptr<int>> shared;
    std::weak_ptr<int> watched;
    {
      auto number = std::make_shared<int>(9);
      watched = number;
      const fiber::Context outer = fiber::with_value(fiber::with_value({}, user, "anna"), shared, number);
      number.reset();
      fiber::CancelSource source = fiber::with_cancel(outer);
      const fiber::Context inner = fiber::with_value(source.context(), user, "berta");
      EXPECT_EQ(*outer.value(user), "anna");
      EXPECT_EQ(*inner.value(user), "berta");
      EXPECT_EQ(inner.value(city), nullptr);
      EXPECT_EQ(**inner.value(shared), 9);
      EXPECT_EQ(fiber::Context().value(user), nullptr);
    }
    EXPECT_TRUE(watched.expired());
  });
}

TEST_P(Contexts, TheEndOfASourceCancels) {
  run([] {
    fiber::Context watched;
    {
      fiber::CancelSource source = fiber::with_cancel();
      watched = source.context();
      fiber::CancelSource moved = std::move(source);
      source = fiber::CancelSource();
      EXPECT_FALSE(watched.cancelled());
    }
    EXPECT_TRUE(watched.cancelled());
    fiber::CancelSource source = fiber::with_cancel();
    watched = source.context();
    source = fiber::with_cancel();
    EXPECT_TRUE(watched.cancelled());
  });
}

TEST_P(Contexts, VeryLongChainsNeedNoStack) {
  run([] {
    fiber::CancelSource root = fiber::with_cancel();
    std::vector<fiber::CancelSource> chain;
    chain.push_back(fiber::with_cancel(root.context()));
    for (int i = 0; i < 20'000; ++i) chain.push_back(fiber::with_cancel(chain.back().context()));
    root.cancel();
    EXPECT_TRUE(chain.back().context().cancelled());
    fiber::Context last;
    for (int i = 0; i < 20'000; ++i) last = fiber::with_timeout(last, 1h);
  });
}

TEST_P(Contexts, SelectOnDone) {
  run([] {
    fiber::Channel<int> silent, busy(1);
    fiber::CancelSource source = fiber::with_cancel();
    auto once = [&](auto& channel, fiber::Limit give_up) {
      std::string taken;
      fiber::select(fiber::on_receive(channel, [&](auto) { taken = "value"; }),
                    fiber::on_done(source.context(), [&] { taken = "done"; }),
                    fiber::until(give_up.deadline(), [&] { taken = "deadline"; }));
      return taken;
    };
    busy.send(1);
    EXPECT_EQ(once(busy, 1h), "value");
    EXPECT_EQ(once(silent, 1ms), "deadline");
    auto waiter = fiber::spawn([&] { return once(silent, 1h); });
    fiber::yield();
    source.cancel();
    EXPECT_EQ(waiter.join(), "done");
    // A loop over a channel that is always ready ends, too.
    busy.send(1);
    EXPECT_EQ(once(busy, 1h), "done");
    // Alone, and before the default.
    std::string taken;
    EXPECT_EQ(fiber::select(fiber::on_done(fiber::with_timeout({}, 1ms), [&] { taken = "late"; })), 0u);
    EXPECT_EQ(taken, "late");
    auto poll = [&](const fiber::Context& context) {
      return fiber::select(fiber::on_done(context, [] {}), fiber::otherwise([] {}));
    };
    EXPECT_EQ(poll(source.context()), 0u);
    EXPECT_EQ(poll({}), 1u);
  });
}

TEST_P(Contexts, AnyThreadMayCancelAndWait) {
  run([] {
    fiber::CancelSource source = fiber::with_cancel();
    fiber::Channel<int> silent;
    Status thread_status{}, thread_timeout{};
    std::thread waiter([&] {
      thread_timeout = silent.receive(fiber::Limit(source.context(), 1ms)).status;
      thread_status = silent.receive(source.context()).status;
    });
    auto in_fiber = fiber::spawn([&] { return silent.receive(source.context()).status; });
    std::thread canceller([&] { source.cancel(); });
    EXPECT_EQ(in_fiber.join(), Status::cancelled);
    fiber::blocking([&] {
      canceller.join();
      waiter.join();
    });
    EXPECT_EQ(thread_status, Status::cancelled);
    EXPECT_TRUE(thread_timeout == Status::timed_out || thread_timeout == Status::cancelled);
  });
}

TEST_P(Contexts, CancelRacingWithDeadlinesAndValuesLosesNothing) {
  run([] {
    constexpr int kRounds = 300, kWaiters = 8;
    for (int round = 0; round < kRounds; ++round) {
      fiber::CancelSource root = fiber::with_cancel();
      fiber::Channel<int> channel;
      fiber::Mutex mutex;
      std::atomic<int> received{0};
      std::vector<fiber::JoinHandle<void>> waiters;
      for (int w = 0; w < kWaiters; ++w) {
        waiters.push_back(fiber::spawn([&, w] {
          fiber::CancelSource own = fiber::with_cancel(root.context());
          const fiber::Limit limit(own.context(), std::chrono::microseconds(20 * w));
          if (auto value = channel.receive(limit)) received += *value;
          if (mutex.lock(own.context()) == Status::done) mutex.unlock();
        }));
      }
      int sent = 0;
      for (int i = 0; i < 4; ++i) sent += channel.send(1, 15us) == Status::done;
      if (round % 2 == 0) fiber::yield();
      root.cancel();
      for (auto& waiter : waiters) waiter.join();
      EXPECT_EQ(received, sent);
      EXPECT_TRUE(mutex.try_lock());
      mutex.unlock();
    }
  });
}

TEST_P(Contexts, JoinsThatGiveUpRacingWithTheEndOfTheFiber) {
  run([] {
    for (int round = 0; round < 2000; ++round) {
      auto child = fiber::spawn([] { fiber::yield(); });
      const Status first = child.wait(std::chrono::microseconds(round % 8));
      EXPECT_TRUE(first == Status::done || first == Status::timed_out);
      EXPECT_EQ(child.wait(1h), Status::done);
      child.join();
    }
  });
}

TEST(Limits, DurationsSaturate) {
  EXPECT_EQ(fiber::Limit(std::chrono::hours::max()).deadline(), fiber::Deadline::max());
  EXPECT_EQ(fiber::Limit(std::chrono::duration<double>(1e300)).deadline(), fiber::Deadline::max());
  const fiber::Limit past(std::chrono::hours::min()), nonsense(std::chrono::duration<double>(std::nan("")));
  EXPECT_LE(past.deadline(), fiber::Clock::now());
  EXPECT_LE(nonsense.deadline(), fiber::Clock::now());
  EXPECT_TRUE(fiber::Limit().none());
  EXPECT_TRUE(fiber::Limit(fiber::Context()).none());
  EXPECT_FALSE(fiber::Limit(fiber::with_timeout({}, 1s)).none());
}
