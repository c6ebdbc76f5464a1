// SPDX-License-Identifier: BSD-2-Clause
// fiberprof deadlock as people run it: on a live process, watching one, on its core file, and on what is none of these.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "process/child.h"
#include "process/core_of.h"
#include "support/command.h"

namespace {

using testing::HasSubstr;
using testing::Not;

const std::string kFiberprof = FIBERPROF_BUILD_DIR "/bin/fiberprof";
// A sanitizer's allocator is none whose blocks can be told from outside: what something is to be proved of is without.
const std::string kGoker = FIBERPROF_PLAIN_DIR "/tests/programs/goker";

class Deadlocked : public testing::Test {
 protected:
  void start(const std::string& kernel) {
    child = std::make_unique<fiberprof::test::Child>(std::vector<std::string>{kGoker, kernel});
    ASSERT_EQ(child->line, "ready");
  }
  CommandResult deadlock(const std::string& options) {
    return run_command(kFiberprof + " deadlock " + std::to_string(child->pid()) + " " + options);
  }
  std::unique_ptr<fiberprof::test::Child> child;
};

TEST_F(Deadlocked, TheTextSaysWhoWaitsForWhomAndWhoIsBehindThem) {
  start("hugo_3251");
  const CommandResult result = deadlock("--prove");
  EXPECT_EQ(result.status, 3);
  EXPECT_THAT(result.output, HasSubstr("5 of 6 fibers will never run again"));
  EXPECT_THAT(result.output, HasSubstr("certain: 2 fibers wait for each other in a cycle"));
  EXPECT_THAT(result.output, HasSubstr("held by fiber "));
  EXPECT_THAT(result.output, HasSubstr("resource_cycle.cpp:"));
  EXPECT_THAT(result.output, HasSubstr("are blocked behind them"));
  EXPECT_THAT(result.output, HasSubstr("the process stood still for "));
}

TEST_F(Deadlocked, ThePictureHasEveryFiberAndWhatItWaitsFor) {
  start("cockroach_10214");
  const std::string path = testing::TempDir() + "deadlock.dot";
  EXPECT_EQ(deadlock("--dot " + path).status, 3);
  std::ifstream file(path);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  EXPECT_THAT(text, HasSubstr("digraph deadlock {"));
  EXPECT_THAT(text, HasSubstr("\\\"A\\\""));
  EXPECT_THAT(text, HasSubstr("->"));
  EXPECT_EQ(deadlock("--dot /nowhere/x.dot").status, 1);
}

TEST_F(Deadlocked, WatchingSaysEachFindingOnce) {
  start("cockroach_10214");
  const CommandResult result = deadlock("--watch -i 50ms -d 1s --json 2>/dev/null");
  EXPECT_EQ(result.status, 3);
  const auto found = nlohmann::json::parse(result.output, nullptr, false);
  ASSERT_FALSE(found.is_discarded()) << "one object and no more: " << result.output;
  EXPECT_EQ(found["causes"].size(), 1u);
  EXPECT_EQ(found["causes"][0]["kind"], "cycle");
  EXPECT_LE(found["causes"][0]["last_moved_ns"], found["causes"][0]["closed_ns"]);
}

TEST_F(Deadlocked, WatchingEndsWithTheProcess) {
  start("moby_7559");
  FILE* watching = popen((kFiberprof + " deadlock " + std::to_string(child->pid()) + " --watch -i 100ms").c_str(), "r");
  ASSERT_NE(watching, nullptr);
  char line[256] = {};
  EXPECT_NE(fgets(line, sizeof line, watching), nullptr) << "it has found what there is";
  kill(static_cast<pid_t>(child->pid()), SIGKILL);
  while (fgets(line, sizeof line, watching) != nullptr) continue;
  EXPECT_EQ(WEXITSTATUS(pclose(watching)), 3);
}

TEST(DeadlockInACore, IsThatOfTheProcess) {
  if (const std::string why = fiberprof::test::no_core_files(); !why.empty()) GTEST_SKIP() << why;
  for (const auto& [kernel, fibers] : {std::pair{"hugo_5379", 4}, {"etcd_7443", 4}, {"kubernetes_70277", 1}}) {
    // A fifo that it opens for writing, too, is an input that never ends.
    fiberprof::test::Dumpable target({"/bin/sh", "-c", "mkfifo in && exec " + kGoker + " " + kernel + " <>in"});
    const auto verdict = [](const std::string& of) {
      return nlohmann::json::parse(run_command(kFiberprof + " deadlock " + of + " --prove --json 2>/dev/null").output,
                                   nullptr, false);
    };
    nlohmann::json live;
    for (int look = 0; look < 200 && (!live.is_object() || live["dead"].size() != size_t(fibers)); ++look)
      live = verdict(std::to_string(target.pid()));
    ASSERT_EQ(live["dead"].size(), size_t(fibers))
        << kernel << ":\n"
        << live.dump(1) << run_command(kFiberprof + " dump " + std::to_string(target.pid()) + " 2>&1").output;
    const std::string core = target.abort();
    ASSERT_NE(core, "");
    const auto dead = verdict("--core " + core);
    ASSERT_TRUE(dead.is_object()) << kernel;
    EXPECT_EQ(dead["dead"], live["dead"]) << kernel;
    EXPECT_FALSE(dead.contains("inconclusive")) << dead["inconclusive"];
  }
}

// What a debugger or a signal has stopped stays so, and what goes on does so unchanged.
TEST_F(Deadlocked, AStoppedProcessStaysStopped) {
  start("cockroach_584");
  const auto pid = static_cast<pid_t>(child->pid());
  kill(pid, SIGSTOP);
  const CommandResult result = deadlock("--prove");
  EXPECT_EQ(result.status, 3) << result.output;
  EXPECT_THAT(run_command("cut -d' ' -f3 /proc/" + std::to_string(pid) + "/stat").output, "T\n");
  kill(pid, SIGCONT);
  const int status = child->end();
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
}

TEST_F(Deadlocked, TooMuchMemoryIsInconclusiveAndKeepsWhatIsCertain) {
  start("hugo_5379");
  const CommandResult result = deadlock("--prove --memory 0");
  EXPECT_EQ(result.status, 3);
  EXPECT_THAT(result.output, HasSubstr("inconclusive: "));
  EXPECT_THAT(result.output, HasSubstr("raise --memory"));
  EXPECT_THAT(result.output, HasSubstr("3 of 5 fibers will never run again"));
}

// Large enough to be forked instead of copied; nothing of that stays behind.
TEST(DeadlockOfMuchMemory, LeavesNoChild) {
  fiberprof::test::Child child({FIBERPROF_PLAIN_DIR "/tests/programs/heaped", "100", "64"});
  ASSERT_EQ(child.line, "ready");
  const std::string pid = std::to_string(child.pid());
  for (int i = 0; i < 3; ++i) {
    const CommandResult result = run_command(kFiberprof + " deadlock " + pid + " --prove");
    EXPECT_EQ(result.status, 0) << result.output;
    EXPECT_THAT(result.output, HasSubstr("the process stood still for "));
    EXPECT_EQ(run_command("cat /proc/" + pid + "/task/*/children").output, "");
  }
  child.end();
}

// Next to nothing for each fiber that cannot be dead, and little for one that waits for a certain other.
TEST(DeadlockOfManyFibers, TakesLittleMemory) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a sanitizer's own memory would be measured";
#endif
  fiberprof::test::Child child({FIBERPROF_TARGET_DIR "/tests/programs/many_parked", "400000"});
  ASSERT_EQ(child.line, "ready");
  // What it may write to at all, in KiB: 160 bytes for each.
  const CommandResult result =
      run_command("ulimit -d 65536; exec " + kFiberprof + " deadlock " + std::to_string(child.pid()));
  EXPECT_EQ(result.status, 0) << result.output;
  EXPECT_THAT(result.output, HasSubstr("no deadlock among 400001 fibers"));
}

TEST(DeadlockCommand, BadInputIsExplained) {
  const auto said = [](const std::string& arguments, int status) {
    const CommandResult result = run_command(kFiberprof + " deadlock " + arguments);
    EXPECT_EQ(result.status, status) << arguments << ": " << result.output;
    return result.output;
  };
  EXPECT_THAT(said("", 2), HasSubstr("nothing to look at"));
  EXPECT_THAT(said("1 --core x", 2), HasSubstr("at once"));
  EXPECT_THAT(said("--core /nowhere", 1), HasSubstr("/nowhere"));
  EXPECT_THAT(said("--core /bin/true", 1), HasSubstr("core"));
  EXPECT_THAT(said("--watch --core x", 2), HasSubstr("a core file does not change"));
  EXPECT_THAT(said("999999999", 1), HasSubstr("no such process"));
  EXPECT_THAT(said(std::to_string(getpid()), 1), HasSubstr("no fiber probes"));
}

}  // namespace
