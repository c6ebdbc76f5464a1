// SPDX-License-Identifier: BSD-2-Clause
#include "fiber/udp.h"

#include <cerrno>

namespace fiber {

UdpSocket UdpSocket::bind(const Address& address, bool reuse_port) {
  UdpSocket socket;
  if (address.family() == AF_UNIX) {
    socket.fail(-EINVAL);
  } else {
    socket.open_bound(address, reuse_port);
  }
  return socket;
}

UdpSocket UdpSocket::bind(const std::string& address, std::uint16_t port, bool reuse_port) {
  return bind(Address::ip(address, port), reuse_port);
}

UdpSocket UdpSocket::connect(const Address& address) {
  UdpSocket socket;
  if (address.family() == AF_UNIX) {
    socket.fail(-EINVAL);
  } else {
    socket.open_connected(SOCK_DGRAM, address, {});
  }
  return socket;
}

UdpSocket UdpSocket::connect(const std::string& address, std::uint16_t port) {
  return connect(Address::ip(address, port));
}

}  // namespace fiber
