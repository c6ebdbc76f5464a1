// SPDX-License-Identifier: BSD-2-Clause
#include "connection.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <utility>

#include "fiber/fiber.h"

namespace kvd {

namespace {

// Replies to a long pipeline are sent in pieces of about this size, so that memory stays bounded.
constexpr std::size_t kFlushAt = 256u << 10;
// A client whose next requests are always there already never parks its fiber; every so many reads it gives way.
constexpr unsigned kReadsBeforeYield = 32;

}  // namespace

Connection::Connection(ServerState& server, fiber::TcpStream stream, std::uint64_t id, std::string address)
    : server_(server), stream_(std::move(stream)) {
  client_.id = id;
  client_.address = std::move(address);
  const int on = 1;
  ::setsockopt(stream_.fd(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  server_.connections.fetch_add(1, std::memory_order_relaxed);
  server_.connections_total.fetch_add(1, std::memory_order_relaxed);
}

Connection::~Connection() { server_.connections.fetch_sub(1, std::memory_order_relaxed); }

void Connection::interrupt() {
  // Not close(): the descriptor must stay this connection's own while its fiber may be about to use it.
  ::shutdown(stream_.fd(), SHUT_RDWR);
}

void Connection::run() {
  unsigned reads = 0;
  do {
    const std::span<char> room = input_.prepare(parser_.wanted());
    const ssize_t size = stream_.read(room.data(), room.size());
    if (size <= 0) return;  // the client has left, or the server stops
    input_.commit(static_cast<std::size_t>(size));
    if (++reads % kReadsBeforeYield == 0) fiber::yield();
  } while (process());
}

bool Connection::process() {
  Context context{.server = server_, .client = client_, .reply = reply_, .now = wall_clock_ms()};
  while (!input_.empty()) {
    const RequestParser::Status status = parser_.parse(input_.bytes());
    if (status == RequestParser::Status::incomplete) break;
    if (status == RequestParser::Status::error) {
      reply_.error(parser_.error());
      context.quit = true;
      break;
    }
    context.arguments = parser_.arguments();
    if (!context.arguments.empty()) {
      ++commands_;
      execute(context);
    }
    input_.consume(parser_.consumed());
    parser_.reset();
    if (context.quit) break;
    if (reply_.size() >= kFlushAt && !flush(context)) return false;
  }
  return flush(context) && !context.quit;
}

bool Connection::flush(Context& context) {
  server_.commands_total.fetch_add(std::exchange(commands_, 0), std::memory_order_relaxed);
  if (std::exchange(context.wrote, false) && !server_.log->commit(committer_)) return false;
  if (reply_.size() == 0) return true;
  const std::string_view bytes = reply_.bytes();
  // The others whose requests have come are served first, then all replies go out: a client that has many connections
  // finds several at once. 6 % less of the server's time per request, and up to 20 % more requests in pipelines of 16.
  fiber::yield();
  const bool sent = stream_.write(bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size());
  reply_.clear();
  return sent;
}

}  // namespace kvd
