// SPDX-License-Identifier: BSD-2-Clause
// Starting programs and fiberprof as a user does, and reading what they print.
#pragma once

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <csignal>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "profile/losses.h"
#include "support/command.h"

namespace fiberprof::test {

inline const std::string kTool = FIBERPROF_BUILD_DIR "/bin/fiberprof";

inline std::string program(const std::string& name) { return FIBERPROF_TARGET_DIR "/tests/programs/" + name; }

inline std::string slurp(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

// A program in the background; killed, if it still runs, and reaped at the end of the scope.
class Background {
 public:
  explicit Background(std::vector<std::string> arguments, std::vector<std::string> environment = {}) {
    static int counter = 0;
    output_ = testing::TempDir() + "/out." + std::to_string(getpid()) + "." + std::to_string(counter++);
    // The write end closes with exec: until then the child is this very program, which is no target.
    int running[2];
    if (pipe2(running, O_CLOEXEC) != 0) std::abort();
    pid_ = fork();
    if (pid_ == 0) {
      const int file = open(output_.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
      dup2(file, 1);
      dup2(file, 2);
      for (const std::string& setting : environment) putenv(strdup(setting.c_str()));
      std::vector<char*> raw;
      for (std::string& argument : arguments) raw.push_back(argument.data());
      raw.push_back(nullptr);
      execv(raw[0], raw.data());
      _exit(127);
    }
    close(running[1]);
    char none;
    while (read(running[0], &none, 1) < 0 && errno == EINTR) {
    }
    close(running[0]);
  }
  ~Background() {
    if (!reaped_) {
      ::kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
    unlink(output_.c_str());
  }
  Background(const Background&) = delete;
  Background& operator=(const Background&) = delete;

  pid_t pid() const { return pid_; }
  std::string pid_text() const { return std::to_string(pid_); }
  void kill(int signal) const { ::kill(pid_, signal); }
  // Exit status, or 128 + signal.
  int wait() {
    int status = 0;
    waitpid(pid_, &status, 0);
    reaped_ = true;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  std::string output() const { return slurp(output_); }

 private:
  pid_t pid_ = -1;
  bool reaped_ = false;
  std::string output_;
};

// fiberprof ARGUMENTS, to its end. Both outputs unless the arguments redirect one.
inline CommandResult tool(const std::string& arguments) { return run_command(kTool + " " + arguments); }

class Recording {
 public:
  Recording() {
    static int counter = 0;
    path_ = testing::TempDir() + "/recording." + std::to_string(getpid()) + "." + std::to_string(counter++) + ".pb.gz";
  }
  ~Recording() { unlink(path_.c_str()); }
  const std::string& path() const { return path_; }
  nlohmann::json report(const std::string& options = "") const {
    const CommandResult result = tool("report " + path_ + " --json -n 1000 " + options + " 2>/dev/null");
    EXPECT_EQ(result.status, 0) << result.output;
    return nlohmann::json::parse(result.output, nullptr, false);
  }

 private:
  std::string path_;
};

// What a report misses, without its remarks about what it has.
inline nlohmann::json missed(const nlohmann::json& report) {
  nlohmann::json missed = nlohmann::json::object();
  for (const auto& [cause, events] : report["losses"].items())
    if (is_lost(cause)) missed[cause] = events;
  return missed;
}

inline bool stack_has(const nlohmann::json& row, const std::string& function) {
  for (const auto& frame : row["stack"]) {
    if (frame["function"].get<std::string>().find(function) != std::string::npos) return true;
  }
  return false;
}

// The rows of a section whose reason is this and whose stack has this function, added up.
struct Sum {
  double total_ns = 0, queued_ns = 0;
  long count = 0;
  int rows = 0;
};
inline Sum sum_rows(const nlohmann::json& section, const std::string& reason, const std::string& function) {
  Sum sum;
  for (const auto& row : section["rows"]) {
    if ((!reason.empty() && row["reason"] != reason) || !stack_has(row, function)) continue;
    sum.total_ns += row["total_ns"].get<double>();
    sum.queued_ns += row.value("queued_ns", 0.0);
    sum.count += row["count"].get<long>();
    ++sum.rows;
  }
  return sum;
}

}  // namespace fiberprof::test
