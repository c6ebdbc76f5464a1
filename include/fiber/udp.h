// SPDX-License-Identifier: BSD-2-Clause
// UDP for fibers. Errors, limits and who may call what: fiber/socket.h.
#pragma once

#include <cstdint>
#include <string>

#include "fiber/config.h"
#include "fiber/socket.h"

namespace fiber {

class FIBER_API UdpSocket : public DatagramSocket {
 public:
  UdpSocket() = default;

  // Receives what is sent to a numeric IPv4 or IPv6 address (port 0: the kernel picks one, see port()). On failure
  // invalid, see error(). `reuse_port`: several sockets share the port, and the kernel spreads datagrams by sender.
  static UdpSocket bind(const std::string& address, std::uint16_t port, bool reuse_port = false);
  static UdpSocket bind(const Address& address, bool reuse_port = false);
  // With a port of its own, and a peer: send() goes there, only its datagrams are received, and when it says that
  // nobody listens there the next call returns -ECONNREFUSED. Does not wait.
  static UdpSocket connect(const std::string& address, std::uint16_t port);
  static UdpSocket connect(const Address& address);

  std::uint16_t port() const { return local_address().port(); }
};

}  // namespace fiber
