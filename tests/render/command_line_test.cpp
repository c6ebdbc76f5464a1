// SPDX-License-Identifier: BSD-2-Clause
// The command line as a user meets it: help, errors, exit codes, and the commands that need no live process.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "render/sample_profile.h"
#include "support/command.h"
#include "support/text.h"

namespace fiberprof {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

const std::string kProgram = std::string(FIBERPROF_BUILD_DIR) + "/bin/fiberprof";

CommandResult fiberprof(const std::string& arguments) { return run_command("'" + kProgram + "' " + arguments); }

class CommandLine : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "fiberprof-cli-XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    directory_ = name;
    recording_ = name + "/a.pb.gz";
    ASSERT_TRUE(write_profile(sample_profile(), recording_));
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }
  std::string directory_, recording_;
};

TEST_F(CommandLine, EveryHelpFitsEightyColumns) {
  for (const char* command : {"", "top", "record", "report", "flame", "list", "doctor", "completion"}) {
    const CommandResult help = fiberprof(std::string(command) + " --help");
    EXPECT_EQ(help.status, 0) << command;
    EXPECT_THAT(help.output, HasSubstr("Usage: fiberprof"));
    std::istringstream lines(help.output);
    for (std::string line; std::getline(lines, line);) EXPECT_LT(display_width(line), 80U) << command << ": " << line;
  }
}

TEST_F(CommandLine, WrongUsageIsOneLineAndExitCodeTwo) {
  for (const char* wrong : {"frobnicate", "report", "report --by colour x", "report -n -1 x", "top -i 5parsecs",
                            "top -i 1ms", "top --sort size", "flame --kind idle x", "completion tcsh", "--frob"}) {
    const CommandResult result = fiberprof(wrong);
    EXPECT_EQ(result.status, 2) << wrong;
    EXPECT_THAT(result.output, StartsWith("fiberprof: ")) << wrong;
    EXPECT_EQ(result.output.find('\n'), result.output.size() - 1) << result.output;
  }
  EXPECT_EQ(fiberprof("").status, 2);  // the help, on stderr
}

TEST_F(CommandLine, ErrorsAreOneLineAndExitCodeOne) {
  const std::vector<std::string> commands = {"report /no/such/file", "report " + directory_, "flame /no/such/file",
                                             "flame " + recording_ + " -o /no/such/place/a.svg", "top 999999999"};
  for (const std::string& wrong : commands) {
    const CommandResult result = fiberprof(wrong);
    EXPECT_EQ(result.status, 1) << wrong;
    EXPECT_THAT(result.output, StartsWith("fiberprof: ")) << wrong;
    EXPECT_EQ(result.output.find('\n'), result.output.size() - 1) << result.output;
  }
}

TEST_F(CommandLine, ReportReadsFilesAndPipes) {
  const CommandResult report = fiberprof("report " + recording_);
  EXPECT_EQ(report.status, 0);
  EXPECT_THAT(report.output, AllOf(HasSubstr("BLOCKED  63.0s in 5.40k waits"), HasSubstr("kvd::Log::run")));
  EXPECT_EQ(report.output.find('\x1b'), std::string::npos);  // no colour into a pipe
  EXPECT_EQ(fiberprof("report - <" + recording_).output, report.output);
  const CommandResult json = fiberprof("report --json " + recording_);
  EXPECT_EQ(nlohmann::json::parse(json.output)["blocked"]["total_ns"], 63'000'000'000);
  EXPECT_EQ(run_command("'" + kProgram + "' report " + recording_ + " | head -1").status, 0);
}

TEST_F(CommandLine, FlameWritesAPictureOrFoldedStacks) {
  const std::string picture = directory_ + "/a.svg";
  EXPECT_EQ(fiberprof("flame " + recording_ + " -o " + picture).status, 0);
  EXPECT_GT(std::filesystem::file_size(picture), 10'000U);
  const CommandResult folded = fiberprof("flame --folded " + recording_ + " 2>/dev/null");
  EXPECT_THAT(folded.output, HasSubstr("fiber::Mutex::lock();[mutex] 10000000000\n"));
  EXPECT_THAT(fiberprof("flame -o - " + recording_ + " 2>/dev/null").output, StartsWith("<?xml"));
}

TEST_F(CommandLine, CompletionKnowsCommandsOptionsAndWords) {
  const std::string script = directory_ + "/completion";
  ASSERT_EQ(fiberprof("completion bash >" + script).status, 0);
  const auto complete = [&](const std::string& words, int at) {
    return run_command("bash --norc -c 'source " + script + "; COMP_WORDS=(" + words +
                       "); COMP_CWORD=" + std::to_string(at) + "; _fiberprof; echo ${COMPREPLY[@]}'")
        .output;
  };
  EXPECT_EQ(complete("fiberprof re", 1), "record report\n");
  EXPECT_EQ(complete("fiberprof report --by \"\"", 3), "stack reason fiber process worker waker\n");
  EXPECT_EQ(complete("fiberprof flame --inv", 2), "--inverted\n");
  for (const char* shell : {"zsh", "fish"}) {
    EXPECT_THAT(fiberprof(std::string("completion ") + shell).output, HasSubstr("all-frames")) << shell;
  }
}

}  // namespace
}  // namespace fiberprof
