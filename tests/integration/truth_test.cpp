// SPDX-License-Identifier: BSD-2-Clause
// fiberprof against programs whose waiting is known by construction, and against their own clocks.
#include "integration/tool.h"
#include "support/require_bpf.h"

using namespace fiberprof::test;
using nlohmann::json;

namespace {

// Of what a program measures, that part is waiting at least: the rest is what its thread may be kept from its processor
// between reading the clock and parking.
constexpr double kWithoutPreemption = 0.9;

class Truth : public testing::Test {
 protected:
  void SetUp() override { FIBERPROF_REQUIRE_BPF(); }
  // Watched from its first instruction to its end; what it says itself.
  json record_known_waits(const std::string& options, int processors, const std::string& fibers = "100") {
    const CommandResult recorded =
        tool("record -q " + options + " -o " + recording_.path() + " -- " + program("known_waits") + " " + fibers +
             " 50 10 0 " + std::to_string(processors));
    EXPECT_EQ(recorded.status, 0) << recorded.output;
    return json::parse(recorded.output);
  }
  Recording recording_;
};

}  // namespace

// The counts are those of what really waited, by the program's own evidence, and its clock reads enclose the waits: so
// all of this holds however the machine is loaded.
TEST_F(Truth, BlockedTimeCountReasonAndStackAreExact) {
  for (const int processors : {1, 2}) {
    SCOPED_TRACE(processors);
    const json own = record_known_waits("--exact", processors);
    const json report = recording_.report("--all-frames");

    const Sum waits = sum_rows(report["blocked"], "chan receive", "wait_for_partner");
    EXPECT_EQ(own["receives"].get<long>(), 100 * 50);
    EXPECT_EQ(waits.count, own["receives"].get<long>());
    EXPECT_EQ(waits.rows, 1) << "one place in the program is one stack";
    EXPECT_LE(waits.total_ns, own["receive_ns"].get<double>());
    EXPECT_GE(waits.total_ns,
              processors == 1 ? own["sleep_ns"].get<double>() : own["receive_ns"].get<double>() * kWithoutPreemption);
    const Sum sleeps = sum_rows(report["blocked"], "sleep", "partner");
    EXPECT_EQ(sleeps.count, own["sleeps"].get<long>());
    EXPECT_LE(sleeps.total_ns, own["sleep_ns"].get<double>());
    EXPECT_GE(sleeps.total_ns, own["sleep_ns"].get<double>() * kWithoutPreemption);

    for (const json& row : report["blocked"]["rows"]) {
      if (!stack_has(row, "wait_for_partner")) continue;
      std::vector<std::string> functions;
      for (const json& frame : row["stack"]) functions.push_back(frame["function"]);
      EXPECT_EQ(functions.front(), "fiberprof_site_blocked");
      EXPECT_EQ(functions.back(), "fiber_entry");
      EXPECT_TRUE(stack_has(row, "channel_receive"));
      EXPECT_TRUE(stack_has(row, "waiter("));
      EXPECT_TRUE(stack_has(row, "main::{lambda"));
    }
    EXPECT_TRUE(missed(report).empty()) << report["losses"];
  }
}

TEST_F(Truth, EveryStackIsCompleteAndNamed) {
  Background target({program("known_waits"), "20", "50", "5", "1000"});
  ASSERT_EQ(tool("record " + target.pid_text() + " -d 30s --exact -o " + recording_.path()).status, 0);
  const json report = recording_.report("--all-frames");
  ASSERT_GT(report["blocked"]["rows"].size(), 2u);
  for (const json& row : report["blocked"]["rows"]) {
    ASSERT_FALSE(row["stack"].empty());
    EXPECT_EQ(row["stack"].back()["function"], "fiber_entry") << row.dump(1);
    for (const json& frame : row["stack"]) {
      const std::string function = frame["function"];
      EXPECT_NE(function.rfind("0x", 0), 0u) << function;
      EXPECT_EQ(function.find("known_waits+0x"), std::string::npos) << "a frame without a name: " << function;
      EXPECT_EQ(function.find("[anon]"), std::string::npos) << row.dump(1);
    }
  }
}

TEST_F(Truth, SampledLongWaitsWithinTheBudgetAreAllSeen) {
  // At most 2,000 waits of ten ticks a second, half of what is measured one by one.
  const json own = record_known_waits("", 1, "10");
  const Sum waits = sum_rows(recording_.report()["blocked"], "chan receive", "wait_for_partner");
  EXPECT_EQ(waits.count, own["receives"].get<long>());
  EXPECT_NEAR(waits.total_ns / own["receive_ns"].get<double>(), 1.0, 0.05);
}

TEST_F(Truth, SampledTotalsBeyondItAreAsNearAsTheySay) {
  const json own = record_known_waits("", 1);  // up to 20,000 a second
  const json report = recording_.report();
  for (const json& row : report["blocked"]["rows"]) {
    if (row["reason"] != "chan receive" || !stack_has(row, "wait_for_partner")) continue;
    const double error = row["count_std_error"].get<double>(), error_ns = row["total_std_error_ns"].get<double>();
    EXPECT_NEAR(row["count"].get<double>(), own["receives"].get<double>(), 5 * error);
    EXPECT_NEAR(row["total_ns"].get<double>(), own["receive_ns"].get<double>(), 5 * error_ns);
    EXPECT_LT(error_ns, 0.1 * own["receive_ns"].get<double>()) << "and that is near";
  }
  EXPECT_EQ(sum_rows(report["blocked"], "chan receive", "wait_for_partner").rows, 1);
}

TEST_F(Truth, QueueDepthIsWhatTheProgramHolds) {
  for (const int fibers : {1, 8, 100}) {
    Background target({program("held_queue"), std::to_string(fibers), "4"});
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
    const CommandResult recorded = tool("record " + target.pid_text() + " -d 1500ms -o " + recording_.path());
    ASSERT_EQ(recorded.status, 0) << recorded.output;
    const json report = recording_.report();
    ASSERT_EQ(report["queues"].size(), 1u);
    const json& queue = report["queues"][0];
    // The running fiber is not queued. Between its requeueing and the next pick the monitor may see all of them.
    EXPECT_NEAR(queue["mean_depth"].get<double>(), fibers - 1, 0.01 * fibers) << queue;
    EXPECT_LE(queue["max_depth"].get<int>(), fibers) << queue;
    EXPECT_GT(queue["ticks"].get<int>(), 100) << queue;
    EXPECT_EQ(queue["idle_fraction"].get<double>(), 0.0) << queue;
  }
}

TEST_F(Truth, APthreadMutexUnderAFiberIsAFutexWaitOfItsStack) {
  Background target({program("held_mutex"), "30", "20", "1500"});
  const CommandResult recorded = tool("record " + target.pid_text() + " -d 30s -o " + recording_.path());
  ASSERT_EQ(recorded.status, 0) << recorded.output;
  ASSERT_EQ(target.wait(), 0);
  const json own = json::parse(target.output());
  const json report = recording_.report();
  const Sum futex = sum_rows(report["off_cpu"], "", "lock_the_pthread_mutex");
  double futex_ns = 0;
  for (const json& row : report["off_cpu"]["rows"]) {
    if (stack_has(row, "lock_the_pthread_mutex") &&
        row["reason"].get<std::string>().find("futex") != std::string::npos) {
      futex_ns += row["total_ns"].get<double>();
      EXPECT_NE(row.value("fiber", ""), "") << "charged to a fiber";
    }
  }
  EXPECT_GT(futex.rows, 0) << report["off_cpu"].dump(1);
  EXPECT_NEAR(futex_ns / own["held_up_ns"].get<double>(), 1.0, 0.02);
  // The scheduler's own sleeping is idleness, not blocking.
  EXPECT_EQ(sum_rows(report["off_cpu"], "", "sleep_on_futex").rows, 0);
}

TEST_F(Truth, BlockingSectionsShowAsHandoffsAndAsTimeInTheKernel) {
  Background target({program("sections"), "40", "10", "1500"});
  const CommandResult recorded = tool("record " + target.pid_text() + " -d 30s -o " + recording_.path());
  ASSERT_EQ(recorded.status, 0) << recorded.output;
  ASSERT_EQ(target.wait(), 0);
  const json report = recording_.report();
  EXPECT_GE(report["counters"]["handoffs"].get<int>(), 40);
  const Sum asleep = sum_rows(report["off_cpu"], "clock_nanosleep", "fiber::blocking");
  EXPECT_EQ(asleep.count, 40) << report["off_cpu"].dump(1) << report["losses"];
  EXPECT_GE(asleep.total_ns, 40 * 10e6);
}
