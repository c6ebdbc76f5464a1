// SPDX-License-Identifier: BSD-2-Clause
#include "fiber/unix.h"

#include <cerrno>
#include <sys/socket.h>

namespace fiber {

namespace {

// Two connected descriptors, or twice the error.
std::pair<int, int> socket_pair(int type) {
  int fds[2];
  if (::socketpair(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) != 0) return {-errno, -errno};
  return {fds[0], fds[1]};
}

}  // namespace

UnixStream UnixStream::connect(std::string_view path, Limit limit) {
  UnixStream stream;
  stream.open_connected(SOCK_STREAM, Address::local(path), limit);
  return stream;
}

std::pair<UnixStream, UnixStream> UnixStream::pair() {
  std::pair<UnixStream, UnixStream> both;
  const auto [one, other] = socket_pair(SOCK_STREAM);
  both.first.adopt(one);
  both.second.adopt(other);
  return both;
}

UnixListener UnixListener::listen(std::string_view path, int backlog) {
  UnixListener listener;
  listener.open_listening(Address::local(path), ListenOptions{.backlog = backlog});
  return listener;
}

UnixStream UnixListener::accept(Limit limit) {
  UnixStream stream;
  stream.open_accepted(*this, limit);
  return stream;
}

UnixDatagram UnixDatagram::bind(std::string_view path) {
  UnixDatagram socket;
  socket.open_bound(Address::local(path), false);
  return socket;
}

UnixDatagram UnixDatagram::connect(std::string_view path) {
  UnixDatagram socket;
  socket.open_connected(SOCK_DGRAM, Address::local(path), {});
  return socket;
}

std::pair<UnixDatagram, UnixDatagram> UnixDatagram::pair() {
  std::pair<UnixDatagram, UnixDatagram> both;
  const auto [one, other] = socket_pair(SOCK_DGRAM);
  both.first.adopt(one);
  both.second.adopt(other);
  return both;
}

}  // namespace fiber
