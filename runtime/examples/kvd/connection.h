// SPDX-License-Identifier: BSD-2-Clause
// One client: read, run all that is complete, write all the replies at once.
#pragma once

#include <cstdint>
#include <string>

#include "commands.h"
#include "fiber/net.h"
#include "log.h"
#include "read_buffer.h"
#include "reply.h"
#include "request.h"
#include "server_state.h"

namespace kvd {

class Connection {
 public:
  Connection(ServerState& server, fiber::TcpStream stream, std::uint64_t id, std::string address);
  ~Connection();

  // Serves the client until it leaves, breaks the protocol, or the server stops. On the connection's own fiber.
  void run();
  // Makes run() return soon. Any fiber, while the connection exists.
  void interrupt();

 private:
  bool process();
  bool flush(Context& context);

  ServerState& server_;
  fiber::TcpStream stream_;
  Client client_;
  ReadBuffer input_;
  RequestParser parser_;
  ReplyBuffer reply_;
  Committer committer_;
  std::uint64_t commands_ = 0;  // not yet added to the server's
};

}  // namespace kvd
