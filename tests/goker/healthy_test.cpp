// SPDX-License-Identifier: BSD-2-Clause
// Programs in which nobody is deadlocked: each ends by itself, and nothing is said against it meanwhile.
#include <gtest/gtest.h>

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>

#include <atomic>
#include <chrono>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "support/command.h"

extern char** environ;

namespace {

using namespace std::chrono_literals;

const std::string kFiberprof = FIBERPROF_BUILD_DIR "/bin/fiberprof";
std::string kHealthy = FIBERPROF_TARGET_DIR "/tests/programs/healthy";
constexpr unsigned kAtATime = 6;

struct Program {
  std::string number, name;
};

std::vector<Program> listed() {
  std::vector<Program> programs;
  std::istringstream lines(run_command(kHealthy + " --list").output);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream columns(line);
    Program program;
    columns >> program.number >> program.name;
    programs.push_back(program);
  }
  return programs;
}

// Asked again and again while the program runs, several at a time. The process may have ended already. Returns how many
// verdicts there were.
int check_no_report(pid_t pid, const Program& program) {
  int verdicts = 0;
  for (const char* option : {"", " --prove"}) {
    const CommandResult result = run_command(kFiberprof + " deadlock " + std::to_string(pid) + option + " 2>&1");
    EXPECT_NE(result.status, 3) << program.name << option << ":\n" << result.output;
    verdicts += result.status == 0;
  }
  return verdicts;
}

// Returns how many verdicts there were while it ran for about so long.
int run_for(Program program, std::string seconds) {
  std::string option = "--seconds";
  char* arguments[] = {kHealthy.data(), program.name.data(), option.data(), seconds.data(), nullptr};
  pid_t pid = -1;
  posix_spawn_file_actions_t quiet;
  posix_spawn_file_actions_init(&quiet);
  posix_spawn_file_actions_addopen(&quiet, 1, "/dev/null", O_WRONLY, 0);
  EXPECT_EQ(posix_spawn(&pid, kHealthy.c_str(), &quiet, nullptr, arguments, environ), 0);
  posix_spawn_file_actions_destroy(&quiet);
  int status = 0;
  const auto give_up = std::chrono::steady_clock::now() + 30s;
  int verdicts = 0;
  while (waitpid(pid, &status, WNOHANG) == 0) {
    if (std::chrono::steady_clock::now() > give_up) {
      kill(pid, SIGKILL);
      waitpid(pid, &status, 0);
      ADD_FAILURE() << program.name << " does not end";
      return verdicts;
    }
    verdicts += check_no_report(pid, program);
    std::this_thread::sleep_for(10ms);
  }
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << program.name << ": " << status;
  return verdicts;
}

// On a machine with much else to do nothing may have been looked at in half a second.
void run(const Program& program) {
  int verdicts = 0;
  for (const char* seconds : {"0.5", "2", "8"})
    if ((verdicts = run_for(program, seconds)) > 0) break;
  EXPECT_GT(verdicts, 0) << program.name << ": no verdict";
}

TEST(HealthyList, HasTheFifteenAndTheLoopingKernel) {
  std::set<std::string> numbers, names;
  for (const Program& program : listed()) {
    EXPECT_TRUE(numbers.insert(program.number).second) << program.number;
    EXPECT_TRUE(names.insert(program.name).second) << program.name;
  }
  for (int number = 1; number <= 16; ++number) EXPECT_TRUE(numbers.contains(std::to_string(number))) << number;
}

TEST(Healthy, EndsWithoutAReport) {
  const std::vector<Program> programs = listed();
  std::atomic<std::size_t> next{0};
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < kAtATime; ++i) {
    threads.emplace_back([&] {
      for (std::size_t mine; (mine = next++) < programs.size();) run(programs[mine]);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
