// SPDX-License-Identifier: BSD-2-Clause
// TCP for fibers. Errors, limits and who may call what: fiber/socket.h.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "fiber/config.h"
#include "fiber/socket.h"

namespace fiber {

// A connected stream. TCP_NODELAY is on.
class FIBER_API TcpStream : public StreamSocket {
 public:
  TcpStream() = default;

  // Connects to a numeric IPv4 or IPv6 address. On failure the stream is invalid and error() says why: -EINVAL when it
  // is no such address.
  static TcpStream connect(const std::string& address, std::uint16_t port, Limit limit = {});
  static TcpStream connect(const Address& address, Limit limit = {});
  // Resolves the name (resolve() in fiber/dns.h) and tries its addresses in order until one accepts; error() is that of
  // the name, or of the last attempt. The limit is for all of it.
  static TcpStream connect_by_name(const std::string& host, const std::string& service, Limit limit = {});

  // 0 or negative errno.
  int set_no_delay(bool on);
  // Probes an idle peer after `idle`, then every `interval`; without an answer to `count` of them the connection ends
  // with -ETIMEDOUT. Whole seconds, at least one.
  int set_keep_alive(std::chrono::seconds idle, std::chrono::seconds interval, int count);

 private:
  friend class TcpListener;
};

class FIBER_API TcpListener : public ListenerSocket {
 public:
  TcpListener() = default;

  // Binds a numeric address (port 0: the kernel picks one, see port()) and listens. On failure invalid, see error().
  static TcpListener listen(const std::string& address, std::uint16_t port, int backlog = 1024);
  static TcpListener listen(const Address& address, const ListenOptions& options = {});

  std::uint16_t port() const { return local_address().port(); }

  // Waits for a connection. An invalid stream says in error() why: -ECANCELED after close().
  TcpStream accept(Limit limit = {});
};

}  // namespace fiber
