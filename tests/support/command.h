// SPDX-License-Identifier: BSD-2-Clause
// Runs a shell command and takes what it says.
#pragma once

#include <sys/wait.h>
#include <array>
#include <cstdio>
#include <string>

struct CommandResult {
  int status = -1;  // exit status; 128 + signal
  std::string output;
};

// Standard output, and standard error too unless the command redirects it.
inline CommandResult run_command(const std::string& command) {
  CommandResult result;
  FILE* pipe = popen(("{ " + command + "; } 2>&1").c_str(), "r");
  if (pipe == nullptr) return result;
  std::array<char, 4096> buffer;
  while (const std::size_t count = fread(buffer.data(), 1, buffer.size(), pipe))
    result.output.append(buffer.data(), count);
  const int status = pclose(pipe);
  result.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return result;
}
