// SPDX-License-Identifier: BSD-2-Clause
#include "fiber/unix.h"

#include <sys/socket.h>
#include <cerrno>

namespace fiber {

namespace {

// Two that are connected to each other; without a descriptor both get the error.
template <class Kind, class Adopt>
std::pair<Kind, Kind> connected_pair(int type, Adopt adopt) {
  int fds[2];
  if (::socketpair(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) != 0) fds[0] = fds[1] = -errno;
  std::pair<Kind, Kind> both;
  adopt(both.first, fds[0]);
  adopt(both.second, fds[1]);
  return both;
}

}  // namespace

UnixStream UnixStream::connect(std::string_view path, Limit limit) {
  UnixStream stream;
  stream.open_connected(SOCK_STREAM, Address::local(path), limit);
  return stream;
}

std::pair<UnixStream, UnixStream> UnixStream::pair() {
  return connected_pair<UnixStream>(SOCK_STREAM, [](UnixStream& end, int fd) { end.adopt(fd); });
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
  return connected_pair<UnixDatagram>(SOCK_DGRAM, [](UnixDatagram& end, int fd) { end.adopt(fd); });
}

}  // namespace fiber
