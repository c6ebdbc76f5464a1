// SPDX-License-Identifier: BSD-2-Clause
// Everything that can go wrong in the kernel side, by force: each is counted under its own cause, in the JSON and on
// standard error, and nothing else is. And what may be different about a machine without being an error.
#include <dirent.h>
#include <fiberprof/registry.h>
#include <sched.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "fixture.h"
#include "profile/losses.h"
#include "session/profile_builder.h"
#include "support/command.h"

namespace fiberprof::test {
namespace {

using Causes = std::map<std::string, uint64_t>;

const std::string kTool = FIBERPROF_BUILD_DIR "/bin/fiberprof";

// `command` is fiberprof record, perhaps behind env; its standard error is what the child prints. A semaphore counts
// before its probe's code is written: only what is fired after the tool has said that it records is surely seen.
std::unique_ptr<Child> start_recorder(const std::string& command) {
  auto recorder = std::make_unique<Child>(std::vector<std::string>{"sh", "-c", "exec " + command + " 2>&1 >/dev/null"});
  for (std::string line = recorder->line(); line.rfind("recording", 0) != 0; line = recorder->line())
    if (line.empty()) {
      ADD_FAILURE() << "no recording: " << command;
      break;
    }
  return recorder;
}

class ForcedTest : public SessionTest {
 protected:
  void SetUp() override {
    SessionTest::SetUp();
    target_ = start_target("2");
  }
  SessionOptions options() const {
    auto options = options_for(*target_);
    options.on_cpu = false;  // its samples come when they like
    return options;
  }
  std::unique_ptr<Child> target_;
};

Causes lost(const Snapshot& snapshot) {
  Causes causes = named_losses(snapshot.losses);
  std::erase_if(causes, [](const auto& cause) { return !is_lost(cause.first); });
  return causes;
}

uint64_t waits(const Snapshot& snapshot) {
  uint64_t sum = 0;
  for (const BlockedEntry& entry : snapshot.blocked) sum += entry.count;
  return sum;
}

TEST_F(ForcedTest, AStackThatCannotBeWalkedIsCountedAndSoIsItsWait) {
  auto session = Session::start(options());
  ASSERT_TRUE(session) << session.error().message();
  ASSERT_EQ(target_->ask("cut 12"), "fired 12");
  const auto snapshot = session->snapshot();
  ASSERT_TRUE(snapshot);
  EXPECT_EQ(lost(*snapshot), (Causes{{"stack not readable", 12}}));
  ASSERT_EQ(snapshot->blocked.size(), 1u);
  EXPECT_EQ(snapshot->blocked[0].count, 12u);
  // What lies within reach is there: the probe's site, its caller, and the frames up to the cut.
  const auto* stack = snapshot->stacks.find(snapshot->blocked[0].stack);
  ASSERT_NE(stack, nullptr);
  EXPECT_GE(stack->size(), 3u);
}

TEST_F(ForcedTest, AFaultOnUserMemoryIsCountedAndSoIsTheTime) {
  auto session = Session::start(options());
  ASSERT_TRUE(session) << session.error().message();
  ASSERT_EQ(target_->ask("on 1 wild 2 10"), "ok");
  const auto snapshot = session->snapshot();
  ASSERT_TRUE(snapshot);
  const Causes causes = lost(*snapshot);
  ASSERT_EQ(causes.size(), 1u);
  EXPECT_GE(causes.at("worker memory not readable"), 10u);
  uint64_t slept = 0;
  for (const OffCpuEntry& entry : snapshot->off_cpu) {
    if (entry.cause != OffCpuCause::syscall) continue;
    EXPECT_TRUE(entry.on_fiber) << "that one is there is known, only not which";
    EXPECT_EQ(entry.fiber_entry, 0u);
    slept += entry.total_ns;
  }
  EXPECT_GE(slept, 19'000'000u);
}

TEST_F(ForcedTest, FullMapsOfWorkersAreCountedEachByItself) {
  auto full = options();
  full.max_worker_stacks = 1;
  auto session = Session::start(full);
  ASSERT_TRUE(session) << session.error().message();
  ASSERT_EQ(target_->ask("sleep 1 5"), "ok");
  ASSERT_EQ(target_->ask("pipe 1 5"), "ok");
  ASSERT_EQ(target_->ask("blocked 3 2 10 1 1"), "fired 3");
  const auto snapshot = session->snapshot();
  ASSERT_TRUE(snapshot);
  const Causes causes = lost(*snapshot);
  ASSERT_EQ(causes.size(), 1u) << causes.begin()->first;
  EXPECT_GE(causes.at("worker stack map full"), 5u);
  EXPECT_TRUE(snapshot->stacks.contains(snapshot->blocked.at(0).stack)) << "waits have room of their own";
}

TEST_F(ForcedTest, AFullMapOfOffCpuTimesIsCounted) {
  auto full = options();
  full.max_off_cpu = 1;
  auto session = Session::start(full);
  ASSERT_TRUE(session) << session.error().message();
  ASSERT_EQ(target_->ask("sleep 1 5"), "ok");
  ASSERT_EQ(target_->ask("pipe 1 5"), "ok");
  const auto snapshot = session->snapshot();
  ASSERT_TRUE(snapshot);
  const Causes causes = lost(*snapshot);
  ASSERT_EQ(causes.size(), 1u) << causes.begin()->first;
  EXPECT_GE(causes.at("off-CPU map full"), 5u);
}

TEST_F(ForcedTest, AFullMapOfWorkersIsCounted) {
  auto full = options();
  full.max_workers = 1;
  auto session = Session::start(full);
  ASSERT_TRUE(session) << session.error().message();
  const auto snapshot = session->snapshot();
  ASSERT_TRUE(snapshot);
  EXPECT_EQ(lost(*snapshot), (Causes{{"worker map full", 1}})) << "of two workers";
}

TEST_F(ForcedTest, TheToolSaysWhatWasLostOnStandardErrorAndInJson) {
  const std::string file = testing::TempDir() + "fiberprof-forced-" + std::to_string(getpid()) + ".pb.gz";
  const auto recorder =
      start_recorder(kTool + " record " + std::to_string(target_->pid()) + " --exact --no-off-cpu -o " + file);
  ASSERT_EQ(target_->ask("cut 12"), "fired 12");
  recorder->kill(SIGINT);
  EXPECT_THAT(recorder->rest(), testing::ContainsRegex("stack not readable:? +12"));
  EXPECT_EQ(recorder->wait(), 0);
  const auto report = run_command(kTool + " report " + file + " --json 2>/dev/null");
  ASSERT_EQ(report.status, 0);
  EXPECT_EQ(nlohmann::json::parse(report.output).at("losses").at("stack not readable"), 12);
  unlink(file.c_str());
}

// --- what is different, and no error
// ----------------------------------------------------------------------------------

TEST_F(ForcedTest, PinnedToOneCpuTogetherNothingIsLost) {
  cpu_set_t before, one;
  ASSERT_EQ(sched_getaffinity(0, sizeof before, &before), 0);
  CPU_ZERO(&one);
  for (int cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&one) == 0; ++cpu)
    if (CPU_ISSET(cpu, &before)) CPU_SET(cpu, &one);
  target_.reset();
  ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
  target_ = start_target("2");
  {
    auto session = Session::start(options());
    ASSERT_TRUE(session) << session.error().message();
    const std::string hits = target_->ask("storm 100");
    const auto snapshot = session->snapshot();
    ASSERT_TRUE(snapshot);
    EXPECT_EQ("hits " + std::to_string(waits(*snapshot)) + " 0", hits);
    EXPECT_EQ(snapshot->losses.total(), 0u);
    EXPECT_TRUE(std::any_of(snapshot->off_cpu.begin(), snapshot->off_cpu.end(), [](const OffCpuEntry& entry) {
      return entry.cause == OffCpuCause::preempted;
    })) << "two busy workers have one CPU";
  }
  target_.reset();
  ASSERT_EQ(sched_setaffinity(0, sizeof before, &before), 0);
}

uint64_t now(clockid_t clock) {
  timespec time{};
  clock_gettime(clock, &time);
  return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(time.tv_nsec);
}

// Only when the recording began is a time of day; whatever is measured is not.
TEST_F(ForcedTest, StepsOfTheTimeOfDayChangeNoDuration) {
  const std::string file = testing::TempDir() + "fiberprof-clock-" + std::to_string(getpid()) + ".pb.gz";
  const std::string shim = FIBERPROF_BUILD_DIR "/tests/fixtures/stepping_clock.so";
  const uint64_t began = now(CLOCK_MONOTONIC);
  std::string environment = "LD_PRELOAD=" + shim;
#ifdef __SANITIZE_ADDRESS__
  // whose library insists on being the first
  const char* others = getenv("ASAN_OPTIONS");
  environment += " ASAN_OPTIONS=" + std::string(others ? others : "") + ":verify_asan_link_order=0";
#endif
  const auto recorder = start_recorder("env " + environment + " " + kTool + " record " +
                                       std::to_string(target_->pid()) + " --exact -o " + file);
  ASSERT_EQ(target_->ask("blocked 1 2 1000 100 1"), "fired 1");
  ASSERT_EQ(target_->ask("sleep 2 10"), "ok");
  recorder->kill(SIGINT);
  EXPECT_EQ(recorder->wait(), 0);
  const uint64_t took = now(CLOCK_MONOTONIC) - began;
  const auto report = run_command(kTool + " report " + file + " --json 2>/dev/null");
  unlink(file.c_str());
  ASSERT_EQ(report.status, 0);
  const auto json = nlohmann::json::parse(report.output);
  const auto start = json.at("start_unix_ns").get<uint64_t>(), real = now(CLOCK_REALTIME);
  EXPECT_GT(start > real ? start - real : real - start, 1'800'000'000'000u) << "the steps were seen";
  EXPECT_GT(json.at("duration_ns").get<uint64_t>(), 20'000'000u);
  EXPECT_LT(json.at("duration_ns").get<uint64_t>(), took);
  EXPECT_EQ(json.at("blocked").at("rows").at(0).at("mean_ns"), 1100);
  const auto& asleep = json.at("off_cpu").at("total_ns");
  EXPECT_GE(asleep.get<uint64_t>(), 20'000'000u);
  EXPECT_LT(asleep.get<uint64_t>(), 2 * took) << "two workers";
}

size_t open_files() {
  size_t count = 0;
  DIR* directory = opendir("/proc/self/fd");
  while (directory != nullptr && readdir(directory) != nullptr) ++count;
  if (directory != nullptr) closedir(directory);
  return count;
}

size_t mappings() {
  const auto lines = run_command("wc -l < /proc/" + std::to_string(getpid()) + "/maps");
  return static_cast<size_t>(std::atol(lines.output.c_str()));
}

// FIBERPROF_ATTACHES=1000 for an hour's worth; what one of them left behind, twelve would show, too.
TEST_F(ForcedTest, AttachesLeaveNothingBehind) {
  const char* wanted = getenv("FIBERPROF_ATTACHES");
  const int rounds = wanted ? std::atoi(wanted) : 12;
  size_t files = 0;
  [[maybe_unused]] size_t maps = 0;
  for (int i = 0; i < rounds + 2; ++i) {
    auto session = Session::start(options_for(*target_, i % 2 ? Tier::exact : Tier::sampled));
    ASSERT_TRUE(session) << "attach " << i << ": " << session.error().message();
    ASSERT_NE(target_->ask("flood 3"), "hits 0 0 ns 0");
    ASSERT_TRUE(session->snapshot());
    session = fail("over");
    if (i == 1) {  // both tiers have been there: what is kept for ever is kept
      files = open_files();
      maps = mappings();
    }
  }
  EXPECT_EQ(open_files(), files);
#ifndef __SANITIZE_ADDRESS__  // which keeps what was freed for a while, and finds itself what never is
  EXPECT_LE(mappings(), maps + 2) << "the allocator may take a mapping more";
#endif
  const std::string semaphores = target_->ask("semaphores");
  EXPECT_EQ(semaphores.find_first_not_of("0 "), std::string::npos) << semaphores;
}

}  // namespace
}  // namespace fiberprof::test
