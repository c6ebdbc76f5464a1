// SPDX-License-Identifier: BSD-2-Clause
// What goes wrong in real life: each is one line that says what to do, the right exit code, and nothing lost.
#include "integration/tool.h"
#include "support/require_bpf.h"

using namespace fiberprof::test;
using nlohmann::json;

namespace {

class OddPaths : public testing::Test {
 protected:
  void SetUp() override { FIBERPROF_REQUIRE_BPF(); }
  Recording recording_;

  static void expect_error(const std::string& arguments, int status, const std::string& words) {
    SCOPED_TRACE(arguments);
    const CommandResult result = tool(arguments);
    EXPECT_EQ(result.status, status);
    EXPECT_NE(result.output.find(words), std::string::npos) << result.output;
    EXPECT_EQ(result.output.rfind("fiberprof: ", 0), 0u) << result.output;
    EXPECT_EQ(std::count(result.output.begin(), result.output.end(), '\n'), 1) << result.output;
  }
};

}  // namespace

TEST_F(OddPaths, NoSuchProcess) {
  for (const char* command : {"record", "top --once", "flame"}) {
    expect_error(std::string(command) + " 4194304", 1, "4194304");
    expect_error(std::string(command) + " no-such-program-anywhere", 1, "no-such-program-anywhere");
  }
}

TEST_F(OddPaths, AProcessWithoutProbes) {
  Background sleeper({"/bin/sleep", "60"});
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  for (const char* command : {"record", "top --once", "flame"}) {
    expect_error(std::string(command) + " " + sleeper.pid_text(), 1, "libfiberrt");
  }
  expect_error("record 2 -o " + recording_.path(), 1, "");  // a kernel thread
}

TEST_F(OddPaths, NonsenseArguments) {
  for (const char* arguments : {"record", "report", "flame", "nonsense", "record 1 -d forever", "top --sort colour",
                                "record -d -5s 1", "report /dev/null/x --by moon"}) {
    const CommandResult result = tool(arguments);
    EXPECT_EQ(result.status, 2) << arguments << ": " << result.output;
    EXPECT_EQ(result.output.rfind("fiberprof", 0), 0u) << result.output;
  }
  expect_error("report /no/such/file", 1, "/no/such/file");
  expect_error("report /etc/passwd", 1, "/etc/passwd");
  expect_error("report /dev/null", 1, "/dev/null");
}

TEST_F(OddPaths, WithoutPrivilege) {
  Background target({program("ends"), "never"});
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  const CommandResult result = run_command("setpriv --reuid=65534 --regid=65534 --clear-groups " + kTool + " record " +
                                           target.pid_text() + " -d 100ms -o /tmp/never.pb.gz");
  EXPECT_EQ(result.status, 1) << result.output;
  EXPECT_NE(result.output.find("root"), std::string::npos) << result.output;
  EXPECT_EQ(std::count(result.output.begin(), result.output.end(), '\n'), 1) << result.output;
}

TEST_F(OddPaths, TheTargetEndsWhileWatched) {
  for (const char* how : {"exit", "abort", "exec"}) {
    SCOPED_TRACE(how);
    Background target({program("ends"), how, "5000"});
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    const CommandResult recorded = tool("record " + target.pid_text() + " -d 20s --exact -o " + recording_.path());
    EXPECT_EQ(recorded.status, 0) << recorded.output;
    const json report = recording_.report();
    EXPECT_GT(report["blocked"]["count"].get<long>(), 100) << "what was collected stays";
    EXPECT_LT(report["duration_ns"].get<double>(), 15e9) << "the recording ends with its target";
    // Names are still names although the process is gone.
    EXPECT_GT(sum_rows(report["blocked"], "", "main::{lambda").count, 0) << report["blocked"].dump(1);
  }
}

TEST_F(OddPaths, TheTargetIsKilledWhileWatched) {
  Background target({program("ends"), "never"});
  std::thread killer([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(2000));
    target.kill(SIGKILL);
  });
  const CommandResult recorded = tool("record " + target.pid_text() + " -d 20s --exact -o " + recording_.path());
  killer.join();
  EXPECT_EQ(recorded.status, 0) << recorded.output;
  EXPECT_GT(recording_.report()["blocked"]["count"].get<long>(), 100);
}

TEST_F(OddPaths, CtrlCEndsEarlyAndKeepsWhatThereIs) {
  Background target({program("ends"), "never"});
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  Background recorder({kTool, "record", target.pid_text(), "-d", "60s", "--exact", "-o", recording_.path()});
  std::this_thread::sleep_for(std::chrono::milliseconds(2500));
  recorder.kill(SIGINT);
  EXPECT_EQ(recorder.wait(), 0) << recorder.output();
  const json report = recording_.report();
  EXPECT_GT(report["blocked"]["count"].get<long>(), 100);
  EXPECT_LT(report["duration_ns"].get<double>(), 10e9);
}
