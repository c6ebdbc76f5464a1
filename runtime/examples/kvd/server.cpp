// SPDX-License-Identifier: BSD-2-Clause
#include "server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <utility>

#include "fiber/runtime.h"
#include "fiber/select.h"
#include "fiber/time.h"

namespace kvd {

namespace {

using namespace std::chrono_literals;

// How long a key may stay in memory after its time; reads never see it.
constexpr auto kExpiryInterval = 100ms;

void say(const std::string& text) { std::fprintf(stderr, "fiber-kvd: %s\n", text.c_str()); }

std::string with_port(const std::string& address, unsigned port) {
  const bool is_v6 = address.find(':') != std::string::npos;
  return (is_v6 ? "[" + address + "]:" : address + ":") + std::to_string(port);
}

std::string peer_of(int fd) {
  sockaddr_storage peer{};
  socklen_t size = sizeof peer;
  char text[INET6_ADDRSTRLEN] = "?";
  unsigned port = 0;
  if (::getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &size) != 0) return text;
  if (peer.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(peer);
    ::inet_ntop(AF_INET, &v4.sin_addr, text, sizeof text);
    port = ntohs(v4.sin_port);
  } else if (peer.ss_family == AF_INET6) {
    const auto& v6 = reinterpret_cast<const sockaddr_in6&>(peer);
    ::inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof text);
    port = ntohs(v6.sin6_port);
  }
  return with_port(text, port);
}

}  // namespace

Server::Server(const Options& options) : options_(options), store_(options_.shards), state_(options_, store_) {}

bool Server::start() {
  // The port first: of two servers started with the same log and port, the second says what is most likely wrong.
  listener_ = fiber::TcpListener::listen(options_.bind, options_.port);
  if (!listener_) {
    const std::string where = with_port(options_.bind, options_.port);
    say("cannot listen on " + where + ": " + std::strerror(-listener_.error()) +
        (listener_.error() == -EADDRINUSE ? "; choose another --port, or 0 for any" : ""));
    return false;
  }
  state_.port = listener_.port();
  if (!options_.log.empty()) {
    std::string error;
    log_ = Log::open(options_.log, store_, error, say);
    if (log_ == nullptr) {
      say(error);
      return false;
    }
    log_->on_failure([this](const std::string& text) {
      say(text + "; stopping, for no further write could be acknowledged");
      stop_.try_send(Stop::log_failed);
    });
    state_.log = log_.get();
  }
  return true;
}

Server::Stop Server::serve(const fiber::Receiver<Stop>& stop) {
  std::printf("fiber-kvd: listening on %s (pid %d, %u processors, %s%s)\n",
              with_port(options_.bind, state_.port).c_str(), static_cast<int>(::getpid()), fiber::processor_count(),
              log_ != nullptr ? "log " : "no log", options_.log.c_str());
  std::fflush(stdout);

  fiber::Channel<bool> stop_expiry(1);
  auto acceptor = fiber::spawn({.name = "acceptor"}, [this] { accept_all(); });
  auto expiry = fiber::spawn({.name = "expiry"}, [this, receiver = stop_expiry.receiver()] { expire_all(receiver); });

  const Stop reason = fiber::Receiver<Stop>(stop).receive().value_or(Stop::requested);

  listener_.close();
  acceptor.join();  // so that no connection is added any more
  {
    const std::lock_guard lock(mutex_);
    for (Connection* connection : connections_) connection->interrupt();
  }
  running_.wait();
  stop_expiry.close();
  expiry.join();
  if (log_ != nullptr) log_->close();
  return reason;
}

void Server::accept_all() {
  for (std::uint64_t id = 1;; ++id) {
    fiber::TcpStream stream = listener_.accept();
    if (!stream) {
      if (stream.error() == -ECANCELED) return;
      // Such as a client that has given up in the meantime. Nothing that would come back at once for ever.
      say(std::string("cannot accept a connection: ") + std::strerror(-stream.error()));
      fiber::sleep_for(10ms);
      continue;
    }
    std::string address = peer_of(stream.fd());
    const std::string name = "conn " + address;
    running_.add();
    fiber::go({.name = name}, [this, id, moved = std::move(stream), peer = std::move(address)]() mutable {
      serve_connection(std::move(moved), id, std::move(peer));
      running_.done();
    });
  }
}

void Server::serve_connection(fiber::TcpStream stream, std::uint64_t id, std::string address) {
  Connection connection(state_, std::move(stream), id, std::move(address));
  {
    const std::lock_guard lock(mutex_);
    connections_.insert(&connection);
  }
  connection.run();
  const std::lock_guard lock(mutex_);
  connections_.erase(&connection);
}

void Server::expire_all(const fiber::Receiver<bool>& stop) {
  bool stopped = false;
  while (!stopped) {
    fiber::select(fiber::on_receive(stop, [&](std::optional<bool>) { stopped = true; }),
                  fiber::after(kExpiryInterval, [&] { store_.remove_expired(wall_clock_ms()); }));
  }
}

}  // namespace kvd
