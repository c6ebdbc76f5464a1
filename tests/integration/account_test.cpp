// SPDX-License-Identifier: BSD-2-Clause
// The account of the fibers' time against a program that knows what it spent.
#include "integration/tool.h"
#include "support/require_bpf.h"

using namespace fiberprof::test;
using nlohmann::json;

namespace {

class Accounts : public testing::Test {
 protected:
  void SetUp() override { FIBERPROF_REQUIRE_BPF(); }
  Recording recording_;
};

// The rows of all fibers whose function's name contains this, added up.
double part(const json& account, const std::string& fiber, const char* what) {
  double sum = 0;
  for (const json& row : account["rows"])
    if (row["fiber"].get<std::string>().find(fiber) != std::string::npos) sum += row[what].get<double>();
  return sum;
}

}  // namespace

TEST_F(Accounts, AddUpToWhatAllFibersLived) {
  const std::string printed = testing::TempDir() + "/spending." + std::to_string(getpid());
  const CommandResult recorded =
      tool("record -o " + recording_.path() + " -- " + program("spending") + " 4000 > " + printed);
  const json own = json::parse(slurp(printed), nullptr, false);
  unlink(printed.c_str());
  ASSERT_EQ(recorded.status, 0) << recorded.output;
  ASSERT_TRUE(own.is_object()) << recorded.output;
  const json account = recording_.report("--by fiber")["account"];
  const double lived = account["lived_ns"].get<double>();
  EXPECT_NEAR(lived / own["lived_ns"].get<double>(), 1.0, 0.02);
  EXPECT_NEAR(account["total_ns"].get<double>() / lived, 1.0, 0.02) << account.dump(1);
  // Some 400 samples of two CPUs, of which these have the most: known to 5 %, and three times that at worst.
  EXPECT_NEAR(part(account, "Computes", "running_ns") / own["computed_ns"].get<double>(), 1.0, 0.15) << account.dump(1);
  // A nap ends when the thread has a CPU again, not when the kernel has woken it.
  EXPECT_NEAR(
      (part(account, "Naps", "kernel_ns") + part(account, "Naps", "preempted_ns")) / own["napped_ns"].get<double>(),
      1.0, 0.05)
      << account.dump(1);
  EXPECT_GT(account["queued_ns"].get<double>(), 0.0);
  EXPECT_GT(account["parked"]["sleep"].get<double>(), 30 * 4e9 * 0.5);
}
