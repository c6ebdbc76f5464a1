// SPDX-License-Identifier: BSD-2-Clause
// A program started for a test: ready when it has written a line, ended with the object.
#pragma once

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "support/unique_fd.h"

namespace fiberprof::test {

inline std::string fixture_path(const std::string& name) {
  return std::string(FIBERPROF_BUILD_DIR "/tests/fixtures/") + name;
}

class Child {
 public:
  // Returns once the program has written its first line (kept in `line`).
  explicit Child(std::vector<std::string> command) {
    int to_child[2], from_child[2];
    if (pipe(to_child) != 0 || pipe(from_child) != 0) return;
    pid_ = fork();
    if (pid_ == 0) {
      dup2(to_child[0], STDIN_FILENO);
      dup2(from_child[1], STDOUT_FILENO);
      for (const int fd : {to_child[0], to_child[1], from_child[0], from_child[1]}) close(fd);
      std::vector<char*> arguments;
      for (std::string& word : command) arguments.push_back(word.data());
      arguments.push_back(nullptr);
      execv(arguments[0], arguments.data());
      _exit(127);
    }
    close(to_child[0]);
    close(from_child[1]);
    input_.reset(to_child[1]);
    output_.reset(from_child[0]);
    line = next_line();
    EXPECT_FALSE(line.empty()) << command[0] << " did not start";
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() { end(); }

  // The next line of its output without the line end; empty at its end.
  std::string next_line() {
    std::string text;
    char c;
    while (read(output_.get(), &c, 1) == 1 && c != '\n') text += c;
    return text;
  }
  uint32_t pid() const { return static_cast<uint32_t>(pid_); }
  // Lets it end by itself; its wait status.
  int end() {
    int status = 0;
    input_.reset();
    if (pid_ > 0) waitpid(pid_, &status, 0);
    pid_ = -1;
    return status;
  }
  void kill_now() { ::kill(pid_, SIGKILL); }

  std::string line;

 private:
  pid_t pid_ = -1;
  UniqueFd input_, output_;
};

}  // namespace fiberprof::test
