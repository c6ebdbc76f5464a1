// SPDX-License-Identifier: BSD-2-Clause
// Fibers that are left behind are found, with what they wait for and where; those that end are not.
#include <fiber/all.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

namespace {

using namespace std::chrono_literals;
using fiber::FiberReport;
using fiber::LeakMark;
using Reports = std::vector<FiberReport>;

constexpr auto kShort = 30ms;  // where something is left
constexpr auto kLong = 20s;    // where everything is about to end

[[gnu::noinline]] void waits_for_a_value(fiber::Channel<int> channel) {
  channel.receive();
  asm volatile("");
}

bool mentions(const std::vector<fiber::CodeLocation>& stack, const std::string& function) {
  return std::any_of(stack.begin(), stack.end(),
                     [&](const fiber::CodeLocation& frame) { return frame.text.find(function) != std::string::npos; });
}

// What a run leaves.
template <class F>
Reports left_by(const fiber::Options& options, std::chrono::nanoseconds grace, F&& body) {
  Reports left;
  int calls = 0;
  fiber::set_leak_hook(
      [&](const Reports& reports) {
        ++calls;
        left = reports;
        EXPECT_EQ(fiber::processor_count(), 0u);  // the run is over
      },
      grace);
  fiber::run(options, body);
  fiber::set_leak_hook(nullptr);
  EXPECT_EQ(calls, 1);
  return left;
}

class Leaks : public testing::TestWithParam<unsigned> {
 protected:
  fiber::Options options() const { return {.processors = GetParam()}; }
};

TEST_P(Leaks, OfARunComeWithNameObjectAndStack) {
  std::uint64_t parent = 0, leaked = 0;
  const Reports left = left_by(options(), kShort, [&] {
    parent = fiber::current_id();
    fiber::Channel<int> jobs(3, "jobs");
    leaked = fiber::spawn({.name = "forgotten"}, [=] { waits_for_a_value(jobs); }).id();
    fiber::spawn({.name = "ends"}, [] { fiber::yield(); });
  });
  ASSERT_EQ(left.size(), 1u) << to_text(left);
  EXPECT_EQ(left[0].id, leaked);
  EXPECT_EQ(left[0].name, "forgotten");
  EXPECT_EQ(left[0].parent, parent);
  EXPECT_EQ(left[0].state, "parked");
  EXPECT_EQ(left[0].reason, "chan receive");
  EXPECT_NE(left[0].object, 0u);
  EXPECT_EQ(left[0].waits_for.find("channel \"jobs\" (0x"), 0u) << left[0].waits_for;
  EXPECT_NE(left[0].waits_for.find("0 of 3 buffered, made at "), std::string::npos) << left[0].waits_for;
  EXPECT_TRUE(mentions(left[0].stack, "waits_for_a_value(")) << to_text(left);
  EXPECT_TRUE(mentions({left[0].function}, "OfARunComeWithNameObjectAndStack")) << left[0].function.text;
  EXPECT_TRUE(mentions({left[0].spawned_at}, "OfARunComeWithNameObjectAndStack")) << left[0].spawned_at.text;
  const std::string text = to_text(left);
  EXPECT_EQ(text.find("fiber " + std::to_string(leaked) + " \"forgotten\" [chan receive: channel \"jobs\""), 0u)
      << text;
  EXPECT_EQ(text.find("fiber::detail::"), std::string::npos) << text;  // frames nobody wants to read
}

TEST_P(Leaks, AreOnlyFibersSpawnedSinceTheMark) {
  fiber::run(options(), [] {
    fiber::Channel<int> channel;
    auto before = fiber::spawn({.name = "before"}, [=] { waits_for_a_value(channel); });
    const LeakMark mark;
    EXPECT_TRUE(mark.contains(before.id()));
    EXPECT_TRUE(fiber::find_leaks(mark, 0ns).empty());
    auto after = fiber::spawn({.name = "after"}, [=] { waits_for_a_value(channel); });
    EXPECT_FALSE(mark.contains(after.id()));
    const Reports left = fiber::find_leaks(mark, kShort);
    ASSERT_EQ(left.size(), 1u);
    EXPECT_EQ(left[0].id, after.id());
    EXPECT_TRUE(mentions(left[0].stack, "waits_for_a_value("));
    channel.close();
    EXPECT_TRUE(fiber::find_leaks(mark, kLong).empty());
  });
}

TEST_P(Leaks, AreNotFibersThatAreAboutToEnd) {
  for (int round = 0; round < 200; ++round) {
    const Reports left = left_by(options(), kLong, [] {
      fiber::Channel<int> jobs;
      for (int i = 0; i < 10; ++i) fiber::go([=] { waits_for_a_value(jobs); });
      fiber::go([] { fiber::sleep_for(100us); });
      fiber::go([] { fiber::blocking([] { usleep(100); }); });
      const LeakMark mark;
      fiber::go([] { fiber::yield(); });
      EXPECT_TRUE(fiber::find_leaks(mark, kLong).empty());
      jobs.close();
    });
    ASSERT_TRUE(left.empty()) << to_text(left);
  }
}

TEST_P(Leaks, AreSleepersSectionsAndWaitersForSocketsToo) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const Reports left = left_by(options(), kShort, [&] {
    fiber::go({.name = "sleeper"}, [] { fiber::sleep_for(1h); });
    fiber::go({.name = "section"}, [from = ends[0]] {
      fiber::blocking([from] {
        char byte;
        EXPECT_GE(read(from, &byte, 1), 0);
      });
    });
    fiber::go({.name = "server"}, [] {
      auto listener = fiber::TcpListener::listen("127.0.0.1", 0);
      ASSERT_TRUE(listener);
      (void)listener.accept();
    });
  });
  close(ends[1]);
  ASSERT_EQ(left.size(), 3u) << to_text(left);
  const auto find = [&](const char* name) -> const FiberReport& {
    return *std::find_if(left.begin(), left.end(), [&](const FiberReport& one) { return one.name == name; });
  };
  EXPECT_EQ(find("sleeper").reason, "sleep");
  EXPECT_EQ(find("server").reason, "io accept");
  EXPECT_EQ(find("server").waits_for.find("descriptor "), 0u);
  EXPECT_EQ(find("section").state, "blocking");
  EXPECT_TRUE(find("section").stack.empty());
  EXPECT_NE(to_text(find("section")).find("in (anonymous namespace)::"), std::string::npos) << to_text(find("section"));
}

TEST_P(Leaks, BelongToTheRunThatLeftThem) {
  for (int round = 0; round < 20; ++round) {
    const bool leaks = round % 2 == 0;
    const Reports left = left_by(options(), leaks ? std::chrono::nanoseconds(1ms) : kLong, [=] {
      fiber::spawn([] {}).join();
      if (leaks) fiber::go({.name = "left"}, [] { fiber::Channel<int>().receive(); });
      if (leaks) fiber::yield();
    });
    ASSERT_EQ(left.size(), leaks ? 1u : 0u) << to_text(left);
  }
  // Without a hook nobody is told, and within a new run those of earlier ones are not seen.
  fiber::run(options(), [] {
    for (const FiberReport& one : fiber::find_leaks(LeakMark(), 0ns)) ADD_FAILURE() << to_text(one);
  });
}

TEST_P(Leaks, AreSeenByAThreadToo) {
  fiber::run(options(), [] {
    fiber::Channel<int> channel;
    const LeakMark mark;
    auto waiter = fiber::spawn({.name = "waiter"}, [=] { waits_for_a_value(channel); });
    Reports left;
    const std::uint64_t self = fiber::current_id();
    fiber::blocking([&] { std::thread([&] { left = fiber::find_leaks(mark, kShort); }).join(); });
    ASSERT_EQ(left.size(), 1u) << to_text(left);  // who took the mark was there before
    EXPECT_NE(left[0].id, self);
    channel.close();
    waiter.join();
  });
}

// Fibers in full motion are looked at all the time: nothing they read may be gone.
TEST_P(Leaks, AreLookedForWhileOthersComeAndGo) {
  fiber::run(options(), [] {
    const LeakMark mark;
    std::atomic<bool> stop{false};
    fiber::WaitGroup all(4);
    for (int i = 0; i < 4; ++i) {
      fiber::go([&] {
        while (!stop) {
          fiber::Channel<int> channel(0, "short-lived");
          auto child = fiber::spawn({.name = "child"}, [=] { waits_for_a_value(channel); });
          fiber::yield();
          channel.send(1);
          child.join();
        }
        all.done();
      });
    }
    std::size_t seen = 0;
    for (int i = 0; i < 200 || seen == 0; ++i) {
      fiber::yield();
      for (const FiberReport& one : fiber::find_leaks(mark, 0ns)) {
        seen += one.name == "child";
        if (one.state == "parked" && one.name == "child") {
          EXPECT_EQ(one.reason, "chan receive");
          EXPECT_TRUE(mentions(one.stack, "waits_for_a_value(")) << to_text(one);
        }
      }
    }
    stop = true;
    all.wait();
    EXPECT_TRUE(fiber::find_leaks(mark, kLong).empty());
  });
}

INSTANTIATE_TEST_SUITE_P(Processors, Leaks, testing::Values(1, 2, 4));

TEST(LeaksSeeded, WaitInSimulatedTime) {
  const Reports none = left_by({.seed = 7}, 10min, [] { fiber::go([] { fiber::sleep_for(5min); }); });
  EXPECT_TRUE(none.empty()) << to_text(none);
  const Reports one = left_by({.seed = 7}, 10min, [] { fiber::go([] { fiber::sleep_for(1h); }); });
  ASSERT_EQ(one.size(), 1u);
  EXPECT_EQ(one[0].reason, "sleep");
}

TEST(LeaksText, SaysWhatEachKindOfWaitIsFor) {
  fiber::Mutex mutex("accounts");
  fiber::RwLock lock("table");
  fiber::Channel<int> first(0, "first"), second(0, "second");
  const Reports left = left_by({.processors = 2}, kShort, [&] {
    mutex.lock();
    lock.lock();
    fiber::go({.name = "locker"}, [&] { mutex.lock(); });
    fiber::go({.name = "reader"}, [&] { lock.lock_shared(); });
    auto joined = fiber::spawn({.name = "joined"}, [] { fiber::sleep_for(1h); });
    fiber::go({.name = "joiner"}, [handle = std::move(joined)]() mutable { handle.join(); });
    fiber::go({.name = "selector"},
              [&] { fiber::select(fiber::on_receive(first, [](auto) {}), fiber::on_send(second, 1, [] {})); });
    fiber::sleep_for(5ms);
  });
  const std::string text = to_text(left);
  EXPECT_NE(text.find("\"locker\" [mutex: mutex \"accounts\" (0x"), std::string::npos) << text;
  EXPECT_NE(text.find("), held by fiber "), std::string::npos) << text;
  EXPECT_NE(text.find("\"reader\" [rwlock read: rwlock \"table\" (0x"), std::string::npos) << text;
  EXPECT_NE(text.find("), held for writing by fiber "), std::string::npos) << text;
  EXPECT_NE(text.find("\"joiner\" [join: the end of fiber "), std::string::npos) << text;
  EXPECT_NE(text.find("to receive from channel \"first\""), std::string::npos) << text;
  EXPECT_NE(text.find("; or to send to channel \"second\""), std::string::npos) << text;
}

TEST(LeaksText, OfManyFibersIsBounded) {
  constexpr std::size_t kFibers = 1500;
  std::size_t started = 0;
  const Reports left = left_by({.processors = 1}, 0ns, [&] {
    fiber::Channel<int> channel;
    for (std::size_t i = 0; i < kFibers; ++i) {
      fiber::go([=, &started] {
        ++started;
        waits_for_a_value(channel);
      });
    }
    while (started < kFibers) fiber::yield();  // there is one processor: then they wait
  });
  ASSERT_EQ(left.size(), kFibers);
  EXPECT_FALSE(left[999].stack.empty());
  EXPECT_TRUE(left[1000].stack.empty());
  EXPECT_EQ(left[1000].reason, "chan receive");
  const std::string text = to_text(left);
  EXPECT_TRUE(text.ends_with("\n... and 1400 more\n")) << text.substr(text.size() - 200);
  EXPECT_NE(text.find("fiber " + std::to_string(left[99].id) + " ["), std::string::npos);
  EXPECT_EQ(text.find("fiber " + std::to_string(left[100].id) + " ["), std::string::npos);
}

TEST(LeaksMisuse, AGracePeriodIsNotNegative) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_DEATH(fiber::find_leaks(LeakMark(), -1ns), "a grace period of -1 ns");
}

}  // namespace
