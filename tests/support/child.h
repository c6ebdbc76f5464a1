// SPDX-License-Identifier: BSD-2-Clause
// A child process with pipes to its stdin and from its stdout, killed and reaped when it goes out of scope.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace fiberprof::test {

class Child {
 public:
  explicit Child(const std::vector<std::string>& arguments);
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  pid_t pid() const { return pid_; }
  void send(const std::string& line);
  // The next line of its stdout without the line end; empty at its end.
  std::string line();
  std::string ask(const std::string& question) {
    send(question);
    return line();
  }
  // Everything up to the end of its stdout.
  std::string rest();
  void close_stdin();
  void kill(int signal);
  // Exit status as from waitpid(2).
  int wait();

 private:
  pid_t pid_ = -1;
  int in_ = -1, out_ = -1;
  int status_ = 0;
  std::string buffer_;
};

}  // namespace fiberprof::test
