// SPDX-License-Identifier: BSD-2-Clause
#include "session/launch.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "support/unique_fd.h"

namespace fiberprof {

Result<Launched> Launched::start(const std::vector<std::string>& command) {
  const std::string what = "cannot start " + command.at(0);
  std::vector<char*> arguments;
  for (const auto& argument : command) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return fail(what, std::strerror(errno));
  const UniqueFd from(ends[0]);
  UniqueFd to(ends[1]);
  const pid_t child = fork();
  if (child < 0) return fail(what, std::strerror(errno));
  if (child == 0) {
    if (ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) == 0) execvp(arguments[0], arguments.data());
    const int error = errno;  // exec closes the pipe; only a failure is ever written
    if (write(to.get(), &error, sizeof error) != sizeof error) _exit(126);
    _exit(127);
  }
  to.reset();
  Launched launched(child);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (!WIFSTOPPED(status)) {
    launched.pid_ = -1;  // reaped
    int error = 0;
    if (read(from.get(), &error, sizeof error) != sizeof error) error = 0;
    return fail(what, error ? std::strerror(error) : "it ended at once");
  }
  return launched;
}

void Launched::resume() {
  if (!std::exchange(stopped_, false)) return;
  ptrace(PTRACE_DETACH, pid_, nullptr, nullptr);
}

void Launched::terminate() {
  if (pid_ > 0) kill(pid_, SIGTERM);
}

int Launched::wait() {
  if (pid_ <= 0) return 0;
  int status = 0;
  pid_t ended = 0;
  do {
    ended = waitpid(pid_, &status, 0);
  } while (ended < 0 && errno == EINTR);
  pid_ = -1;
  if (ended < 0) return 0;
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

Launched::Launched(Launched&& other) noexcept : pid_(std::exchange(other.pid_, -1)), stopped_(other.stopped_) {}

Launched::~Launched() {
  if (pid_ <= 0) return;
  kill(pid_, SIGKILL);
  wait();
}

}  // namespace fiberprof
