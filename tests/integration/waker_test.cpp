// SPDX-License-Identifier: BSD-2-Clause
// Who ended a wait, and what had held that one up: programs whose chains are known by construction.
#include <algorithm>
#include <map>

#include "integration/tool.h"
#include "support/require_bpf.h"

using namespace fiberprof::test;
using nlohmann::json;

namespace {

// "woken by b_answers", "waited: chan receive in b_awaits_c": each step with the innermost of these functions that its
// stack has.
std::string read_step(const json& step) {
  static const char* known[] = {"sleep_in_kernel", "read_socket",  "c_answers",   "b_awaits_c",
                                "b_answers",       "a_awaits_b",   "await_token", "pass_token",
                                "sleep_on_timer",  "await_thread", "feed("};
  std::string text = step["kind"];
  if (step.contains("text")) text += ": " + step["text"].get<std::string>();
  for (const json& frame : step["stack"])
    for (const char* function : known)
      if (frame["function"].get<std::string>().find(function) != std::string::npos) return text + " in " + function;
  return text;
}

class Wakers : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override { FIBERPROF_REQUIRE_BPF(); }

  void record(const std::string& mode, int rounds, int milliseconds) {
    const CommandResult recorded =
        tool(std::string("record --waker ") + GetParam() + " -o " + recording_.path() + " -- " + program("chain") +
             " " + mode + " " + std::to_string(rounds) + " " + std::to_string(milliseconds));
    ASSERT_EQ(recorded.status, 0) << recorded.output;
    report_ = recording_.report("--by waker --all-frames");
    EXPECT_TRUE(missed(report_).empty()) << report_["losses"];
  }

  // The chains of the waits for `reason` that `waker` ended, and the share of their time each has.
  std::map<std::vector<std::string>, double> chains(const std::string& reason, const std::string& waker) const {
    std::map<std::vector<std::string>, double> found;
    double total = 0;
    for (const json& row : report_["blocked"]["rows"]) {
      if (row["reason"] != reason || row["waker"].get<std::string>().find(waker) == std::string::npos) continue;
      total += row["total_ns"].get<double>();
      for (const json& cause : row["causes"]) {
        std::vector<std::string> steps;
        for (const json& step : cause["steps"]) steps.push_back(read_step(step));
        found[steps] += cause["total_ns"].get<double>();
      }
    }
    for (auto& [steps, share] : found) share /= total;
    return found;
  }

  // This chain explains nearly all of the time. (On a busy machine a wait now and then has another cause: a waker that
  // had to wait for a processor.)
  void expect_chain(const std::string& reason, const std::string& waker, const std::vector<std::string>& steps) const {
    auto found = chains(reason, waker);
    EXPECT_GT(found[steps], 0.8) << testing::PrintToString(found);
  }

  Recording recording_;
  json report_;
};

}  // namespace

TEST_P(Wakers, ThreeFibersAndTheKernel) {
  record("kernel", 40, 20);
  expect_chain("chan receive", "b_answers",
               {"woken in b_answers", "waited: chan receive in b_awaits_c", "woken in c_answers",
                "held: clock_nanosleep in sleep_in_kernel"});
  expect_chain("chan receive", "c_answers", {"woken in c_answers", "held: clock_nanosleep in sleep_in_kernel"});
}

TEST_P(Wakers, ThreeFibersAndTheNetwork) {
  record("network", 40, 20);
  expect_chain("chan receive", "b_answers",
               {"woken in b_answers", "waited: chan receive in b_awaits_c", "woken in c_answers",
                "waited: io read in read_socket", "woken: network"});
  expect_chain("io read", "network", {"woken: network"});
}

// While one of two works the other waits: neither waits during the other's wait, so there is no cycle.
TEST_P(Wakers, TwoThatWakeEachOtherExplainEachOther) {
  record("pair", 60, 10);
  expect_chain("chan receive", "pass_token", {"woken in pass_token", "held: clock_nanosleep in sleep_in_kernel"});
}

TEST_P(Wakers, ARingIsCutWhereItCloses) {
  record("ring", 30, 10);
  const std::string woken = "woken in pass_token", waited = "waited: chan receive in await_token";
  const auto found = chains("chan receive", "pass_token");
  double whole = 0;
  for (const auto& [steps, share] : found) {
    EXPECT_LE(std::count(steps.begin(), steps.end(), woken), 4) << testing::PrintToString(steps);
    if (steps == std::vector<std::string>{woken, waited, woken, waited, woken, waited, woken, waited, "cut: cycle"})
      whole += share;
  }
  EXPECT_GT(whole, 0.5) << testing::PrintToString(found);
}

TEST_P(Wakers, TimersAndThreadsAreNamed) {
  record("timer", 30, 10);
  expect_chain("sleep", "timer", {"woken: timer"});
  record("thread", 30, 10);
  expect_chain("chan receive", "thread feeder", {"woken: thread feeder in feed("});
}

INSTANTIATE_TEST_SUITE_P(BothTiers, Wakers, testing::Values("--exact", ""),
                         [](const auto& tier) { return std::string(*tier.param ? "Exact" : "Sampled"); });
