// SPDX-License-Identifier: BSD-2-Clause
// Unix sockets for fibers. Errors, limits and who may call what: fiber/socket.h. Names of sockets: Address::local.
//
// A listener or datagram socket bound to a path makes a file there. It stays when the socket is closed, and while it is
// there another bind fails with -EADDRINUSE: who bound it unlinks it. Abstract names vanish with their socket.
#pragma once

#include <string_view>
#include <utility>

#include "fiber/config.h"
#include "fiber/socket.h"

namespace fiber {

// A connected stream.
class FIBER_API UnixStream : public StreamSocket {
 public:
  UnixStream() = default;

  // On failure the stream is invalid and error() says why: -EINVAL when `path` is no name of a socket. A full backlog
  // is waited out.
  static UnixStream connect(std::string_view path, Limit limit = {});
  // Two that are connected to each other.
  static std::pair<UnixStream, UnixStream> pair();

 private:
  friend class UnixListener;
};

class FIBER_API UnixListener : public ListenerSocket {
 public:
  UnixListener() = default;
  static UnixListener listen(std::string_view path, int backlog = 1024);
  // Waits for a connection. An invalid stream says in error() why: -ECANCELED after close().
  UnixStream accept(Limit limit = {});
};

// Unlike UDP: nothing is lost or reordered, and a send to a receiver that has not kept up waits.
class FIBER_API UnixDatagram : public DatagramSocket {
 public:
  UnixDatagram() = default;
  static UnixDatagram bind(std::string_view path);
  // Without a name of its own.
  static UnixDatagram connect(std::string_view path);
  static std::pair<UnixDatagram, UnixDatagram> pair();
};

}  // namespace fiber
