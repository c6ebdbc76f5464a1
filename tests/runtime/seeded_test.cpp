// SPDX-License-Identifier: BSD-2-Clause
// Runs that a seed determines: the same seed does the same, other seeds do something else, and what only some
// interleavings do is found by trying seeds and replayed with the one that did it.
#include <fiber/all.h>
#include <gtest/gtest.h>

#include <unistd.h>
#include <array>
#include <atomic>
#include <cstdio>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "scale.h"
#include "seeded_options.h"

using namespace std::chrono_literals;

namespace {

// What happened, in order, with the time since the start.
class Trace {
 public:
  void add(const char* what, long number) {
    const auto since = (fiber::Clock::now() - start_).count();
    text_ += std::string(what) + ' ' + std::to_string(number) + " at " + std::to_string(since) + '\n';
  }
  const std::string& text() const { return text_; }

 private:
  fiber::Deadline start_ = fiber::Clock::now();
  std::string text_;
};

// Channels, locks, selects with time-outs, sleeps and fibers that outlive the main one. 0: the environment's seed.
std::string trace_of(std::uint64_t seed) {
  std::unique_ptr<Trace> trace;
  fiber::run(seeded(seed), [&trace] {
    trace = std::make_unique<Trace>();
    fiber::Channel<long> values(2), results;
    fiber::Mutex mutex;
    long shared = 0;
    std::vector<fiber::JoinHandle<long>> workers;
    for (long id = 0; id < 4; ++id) {
      workers.push_back(fiber::spawn([&, id] {
        long seen = 0;
        for (long round = 0; round < 6; ++round) {
          fiber::select(fiber::on_receive(values,
                                          [&](std::optional<long> value) {
                                            trace->add("received", value.value_or(-1));
                                            seen += value.value_or(0);
                                          }),
                        fiber::on_send(results, id, [&] { trace->add("sent", id); }),
                        fiber::after(std::chrono::microseconds(50 * (id + 1)), [&] { trace->add("timeout", id); }));
          const std::lock_guard lock(mutex);
          trace->add("locked", ++shared);
        }
        return seen;
      }));
    }
    auto sender = fiber::spawn([&] {
      for (long n = 0; n < 8; ++n) {
        values.send(n);
        if (n % 3 == 0) fiber::sleep_for(100us);
      }
      values.close();
    });
    auto receiver = fiber::spawn([&] {
      for (int n = 0; n < 3; ++n) trace->add("result", results.receive(1ms).value_or(-1));
    });
    sender.join();
    receiver.join();
    for (auto& worker : workers) trace->add("joined", worker.join());
    for (long id = 0; id < 3; ++id) {
      fiber::go([t = trace.get(), id] {
        for (;;) {
          t->add("left", id);
          fiber::yield();
        }
      });
    }
    for (int n = 0; n < 10; ++n) fiber::yield();
  });
  return trace->text();
}

std::string own_path() {
  std::array<char, 4096> path{};
  const ssize_t length = readlink("/proc/self/exe", path.data(), path.size() - 1);
  return length < 0 ? std::string() : std::string(path.data(), static_cast<std::size_t>(length));
}

// The same in a new process, with an environment of another size, which moves its stack.
std::string trace_of_new_process(std::uint64_t seed, std::size_t padding) {
  const std::string command = "FIBER_SCHED_SEED=" + std::to_string(seed) + " PADDING=" + std::string(padding, 'x') +
                              " '" + own_path() + "' --gtest_filter=Seeded.TakesItsSeedFromTheEnvironment";
  FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return "popen failed";
  std::string output;
  std::array<char, 4096> buffer;
  while (const std::size_t count = fread(buffer.data(), 1, buffer.size(), pipe)) output.append(buffer.data(), count);
  if (pclose(pipe) != 0) return "failed: " + output;
  const std::size_t begin = output.find("<<<"), end = output.find(">>>");
  if (begin == std::string::npos || end == std::string::npos) return "no trace: " + output;
  return output.substr(begin + 3, end - begin - 3);
}

// The first seed for which `program` says true, which must not be true of every one of them; 0: none.
template <class Program>
std::uint64_t find(Program program) {
  std::uint64_t found = 0;
  bool another = false;
  for (std::uint64_t seed = 1; seed <= 500 && (found == 0 || !another); ++seed) {
    const bool result = program(seed);
    if (result && found == 0) found = seed;
    another |= !result;
  }
  EXPECT_TRUE(another) << "happens whatever the seed";
  return found;
}

template <class Program>
void expect_found_and_replayed(Program program) {
  const std::uint64_t seed = find(program);
  ASSERT_NE(seed, 0u) << "not found";
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(program(seed)) << "seed " << seed << " did something else, replay " << i;
}

// Two fibers that each look whether the channel is empty, and then send into it.
bool both_checked_before_either_acted(std::uint64_t seed) {
  std::size_t most = 0;
  fiber::run(seeded(seed), [&most] {
    fiber::Channel<int> tokens(1), channel(2);
    auto act = [&] {
      if (channel.size() != 0) return;
      tokens.try_send(1);
      channel.send(1);
    };
    auto one = fiber::spawn(act), other = fiber::spawn(act);
    one.join();
    other.join();
    most = channel.size();
  });
  return most == 2;
}

bool update_lost(std::uint64_t seed) {
  int counter = 0;
  fiber::run(seeded(seed), [&counter] {
    auto increment = [&] {
      const int seen = counter;
      fiber::yield();
      counter = seen + 1;
    };
    auto one = fiber::spawn(increment), other = fiber::spawn(increment);
    one.join();
    other.join();
  });
  return counter == 1;
}

// Two fibers that take two locks, each in its own order.
bool locked_crosswise(std::uint64_t seed, bool limited) {
  bool stuck = false;
  fiber::run(seeded(seed), [&] {
    fiber::Mutex a, b;
    auto take = [&](fiber::Mutex& first, fiber::Mutex& second) {
      const std::lock_guard lock(first);
      if (second.lock(limited ? fiber::Limit(1h) : fiber::Limit()) != fiber::Status::done) {
        stuck = true;
      } else {
        second.unlock();
      }
    };
    auto one = fiber::spawn([&] { take(a, b); });
    auto other = fiber::spawn([&] { take(b, a); });
    one.join();
    other.join();
  });
  return stuck;
}

// A bit of everything that has a synchronisation point; hangs if a fiber is switched away from with a lock held.
void all_primitives() {
  fiber::Condition condition;
  fiber::Mutex mutex;
  fiber::RwLock rwlock;
  fiber::Semaphore semaphore(2);
  fiber::Barrier barrier(4);
  fiber::Once once;
  fiber::WaitGroup group;
  fiber::Channel<int> channel;
  fiber::CancelSource cancel = fiber::with_cancel();
  fiber::Timer timer(1h);
  int runs = 0, turn = 0;
  for (int id = 0; id < 4; ++id) {
    group.add();
    fiber::go([&, id] {
      once.call([&] { ++runs; });
      {
        std::unique_lock lock(mutex);
        condition.wait(lock, [&] { return turn == id; });
        ++turn;
        condition.notify_all();
      }
      semaphore.acquire();
      timer.reset(1h);
      semaphore.release();
      rwlock.lock_shared();
      rwlock.unlock_shared();
      rwlock.lock();
      timer.stop();
      rwlock.unlock();
      barrier.arrive_and_wait();
      EXPECT_EQ(channel.receiver().receive(cancel.context()).status, fiber::Status::cancelled);
      group.done();
    });
  }
  fiber::sleep_for(1s);
  cancel.cancel();
  group.wait();
  EXPECT_EQ(runs, 1);
}

}  // namespace

// Also what trace_of_new_process starts, with a seed of its own.
TEST(Seeded, TakesItsSeedFromTheEnvironment) {
  const bool set_here = getenv("FIBER_SCHED_SEED") == nullptr;
  if (set_here) setenv("FIBER_SCHED_SEED", "12", 1);
  const std::string trace = trace_of(0);
  EXPECT_EQ(trace, trace_of(std::strtoull(getenv("FIBER_SCHED_SEED"), nullptr, 10)));
  std::printf("<<<%s>>>", trace.c_str());
  if (set_here) unsetenv("FIBER_SCHED_SEED");
}

TEST(Seeded, SameSeedSameTraceInOneProcess) {
  for (const std::uint64_t seed : {1ul, 2ul, ~0ul}) {
    const std::string first = trace_of(seed);
    std::vector<std::unique_ptr<char[]>> elsewhere;  // moves what is allocated later
    for (std::size_t i = 0; i < 100; ++i) {
      elsewhere.push_back(std::make_unique<char[]>(24 * (i % 40) + 1));
      ASSERT_EQ(trace_of(seed), first) << "seed " << seed << ", run " << i;
    }
  }
}

TEST(Seeded, SameSeedSameTraceInNewProcesses) {
  const std::string here = trace_of(7);
  EXPECT_NE(here.find("timeout"), std::string::npos) << here;
  for (std::size_t i = 0; i < static_cast<std::size_t>(rounds(100)); ++i) {
    ASSERT_EQ(trace_of_new_process(7, i * 37), here) << "process " << i;
  }
}

TEST(Seeded, DifferentSeedsGiveDifferentTraces) {
  std::set<std::string> traces;
  for (std::uint64_t seed = 1; seed <= 200; ++seed) traces.insert(trace_of(seed));
  EXPECT_GE(traces.size(), 199u);
}

TEST(Seeded, FindsCheckThenAct) { expect_found_and_replayed(both_checked_before_either_acted); }

TEST(Seeded, FindsLostUpdate) { expect_found_and_replayed(update_lost); }

TEST(Seeded, FindsLockOrderInversion) {
  expect_found_and_replayed([](std::uint64_t seed) { return locked_crosswise(seed, true); });
}

TEST(Seeded, DeadlockNamesTheSeedThatReplaysIt) {
  // In a process of its own: a forked one shares the descriptor that ends a sleep in epoll_wait with this one.
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const std::uint64_t seed = find([](std::uint64_t s) { return locked_crosswise(s, true); });
  ASSERT_NE(seed, 0u);
  EXPECT_DEATH(locked_crosswise(seed, false),
               "all fibers are asleep - deadlock! .FIBER_SCHED_SEED=" + std::to_string(seed) + ".");
}

TEST(Seeded, NoLockIsHeldAtASynchronisationPoint) {
  for (std::uint64_t seed = 1; seed <= 200; ++seed) fiber::run(seeded(seed), all_primitives);
}

TEST(Seeded, OneProcessor) {
  fiber::Options options = seeded(5);
  options.processors = 4;
  testing::internal::CaptureStderr();
  fiber::run(options, [] { EXPECT_EQ(fiber::processor_count(), 1u); });
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "fiber: with a seed there is one processor, not 4\n");
}

TEST(Seeded, OffByDefaultAndWithZero) {
  fiber::Options options;
  options.processors = 3;
  for (const char* value : {"", "0"}) {
    setenv("FIBER_SCHED_SEED", value, 1);
    fiber::run(options, [] { EXPECT_EQ(fiber::processor_count(), 3u); });
  }
  unsetenv("FIBER_SCHED_SEED");
  // A run with a seed leaves nothing behind.
  fiber::run(seeded(1), [] { fiber::sleep_for(1000h); });
  EXPECT_LT(fiber::Clock::now() - std::chrono::steady_clock::now(), 1h);
  fiber::run(options, [] {
    const auto start = std::chrono::steady_clock::now();
    fiber::sleep_for(1ms);
    EXPECT_GE(std::chrono::steady_clock::now() - start, 1ms);
  });
}

TEST(Seeded, BadValuesAreRefused) {
  for (const char* value : {"x", "-1", "1.5", "7 ", "18446744073709551616"}) {
    EXPECT_EXIT((setenv("FIBER_SCHED_SEED", value, 1), fiber::run([] {})), testing::ExitedWithCode(2),
                "FIBER_SCHED_SEED is '.*': want a number from 0 .off. to 18446744073709551615")
        << value;
  }
}
