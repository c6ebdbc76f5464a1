// SPDX-License-Identifier: BSD-2-Clause
// Address: where a socket is, for IPv4, IPv6 and Unix sockets.
#pragma once

#include <sys/socket.h>
#include <cstdint>
#include <string>
#include <string_view>

#include "fiber/config.h"

namespace fiber {

// A value; copies are independent. Any thread.
class FIBER_API Address {
 public:
  Address() = default;  // none

  // A numeric IPv4 or IPv6 address, the latter with a scope if need be ("fe80::1%eth0"). None when it is not one: for
  // names see fiber/dns.h.
  static Address ip(const std::string& numeric, std::uint16_t port);
  // Of a Unix socket: a path, or a name in the abstract space of Linux when it begins with '@'. (A file whose name
  // begins so: "./@name".) None when it is empty, longer than 107 bytes, or a path with a zero byte.
  static Address local(std::string_view path);
  // As the kernel gave it. None when that is too short for its family or the family is another one.
  static Address from(const sockaddr* address, socklen_t size);

  explicit operator bool() const { return size_ != 0; }
  int family() const;          // AF_INET, AF_INET6, AF_UNIX; AF_UNSPEC: none
  std::uint16_t port() const;  // 0 unless it is an IP address
  // "127.0.0.1", "::1", "/run/x.sock", "@name"; empty for none and for a Unix socket without a name.
  std::string host() const;
  // The same with the port: "127.0.0.1:80", "[::1]:80".
  std::string text() const;

  // For system calls.
  const sockaddr* data() const { return reinterpret_cast<const sockaddr*>(bytes_); }
  socklen_t size() const { return size_; }

  friend FIBER_API bool operator==(const Address& one, const Address& other);

 private:
  alignas(8) unsigned char bytes_[112] = {};  // the largest of the three, a sockaddr_un, has 110
  socklen_t size_ = 0;
};

}  // namespace fiber
