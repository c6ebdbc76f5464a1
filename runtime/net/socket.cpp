// SPDX-License-Identifier: BSD-2-Clause
// Making, configuring and closing sockets of all kinds.
#include "fiber/socket.h"

#include <utility>

#include "fiber/time.h"
#include "net/operation.h"

namespace fiber {

using namespace detail;
using namespace std::chrono_literals;

namespace {

int new_socket(int family, int type) {
  return checked([=] { return ::socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0); });
}

int bind_to(int fd, const Address& address) {
  return checked([&] { return ::bind(fd, address.data(), address.size()); });
}

// What the kernel says of addresses: getsockname or getpeername.
Address ask(PollHandle* handle, int (*get)(int, sockaddr*, socklen_t*)) {
  if (handle == nullptr || handle->closed()) return {};
  sockaddr_storage storage;
  socklen_t size = sizeof(storage);
  if (get(handle->fd, reinterpret_cast<sockaddr*>(&storage), &size) != 0) return {};
  return Address::from(reinterpret_cast<const sockaddr*>(&storage), size);
}

// How an attempt to connect has ended: 0, -EINPROGRESS, or what made it fail.
int connected(int fd) {
  int error = 0;
  socklen_t size = sizeof(error);
  const int asked = checked([&] { return ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size); });
  if (asked != 0 || error != 0) return asked != 0 ? asked : -error;
  // No error so far. The wait may have ended without reason.
  sockaddr_storage peer;
  size = sizeof(peer);
  const int has_peer = checked([&] { return ::getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &size); });
  return has_peer == -ENOTCONN ? -EINPROGRESS : has_peer;
}

// Whether accept() failed for want of something that others will give back.
bool starved(int error) { return error == -EMFILE || error == -ENFILE || error == -ENOBUFS || error == -ENOMEM; }

// Whether it is the connection that failed, not the listener: accept(2) says which errors of the network it passes on.
bool of_connection(int error) {
  switch (-error) {
    case ECONNABORTED:
    case EPROTO:
    case ENOPROTOOPT:
    case ENETDOWN:
    case ENETUNREACH:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENONET:
      return true;
    default:
      return false;
  }
}

struct StarvedOperation : Poller::Starved {
  using Starved::Starved;
  ~StarvedOperation() { Operation::poller().leave(*this); }
};

int accept_one(PollHandle* listener, const Limit& limit) {
  Operation operation(listener, kRead);
  StarvedOperation starving(listener);
  BackOff back_off(5ms, 1s);
  for (;;) {
    const int fd = operation.repeat(Reason::IO_ACCEPT, limit, [](int listening) {
      return ::accept4(listening, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    });
    if (of_connection(fd)) continue;
    if (!starved(fd)) return fd;
    // The connection stays in the backlog, and makes no further edge. Once in the list, another attempt: a descriptor
    // may have become free before that.
    if (Operation::poller().starve(starving)) continue;
    const int waited = operation.wait(Reason::IO_ACCEPT, limit, back_off);
    if (waited != 0) return waited;
  }
}

}  // namespace

Socket::Socket(Socket&& other) noexcept
    : poll_(std::exchange(other.poll_, nullptr)), error_(std::exchange(other.error_, 0)) {}

Socket& Socket::operator=(Socket&& other) noexcept {
  if (this != &other) {
    release();
    poll_ = std::exchange(other.poll_, nullptr);
    error_ = std::exchange(other.error_, 0);
  }
  return *this;
}

void Socket::release() {
  if (poll_ == nullptr) return;
  Poller& poller = Operation::poller();
  poller.close(poll_);
  poller.release(std::exchange(poll_, nullptr));
}

void Socket::close() {
  if (poll_ != nullptr) Operation::poller().close(poll_);
}

bool Socket::adopt(int fd) {
  if (fd < 0) {
    error_ = fd;
    return false;
  }
  error_ = checked([&] {
    poll_ = Operation::poller().add(fd);
    return poll_ == nullptr ? -1 : 0;
  });
  if (poll_ == nullptr) ::close(fd);
  return poll_ != nullptr;
}

void Socket::fail(int error) {
  release();
  error_ = error;
}

int Socket::fd() const { return poll_ == nullptr || poll_->closed() ? -1 : poll_->fd.load(std::memory_order_relaxed); }

void Socket::set_read_deadline(Deadline deadline) {
  if (poll_ != nullptr) poll_->deadline[kRead].store(deadline, std::memory_order_relaxed);
}

void Socket::set_write_deadline(Deadline deadline) {
  if (poll_ != nullptr) poll_->deadline[kWrite].store(deadline, std::memory_order_relaxed);
}

Address Socket::local_address() const { return ask(poll_, ::getsockname); }
Address Socket::peer_address() const { return ask(poll_, ::getpeername); }

int Socket::set_option(int level, int name, int value) {
  const int descriptor = fd();
  if (descriptor < 0) return -EBADF;
  return checked([=] { return ::setsockopt(descriptor, level, name, &value, sizeof(value)); });
}

void Socket::open_connected(int type, const Address& address, const Limit& limit) {
  if (!address) return fail(-EINVAL);
  const int fd = new_socket(address.family(), type);
  if (fd < 0) return fail(fd);
  BackOff back_off(1ms, 100ms);
  int result;
  for (;;) {
    result = checked([&] { return ::connect(fd, address.data(), address.size()); });
    // The backlog of a Unix listener is full, and nothing tells when it is not.
    if (result != -EAGAIN || address.family() != AF_UNIX) break;
    const Status slept = sleep_until(back_off.next(), limit);
    if (slept != Status::done) {
      result = slept == Status::timed_out ? -ETIMEDOUT : -ECANCELED;
      break;
    }
  }
  const bool in_progress = result == -EINPROGRESS || result == -EINTR;
  if (result != 0 && !in_progress) {
    ::close(fd);
    return fail(result);
  }
  // Not before: epoll would report that it is not connected, which looks like an end.
  if (!adopt(fd) || !in_progress) return;
  {
    Operation operation(poll_, kWrite);
    do {
      result = operation.wait(Reason::IO_CONNECT, limit);
      if (result == 0) result = connected(fd);
    } while (result == -EINPROGRESS);
  }
  if (result != 0) fail(result);
}

void Socket::open_accepted(Socket& listener, const Limit& limit) {
  if (listener.poll_ == nullptr) return fail(-EBADF);
  adopt(accept_one(listener.poll_, limit));
}

void DatagramSocket::open_bound(const Address& address, bool reuse_port) {
  if (!address) return fail(-EINVAL);
  if (!adopt(new_socket(address.family(), SOCK_DGRAM))) return;
  int result = reuse_port ? set_option(SOL_SOCKET, SO_REUSEPORT, 1) : 0;
  if (result == 0) result = bind_to(fd(), address);
  if (result != 0) fail(result);
}

void ListenerSocket::open_listening(const Address& address, const ListenOptions& options) {
  if (!address) return fail(-EINVAL);
  if (!adopt(new_socket(address.family(), SOCK_STREAM))) return;
  int result = 0;
  if (address.family() != AF_UNIX) {
    result = set_option(SOL_SOCKET, SO_REUSEADDR, 1);
    if (result == 0 && options.reuse_port) result = set_option(SOL_SOCKET, SO_REUSEPORT, 1);
  }
  if (result == 0) result = bind_to(fd(), address);
  if (result == 0) result = checked([&] { return ::listen(fd(), options.backlog); });
  if (result != 0) fail(result);
}

}  // namespace fiber
