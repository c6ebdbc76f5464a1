// SPDX-License-Identifier: BSD-2-Clause
#include <netinet/in.h>
#include <netinet/tcp.h>

#include <cerrno>

#include "fiber/dns.h"
#include "fiber/net.h"

namespace fiber {

TcpStream TcpStream::connect(const Address& address, Limit limit) {
  TcpStream stream;
  if (address.family() == AF_UNIX) {
    stream.fail(-EINVAL);
    return stream;
  }
  stream.open_connected(SOCK_STREAM, address, limit);
  stream.set_no_delay(true);
  return stream;
}

TcpStream TcpStream::connect(const std::string& address, std::uint16_t port, Limit limit) {
  return connect(Address::ip(address, port), limit);
}

TcpStream TcpStream::connect_by_name(const std::string& host, const std::string& service, Limit limit) {
  const Resolution found = resolve(host, service, limit);
  TcpStream stream;
  stream.error_ = found.error;
  for (const Address& address : found.addresses) {
    stream = connect(address, limit);
    // Another address would not help against these.
    if (stream || stream.error_ == -ECANCELED || Clock::now() >= limit.deadline()) break;
  }
  return stream;
}

int TcpStream::set_no_delay(bool on) { return set_option(IPPROTO_TCP, TCP_NODELAY, on); }

int TcpStream::set_keep_alive(std::chrono::seconds idle, std::chrono::seconds interval, int count) {
  int result = set_option(IPPROTO_TCP, TCP_KEEPIDLE, static_cast<int>(idle.count()));
  if (result == 0) result = set_option(IPPROTO_TCP, TCP_KEEPINTVL, static_cast<int>(interval.count()));
  if (result == 0) result = set_option(IPPROTO_TCP, TCP_KEEPCNT, count);
  return result == 0 ? set_option(SOL_SOCKET, SO_KEEPALIVE, 1) : result;
}

TcpListener TcpListener::listen(const Address& address, const ListenOptions& options) {
  TcpListener listener;
  if (address.family() == AF_UNIX) {
    listener.fail(-EINVAL);
  } else {
    listener.open_listening(address, options);
  }
  return listener;
}

TcpListener TcpListener::listen(const std::string& address, std::uint16_t port, int backlog) {
  return listen(Address::ip(address, port), ListenOptions{.backlog = backlog});
}

TcpStream TcpListener::accept(Limit limit) {
  TcpStream stream;
  stream.open_accepted(*this, limit);
  stream.set_no_delay(true);
  return stream;
}

}  // namespace fiber
