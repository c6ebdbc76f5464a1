// SPDX-License-Identifier: BSD-2-Clause
// fiberprof record and doctor as a user runs them.
#include <fiberprof/registry.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "fixture.h"
#include "profile/profile.h"

namespace fiberprof::test {
namespace {

const std::string kFiberprof = FIBERPROF_BUILD_DIR "/bin/fiberprof";

class RecordTest : public SessionTest {
 protected:
  void SetUp() override {
    SessionTest::SetUp();
    file_ = std::filesystem::temp_directory_path() / ("fiberprof-record-" + std::to_string(getpid()) + ".pb.gz");
  }
  void TearDown() override { std::filesystem::remove(file_); }

  Profile profile() const {
    auto read = read_profile(file_);
    EXPECT_TRUE(read) << read.error().message();
    return read ? *read : Profile{};
  }
  static int exit_code(Child& child) {
    const int status = child.wait();
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  // Until the tool has attached to everything.
  static void wait_for_probe(Child& target) {
    while (target.ask("blocked 1 21 1 1 0") != "fired 1") {
    }
  }

  std::string file_;
};

uint64_t count(const Profile& profile, SampleKind kind, const std::string& reason) {
  uint64_t sum = 0;
  for (const Sample& sample : profile.samples)
    if (sample.kind == kind && sample.reason == reason) sum += sample.count;
  return sum;
}

std::vector<std::string> functions_of(const Profile& profile, const Sample& sample) {
  std::vector<std::string> functions;
  for (const uint32_t frame : sample.frames) functions.push_back(profile.frames.at(frame).function);
  return functions;
}
MATCHER_P2(HasFunction, profile, part, "") {
  const auto functions = functions_of(*profile, arg);
  *result_listener << testing::PrintToString(functions);
  return std::any_of(functions.begin(), functions.end(),
                     [&](const std::string& each) { return each.find(part) != std::string::npos; });
}

TEST_F(RecordTest, ARecordingHoldsWaitsOpenWaitsAndOffCpuTimeWithTheirStacks) {
  const auto target = start_target();
  ASSERT_EQ(target->ask("park 4 7000"), "ok");
  Child tool({kFiberprof, "record", std::to_string(target->pid()), "--exact", "-o", file_});
  wait_for_probe(*target);
  ASSERT_EQ(target->ask("blocked 1000 2 3000 100 2"), "fired 1000");
  ASSERT_EQ(target->ask("mutex 20 3"), "ok");
  tool.kill(SIGINT);
  EXPECT_EQ(exit_code(tool), 0);

  const Profile recorded = profile();
  EXPECT_EQ(recorded.tier, "exact");
  EXPECT_GT(recorded.duration_ns, 60'000'000u);
  EXPECT_EQ(count(recorded, SampleKind::blocked, "chan receive"), 1000u);
  EXPECT_EQ(count(recorded, SampleKind::open, "mutex"), 1u);
  for (const Sample& sample : recorded.samples) {
    EXPECT_EQ(sample.process, "contract_target");
    if (sample.kind == SampleKind::blocked && sample.reason == "chan receive") {
      EXPECT_EQ(sample.total_ns, 1000u * 3100);
      EXPECT_EQ(sample.queued_ns, 1000u * 100);
      EXPECT_THAT(sample, HasFunction(&recorded, "contract_recurse"));
      EXPECT_THAT(sample, HasFunction(&recorded, "contract_fiber_entry"));
    }
    if (sample.kind == SampleKind::open) {
      EXPECT_EQ(sample.name, "parked");
      EXPECT_LE(sample.total_ns, recorded.duration_ns + 1'000'000'000) << "only what lies within the recording";
      EXPECT_GE(sample.max_ns, 7'000'000'000u) << "but how long it has been waiting is known";
      EXPECT_THAT(sample, HasFunction(&recorded, "contract_recurse"));
      EXPECT_THAT(sample, HasFunction(&recorded, "contract_fiber_entry"));
    }
    if (sample.kind == SampleKind::off_cpu && sample.reason == "futex wait") {
      EXPECT_THAT(sample, HasFunction(&recorded, "contract_lock"));
      EXPECT_NE(sample.name.find("contract_fiber_entry"), std::string::npos);
    }
  }
  EXPECT_EQ(count(recorded, SampleKind::off_cpu, "futex wait"), 3u);
}

TEST_F(RecordTest, ATargetThatIsKilledStillGivesARecordingWithNames) {
  auto target = start_target();
  Child tool({kFiberprof, "record", std::to_string(target->pid()), "--exact", "-q", "-o", file_});
  wait_for_probe(*target);
  ASSERT_EQ(target->ask("blocked 50 2 10 1 3"), "fired 50");
  target.reset();  // kill -9
  EXPECT_EQ(exit_code(tool), 0);
  const Profile recorded = profile();
  EXPECT_EQ(count(recorded, SampleKind::blocked, "chan receive"), 50u);
  for (const Sample& sample : recorded.samples) {
    if (sample.reason != "chan receive") continue;
    EXPECT_THAT(sample, HasFunction(&recorded, "contract_fiber_entry"))
        << sample.count << " waits; losses: " << testing::PrintToString(recorded.losses);
  }
}

TEST_F(RecordTest, ACommandIsWatchedFromItsFirstInstructionAndItsExitIsForwarded) {
  Child tool({kFiberprof, "record", "-q", "--exact", "-o", file_, "--", kTarget, "3"});
  ASSERT_EQ(tool.line(), "ready");
  ASSERT_EQ(tool.ask("blocked 11 2 10 1 3"), "fired 11") << "attached before main began";
  tool.send("quit");
  EXPECT_EQ(exit_code(tool), 0);
  const Profile recorded = profile();
  EXPECT_EQ(count(recorded, SampleKind::blocked, "chan receive"), 11u);
  EXPECT_EQ(recorded.counters.at("worker_starts"), 3u) << "not one worker was missed";

  Child failing({kFiberprof, "record", "-q", "-o", file_, "--", kTarget, "1"});
  ASSERT_EQ(failing.line(), "ready");
  pid_t pid = 0;
  ASSERT_EQ(sscanf(failing.ask("pid").c_str(), "%d", &pid), 1);
  ::kill(pid, SIGKILL);
  EXPECT_EQ(exit_code(failing), 128 + SIGKILL);
}

// Both in a pid namespace of their own, as in a container: every id the kernel side sees must be translated.
TEST_F(RecordTest, InsideAPidNamespace) {
  Child tool({"unshare", "--pid", "--fork", "--mount-proc", kFiberprof, "record", "-q", "--exact", "-o", file_, "--",
              kTarget, "2"});
  ASSERT_EQ(tool.line(), "ready");
  ASSERT_EQ(tool.ask("blocked 11 2 10 1 3"), "fired 11");
  ASSERT_EQ(tool.ask("mutex 20 2"), "ok");
  tool.send("quit");
  EXPECT_EQ(exit_code(tool), 0);
  const Profile recorded = profile();
  EXPECT_EQ(count(recorded, SampleKind::blocked, "chan receive"), 11u);
  EXPECT_EQ(count(recorded, SampleKind::off_cpu, "futex wait"), 2u);
  for (const Sample& sample : recorded.samples) EXPECT_LT(sample.pid, 100u) << "as seen from inside";
}

// Only the target in one, watched from outside: its registry tells thread ids that mean nothing out here.
TEST_F(RecordTest, ATargetInAPidNamespaceFromOutside) {
  Child target({"unshare", "--pid", "--fork", "--mount-proc", kTarget, "2"});
  ASSERT_EQ(target.line(), "ready");
  const auto parent = std::to_string(target.pid());
  std::ifstream children("/proc/" + parent + "/task/" + parent + "/children");
  std::string pid;
  ASSERT_TRUE(children >> pid);
  Child tool({kFiberprof, "record", "-q", "--exact", "-o", file_, pid});
  wait_for_probe(target);
  ASSERT_EQ(target.ask("blocked 11 2 10 1 3"), "fired 11");
  ASSERT_EQ(target.ask("mutex 20 2"), "ok");
  target.send("quit");
  EXPECT_EQ(exit_code(tool), 0);
  const Profile recorded = profile();
  EXPECT_EQ(count(recorded, SampleKind::blocked, "chan receive"), 11u);
  EXPECT_EQ(count(recorded, SampleKind::off_cpu, "futex wait"), 2u);
  for (const Sample& sample : recorded.samples) EXPECT_EQ(std::to_string(sample.pid), pid);
}

TEST_F(RecordTest, WhatCannotBeRecordedIsOneLineAndTheRightExitCode) {
  const auto run = [](std::vector<std::string> arguments, int expected) {
    arguments.insert(arguments.begin(), {"sh", "-c", "exec \"$0\" \"$@\" 2>&1", kFiberprof});
    Child tool(arguments);
    const std::string said = tool.rest();
    EXPECT_EQ(exit_code(tool), expected) << said;
    EXPECT_EQ(std::count(said.begin(), said.end(), '\n'), 1) << said;
    return said;
  };
  run({"record", "4194303"}, 1);                  // no such process
  run({"record", std::to_string(getppid())}, 1);  // has no probes
  run({"record"}, 2);
  run({"record", "a", "b"}, 2);
  run({"record", "1", "--reason", "nonsense"}, 2);
  run({"record", "1", "--nonsense"}, 2);
  run({"record", "--", "/nonexistent/program"}, 1);
}

TEST_F(RecordTest, DoctorSaysWhatIsThereAndWhatProbesCost) {
  Child tool({kFiberprof, "doctor", "--json"});
  const auto report = nlohmann::json::parse(tool.rest());
  EXPECT_EQ(exit_code(tool), 0);
  EXPECT_TRUE(report.at("ok").get<bool>());
  EXPECT_GT(report.at("measured").at("hit_ns").at("nop1").get<double>(), 0);
  const auto& event = report.at("measured").at("event_ns");
  EXPECT_GT(event.at("empty").get<double>(), 0);
  for (const char* depth : {"shallow", "deep"}) {
    EXPECT_GT(event.at(depth).at("complete").get<double>(), event.at("empty").get<double>());
    EXPECT_GT(event.at(depth).at("walk").get<double>(), event.at("empty").get<double>());
  }
  for (const auto& check : report.at("checks")) EXPECT_FALSE(check.at("name").get<std::string>().empty());
}

}  // namespace
}  // namespace fiberprof::test
