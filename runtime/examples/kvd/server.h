// SPDX-License-Identifier: BSD-2-Clause
// The server: accepts, keeps the connections, expires keys, ends in order.
#pragma once

#include <memory>
#include <string>
#include <unordered_set>

#include "connection.h"
#include "fiber/channel.h"
#include "fiber/fiber.h"
#include "fiber/net.h"
#include "fiber/sync.h"
#include "log.h"
#include "options.h"
#include "server_state.h"
#include "store.h"

namespace kvd {

// Fibers only.
class Server {
 public:
  enum class Stop { requested, log_failed };

  explicit Server(const Options& options);

  // Opens the log and the port. False, with a message on stderr, when that is not possible.
  bool start();
  // Serves until `stop` yields something, then ends all connections, writes what is left of the log, and returns what
  // it got.
  Stop serve(const fiber::Receiver<Stop>& stop);
  // What a log that fails tells, on its own fiber.
  void stop_through(fiber::Sender<Stop> stop) { stop_ = std::move(stop); }

 private:
  void accept_all();
  void expire_all(const fiber::Receiver<bool>& stop);
  void serve_connection(fiber::TcpStream stream, std::uint64_t id, std::string address);

  const Options options_;
  Store store_;
  ServerState state_;
  fiber::Sender<Stop> stop_;
  std::unique_ptr<Log> log_;
  fiber::TcpListener listener_;

  fiber::Mutex mutex_;
  std::unordered_set<Connection*> connections_;  // all that run; under mutex_
  fiber::WaitGroup running_;
};

}  // namespace kvd
