// SPDX-License-Identifier: BSD-2-Clause
// scripts/fiberprof-gdb.py in gdb, on live processes and on a core file the kernel wrote, stripped and not: the stacks
// of fibers whose stacks are known.
#include <gtest/gtest.h>

#include <fiberprof/registry.h>

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

#include "support/command.h"

namespace {

namespace fs = std::filesystem;

const std::string kScript = std::string(FIBERPROF_SOURCE_DIR) + "/scripts/fiberprof-gdb.py";

std::string program(const std::string& name) { return std::string(FIBERPROF_TARGET_DIR) + "/tests/programs/" + name; }

std::string slurp(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

class ScratchDirectory {
 public:
  ScratchDirectory() {
    std::string path = testing::TempDir() + "/gdb.XXXXXX";
    path_ = mkdtemp(path.data());
  }
  ~ScratchDirectory() { fs::remove_all(path_); }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// A program in the background, in a directory where it may dump core; killed and reaped at the end of the scope.
class Running {
 public:
  Running(const std::string& path, const std::vector<std::string>& arguments, const std::string& directory) {
    pid_ = fork();
    if (pid_ != 0) return;
    const rlimit all{RLIM_INFINITY, RLIM_INFINITY};
    setrlimit(RLIMIT_CORE, &all);
    std::vector<char*> raw{const_cast<char*>(path.c_str())};
    for (const std::string& argument : arguments) raw.push_back(const_cast<char*>(argument.c_str()));
    raw.push_back(nullptr);
    if (chdir(directory.c_str()) == 0) execv(path.c_str(), raw.data());
    _exit(127);
  }
  ~Running() {
    if (pid_ > 0) end(SIGKILL);
  }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;

  std::string pid() const { return std::to_string(pid_); }
  int end(int signal) {
    int status = 0;
    kill(pid_, signal);
    waitpid(std::exchange(pid_, -1), &status, 0);
    return status;
  }

 private:
  pid_t pid_ = -1;
};

// What gdb prints for the commands, on a process ("-p PID") or a core file ("EXECUTABLE CORE").
std::string gdb(const std::string& target, const std::vector<std::string>& commands) {
  std::string line =
      "gdb -q -batch -nx -iex 'set auto-load off' -iex 'set debuginfod enabled off' -ex 'set width 0' -ex 'source " +
      kScript + "'";
  for (const std::string& command : commands) line += " -ex '" + command + "'";
  return run_command(line + " " + target + " 2>&1").output;
}

// The same once `expected` matches what "fiber list" prints: the program needs a moment to get there.
std::string gdb_when(const std::string& target, const std::string& expected, std::vector<std::string> commands) {
  std::string output;
  for (int attempt = 0; attempt < 50; ++attempt) {
    output = gdb(target, {"fiber list"});
    if (std::regex_search(output, std::regex(expected))) return gdb(target, commands);
    if (output.find("ptrace: Operation not permitted") != std::string::npos) break;
  }
  ADD_FAILURE() << "never matched " << expected << ":\n" << output;
  return output;
}

bool may_attach() {
  std::ifstream scope("/proc/sys/kernel/yama/ptrace_scope");
  int value = 0;
  return !(scope >> value) || value == 0 || geteuid() == 0;
}
#define REQUIRE_ATTACH() \
  if (!may_attach()) GTEST_SKIP() << "kernel.yama.ptrace_scope lets only root attach gdb to a running process"

// What "fiber apply" printed about one fiber.
std::string section(const std::string& output, const std::string& name) {
  const std::size_t title = output.find("\"" + name + "\":\n");
  if (title == std::string::npos) return "";
  const std::size_t end = output.find("\nFiber ", title);
  return output.substr(title, end == std::string::npos ? end : end - title);
}

long count_of(const std::string& text, const std::string& part) {
  long count = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

struct Known {
  const char* name;
  const char* title;
  const char* function;
};
constexpr Known kParked[] = {
    {"receive", "(parked, chan receive)", "app::wait_to_receive"},
    {"send", "(parked, chan send)", "app::wait_to_send"},
    {"select", "(parked, select)", "app::wait_in_select"},
    {"mutex", "(parked, mutex)", "app::wait_for_mutex"},
    {"condition", "(parked, condition)", "app::wait_for_condition"},
    {"group", "(parked, wait group)", "app::wait_for_group"},
    {"sleep", "(parked, sleep)", "app::wait_for_time"},
    {"deep", "(parked, chan receive)", "app::wait_to_receive"},
};
// The last of them to be started.
const std::string kAllParked = "parked +chan receive .* deep";

void expect_known_stacks(const std::string& output) {
  for (const Known& known : kParked) {
    const std::string stack = section(output, known.name);
    EXPECT_NE(output.find(std::string(known.title) + " \"" + known.name + "\":"), std::string::npos) << output;
    EXPECT_NE(stack.find(known.function), std::string::npos) << known.name << stack;
    EXPECT_NE(stack.find("fiber_entry"), std::string::npos)
        << known.name << " does not end where fibers begin" << stack;
    EXPECT_EQ(stack.find("#0"), std::string::npos) << "a thread's frame in it" << stack;
  }
  EXPECT_EQ(count_of(section(output, "deep"), " in app::wait_deep_down ("), 41) << output;
}

}  // namespace

TEST(GdbCommands, KnowStatesAndReasonsAsTheRegistryNumbersThem) {
  const std::string script = std::regex_replace(slurp(kScript), std::regex("\\s+"), " ");
  ASSERT_FALSE(script.empty()) << kScript;
#define EXPECT_LISTED(value, name, text) \
  EXPECT_NE(script.find(#value ": \"" text "\""), std::string::npos) << #value " " text;
  FIBERPROF_REASONS(EXPECT_LISTED)
  FIBERPROF_FIBER_STATES(EXPECT_LISTED)
#undef EXPECT_LISTED
  EXPECT_NE(script.find("WORKER_TID = " + std::to_string(FIBERPROF_FIELD_worker_tid)), std::string::npos);
}

TEST(GdbCommands, StacksOfALiveProcess) {
  REQUIRE_ATTACH();
  ScratchDirectory scratch;
  Running target(program("parked"), {}, scratch.path());
  expect_known_stacks(gdb_when("-p " + target.pid(), kAllParked, {"fiber apply all bt"}));
}

TEST(GdbCommands, StacksInACoreFile) {
  const std::string pattern = slurp("/proc/sys/kernel/core_pattern");
  if (pattern.empty() || pattern[0] == '|' || pattern.find('/') != std::string::npos) {
    GTEST_SKIP() << "the kernel does not leave core files in the working directory: core_pattern is " << pattern;
  }
  REQUIRE_ATTACH();
  ScratchDirectory scratch;
  Running target(program("parked"), {}, scratch.path());
  gdb_when("-p " + target.pid(), kAllParked, {});
  ASSERT_TRUE(WCOREDUMP(target.end(SIGABRT)));
  std::string core;
  for (const auto& file : fs::directory_iterator(scratch.path())) core = file.path();
  const std::string output = gdb(program("parked") + " " + core, {"fiber apply all bt"});
  expect_known_stacks(output);
}

TEST(GdbCommands, AStrippedProgram) {
  REQUIRE_ATTACH();
  ScratchDirectory scratch;
  ASSERT_EQ(run_command("strip -o " + (scratch / "bare") + " " + program("parked")).status, 0);
  Running target(scratch / "bare", {}, scratch.path());
  const std::string output = gdb_when("-p " + target.pid(), kAllParked, {"fiber apply all bt"});
  for (const Known& known : kParked) EXPECT_GE(count_of(section(output, known.name), "\n#"), 5) << known.name << output;
  EXPECT_GE(count_of(section(output, "deep"), "\n#"), 45) << output;
}

TEST(GdbCommands, FilterSelectAndGoBack) {
  REQUIRE_ATTACH();
  ScratchDirectory scratch;
  Running target(program("parked"), {}, scratch.path());
  const std::string output = gdb_when(
      "-p " + target.pid(), kAllParked,
      {"echo A\\n", "fiber list --state parked --reason chan-receive", "echo B\\n", "fiber list --reason=mutex",
       "echo C\\n", "fiber 2", "frame function app::wait_to_receive", "up", "echo D\\n", "bt 1", "fiber off", "bt 1",
       "echo E\\n", "fiber 2 bt 2", "echo F\\n", "fiber apply --reason mutex all bt 1", "echo G\\n"});
  auto between = [&](char from, char to) {
    const std::size_t start = output.find(std::string(1, from) + "\n");
    return output.substr(start, output.find("\n" + std::string(1, to) + "\n") - start);
  };
  EXPECT_NE(between('A', 'B').find("\n2 fibers"), std::string::npos) << output;
  EXPECT_NE(between('B', 'C').find("\n1 fibers"), std::string::npos) << output;
  EXPECT_NE(between('C', 'D').find("Fiber 2 (parked, chan receive) \"receive\""), std::string::npos) << output;
  EXPECT_NE(between('C', 'D').find("app::wait_to_receive"), std::string::npos) << output;
  EXPECT_EQ(count_of(between('E', 'F'), "\n#"), 2) << output;
  EXPECT_NE(between('E', 'F').find("fiber::detail::"), std::string::npos) << output;
  EXPECT_EQ(count_of(between('F', 'G'), "Fiber "), 1) << output;
}

TEST(GdbCommands, FibersThatAreOnThreads) {
  REQUIRE_ATTACH();
  ScratchDirectory scratch;
  Running target(program("sections"), {"1", "3600000"}, scratch.path());
  const std::string output = gdb_when("-p " + target.pid(), "blocking .* blocker", {"fiber apply all bt"});
  EXPECT_NE(output.find("(blocking) \"blocker\":"), std::string::npos) << output;
  EXPECT_NE(section(output, "blocker").find("nanosleep"), std::string::npos) << output;
  EXPECT_NE(section(output, "worker").find("fiber_entry"), std::string::npos) << output;
}

// gdb only looks: the thread on which stacks were shown has the registers it had.
TEST(GdbCommands, LeaveTheThreadAsItWas) {
  REQUIRE_ATTACH();
  ScratchDirectory scratch;
  Running target(program("parked"), {}, scratch.path());
  const std::string output = gdb_when("-p " + target.pid(), kAllParked,
                                      {"echo A\\n", "info registers", "echo B\\n", "fiber apply all bt", "fiber 3",
                                       "fiber off", "echo C\\n", "info registers", "echo D\\n"});
  auto between = [&](const char* from, const char* to) {
    const std::size_t start = output.find(from) + 2;
    return output.substr(start, output.find(to) - start);
  };
  const std::string before = between("A\n", "B\n");
  EXPECT_GT(count_of(before, "\n"), 20) << output;
  EXPECT_EQ(before, between("\nC\n", "\nD\n").substr(1) + "\n");
}

TEST(GdbCommands, NonsenseIsAnErrorMessage) {
  REQUIRE_ATTACH();
  ScratchDirectory scratch;
  const std::string output = gdb("/bin/true", {"fiber list"});
  EXPECT_NE(output.find("no fiber registry"), std::string::npos) << output;
  Running target(program("parked"), {}, scratch.path());
  const std::string answers = gdb_when(
      "-p " + target.pid(), kAllParked,
      {"fiber 4711 bt", "fiber list --state asleep", "fiber list --reason", "fiber apply", "fiber", "fiber x"});
  EXPECT_NE(answers.find("No fiber 4711."), std::string::npos) << answers;
  EXPECT_NE(answers.find("--state is none of: free, runnable"), std::string::npos) << answers;
  EXPECT_NE(answers.find("--reason wants a value"), std::string::npos) << answers;
  EXPECT_NE(answers.find("fiber apply: which?"), std::string::npos) << answers;
  EXPECT_EQ(count_of(answers, "usage: fiber list"), 2) << answers;
  EXPECT_EQ(answers.find("Traceback"), std::string::npos) << answers;
}
