// SPDX-License-Identifier: BSD-2-Clause
#include "fiber/address.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/un.h>
#include <cstddef>
#include <cstring>

namespace fiber {

namespace {

constexpr std::size_t kPath = offsetof(sockaddr_un, sun_path);

template <class T>
const T& as(const Address& address) {
  return *reinterpret_cast<const T*>(address.data());
}

}  // namespace

Address Address::ip(const std::string& numeric, std::uint16_t port) {
  sockaddr_in v4{};
  v4.sin_family = AF_INET;
  v4.sin_port = htons(port);
  if (inet_pton(AF_INET, numeric.c_str(), &v4.sin_addr) == 1) {
    return from(reinterpret_cast<const sockaddr*>(&v4), sizeof(v4));
  }
  sockaddr_in6 v6{};
  v6.sin6_family = AF_INET6;
  v6.sin6_port = htons(port);
  const std::size_t scope = numeric.find('%');
  if (scope != std::string::npos) {
    v6.sin6_scope_id = if_nametoindex(numeric.c_str() + scope + 1);
    if (v6.sin6_scope_id == 0) return {};
  }
  if (inet_pton(AF_INET6, numeric.substr(0, scope).c_str(), &v6.sin6_addr) != 1) return {};
  return from(reinterpret_cast<const sockaddr*>(&v6), sizeof(v6));
}

Address Address::local(std::string_view path) {
  sockaddr_un address{};
  if (path.empty() || path.size() >= sizeof(address.sun_path)) return {};
  const bool abstract = path[0] == '@';
  if (!abstract && path.find('\0') != std::string_view::npos) return {};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  if (abstract) address.sun_path[0] = 0;
  // An abstract name has no end but its size; a path ends with a zero byte.
  const std::size_t size = kPath + path.size() + (abstract ? 0 : 1);
  return from(reinterpret_cast<const sockaddr*>(&address), static_cast<socklen_t>(size));
}

Address Address::from(const sockaddr* address, socklen_t size) {
  Address result;
  if (size < sizeof(sa_family_t)) return result;
  std::size_t least;
  switch (address->sa_family) {
    case AF_INET:
      least = sizeof(sockaddr_in);
      break;
    case AF_INET6:
      least = sizeof(sockaddr_in6);
      break;
    case AF_UNIX:
      least = kPath;
      break;
    default:
      return result;
  }
  if (size < least || size > sizeof(sockaddr_un) + 1) return result;
  std::memcpy(result.bytes_, address, size);
  result.size_ = size;
  return result;
}

int Address::family() const { return size_ == 0 ? AF_UNSPEC : data()->sa_family; }

std::uint16_t Address::port() const {
  if (family() == AF_INET) return ntohs(as<sockaddr_in>(*this).sin_port);
  return family() == AF_INET6 ? ntohs(as<sockaddr_in6>(*this).sin6_port) : std::uint16_t{0};
}

std::string Address::host() const {
  char text[INET6_ADDRSTRLEN];
  switch (family()) {
    case AF_INET:
      return inet_ntop(AF_INET, &as<sockaddr_in>(*this).sin_addr, text, sizeof(text));
    case AF_INET6: {
      const auto& v6 = as<sockaddr_in6>(*this);
      std::string host = inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof(text));
      char scope[IF_NAMESIZE];
      if (v6.sin6_scope_id == 0) return host;
      const bool named = if_indextoname(v6.sin6_scope_id, scope) != nullptr;
      return host + '%' + (named ? scope : std::to_string(v6.sin6_scope_id));
    }
    case AF_UNIX: {
      const char* path = as<sockaddr_un>(*this).sun_path;
      const std::size_t size = size_ - kPath;
      if (size == 0) return {};
      if (path[0] == 0) return '@' + std::string(path + 1, size - 1);
      return std::string(path, strnlen(path, size));
    }
    default:
      return {};
  }
}

std::string Address::text() const {
  switch (family()) {
    case AF_INET:
      return host() + ':' + std::to_string(port());
    case AF_INET6:
      return '[' + host() + "]:" + std::to_string(port());
    default:
      return host();
  }
}

bool operator==(const Address& one, const Address& other) {
  return one.size_ == other.size_ && std::memcmp(one.bytes_, other.bytes_, one.size_) == 0;
}

}  // namespace fiber
