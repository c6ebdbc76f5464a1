// SPDX-License-Identifier: BSD-2-Clause
// A command started to be watched from its first instruction: it is stopped right after exec, before the dynamic
// linker or main have run, until resume().
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "support/error.h"

namespace fiberprof {

class Launched {
 public:
  // Errors: not found, not executable, ptrace(2) refused.
  static Result<Launched> start(const std::vector<std::string>& command);
  pid_t pid() const { return pid_; }
  // Lets it run. Once.
  void resume();
  // Sends SIGTERM unless it has ended.
  void terminate();
  // Waits for its end; its exit status, or 128 + signal, as a shell would report it.
  int wait();

  Launched(Launched&& other) noexcept;
  Launched& operator=(Launched&&) = delete;
  ~Launched();  // a command nobody waited for is killed

 private:
  explicit Launched(pid_t pid) : pid_(pid) {}
  pid_t pid_ = -1;
  bool stopped_ = true;
};

}  // namespace fiberprof
