// SPDX-License-Identifier: BSD-2-Clause
// fiber-kvd: a key-value server that speaks the Redis protocol, on fibers.
#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <thread>
#include <utility>

#include "fiber/blocking.h"
#include "fiber/channel.h"
#include "fiber/runtime.h"
#include "options.h"
#include "server.h"

namespace {

// As many connections as the system allows; nothing to do when it does not.
void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

// Turns SIGINT and SIGTERM, which all threads block, into a message on a channel; a second one ends the process at
// once. A thread, not a fiber: it may send to a channel like any fiber, and occupies no worker while it waits.
class SignalWaiter {
 public:
  SignalWaiter(const sigset_t& signals, fiber::Sender<kvd::Server::Stop> stop)
      : thread_([this, signals, sender = std::move(stop)]() mutable {
          for (unsigned seen = 0;; ++seen) {
            int signal = 0;
            ::sigwait(&signals, &signal);
            if (ended_.load()) return;
            if (seen > 0) ::_exit(128 + signal);
            sender.try_send(kvd::Server::Stop::requested);
          }
        }) {}
  ~SignalWaiter() {
    ended_.store(true);
    // Ends sigwait(); it is blocked everywhere, so it ends nothing else.
    // NOLINTNEXTLINE(bugprone-bad-signal-to-kill-thread)
    ::pthread_kill(thread_.native_handle(), SIGTERM);
    fiber::blocking([this] { thread_.join(); });
  }
  SignalWaiter(const SignalWaiter&) = delete;
  SignalWaiter& operator=(const SignalWaiter&) = delete;

 private:
  std::atomic<bool> ended_{false};
  std::thread thread_;
};

int serve(const kvd::Options& options, const sigset_t& signals) {
  kvd::Server server(options);
  fiber::Channel<kvd::Server::Stop> stop(2);
  const SignalWaiter waiter(signals, stop.sender());
  server.stop_through(stop.sender());
  if (!server.start()) return 1;
  return server.serve(stop.receiver()) == kvd::Server::Stop::requested ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  int status = 0;
  const auto options = kvd::parse_options(argc, argv, status);
  if (!options) return status;

  raise_descriptor_limit();
  ::signal(SIGPIPE, SIG_IGN);
  // Before the runtime starts its threads, which inherit the mask: only the waiter takes these.
  sigset_t signals;
  ::sigemptyset(&signals);
  ::sigaddset(&signals, SIGINT);
  ::sigaddset(&signals, SIGTERM);
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);

  const std::chrono::microseconds busy_poll(options->busy_poll);
  fiber::run({.processors = options->processors, .busy_poll = busy_poll}, [&] { status = serve(*options, signals); });
  return status;
}
