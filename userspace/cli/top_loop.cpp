// SPDX-License-Identifier: BSD-2-Clause
#include "cli/top_loop.h"

#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>

#include "session/stopwatch.h"

namespace fiberprof {

Signals::Signals() {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int each : {SIGINT, SIGTERM, SIGHUP, SIGWINCH}) ::sigaddset(&set, each);
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
  fd_ = UniqueFd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  ::signal(SIGPIPE, SIG_IGN);  // `top | head` ends by a failed write, so that the probes come out in order
}

bool Signals::read() {
  signalfd_siginfo info{};
  while (::read(fd_.get(), &info, sizeof info) == sizeof info) end_ |= info.ssi_signo != SIGWINCH;
  return end_;
}

Beat::Beat(uint64_t interval_ns, uint64_t duration_ns)
    : interval_ns_(interval_ns),
      next_ns_(monotonic_ns()),
      end_ns_(duration_ns == 0 ? UINT64_MAX : next_ns_ + duration_ns) {}

uint64_t Beat::next() {
  const uint64_t now = monotonic_ns();
  next_ns_ = next_ns_ + interval_ns_ > now ? next_ns_ + interval_ns_ : now + interval_ns_;
  return std::min(next_ns_, end_ns_);
}

bool Beat::over() const { return monotonic_ns() >= end_ns_; }

Woke sleep_until(uint64_t until_ns, const Signals& signals, bool keys, const std::vector<int>& sources) {
  for (;;) {
    std::vector<pollfd> fds = {{signals.fd(), POLLIN, 0}};
    if (keys) fds.push_back({STDIN_FILENO, POLLIN, 0});
    for (const int fd : sources) fds.push_back({fd, POLLIN, 0});
    const uint64_t now = monotonic_ns();
    if (now >= until_ns) return Woke::time;
    const uint64_t left = std::min<uint64_t>(until_ns - now, 3'600'000'000'000);
    const timespec timeout = {static_cast<time_t>(left / 1'000'000'000), static_cast<long>(left % 1'000'000'000)};
    if (::ppoll(fds.data(), fds.size(), &timeout, nullptr) <= 0) continue;
    if (fds[0].revents != 0) return Woke::signal;
    if (keys && fds[1].revents != 0) return Woke::key;
    return Woke::source;
  }
}

bool terminal_is_gone() {
  if (::isatty(STDIN_FILENO) == 0) return true;
  pollfd input = {STDIN_FILENO, POLLIN, 0};
  return ::poll(&input, 1, 0) > 0 && (input.revents & (POLLHUP | POLLERR | POLLNVAL)) != 0;
}

}  // namespace fiberprof
