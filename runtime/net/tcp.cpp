// SPDX-License-Identifier: BSD-2-Clause
// TCP sockets: try the system call, park when it would block, try again.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <cerrno>
#include <cstring>
#include <utility>

#include "context/sanitizer.h"
#include "fiber/net.h"
#include "net/poller.h"
#include "sched/scheduler.h"

namespace fiber {

using namespace detail;

namespace detail {
namespace {

// System calls in functions of their own: errno is per thread, its address may be cached by the compiler, and a fiber
// may be on another thread after it has parked. The two frequent ones pass by recv and send of the C library, whose
// provisions for cancelling a thread were 3 % of an echo server's time; sanitizers know only those, though.
[[gnu::noinline]] ssize_t sys_read(int fd, void* buffer, std::size_t size) {
#if FIBER_ASAN || FIBER_TSAN
  const ssize_t count = ::recv(fd, buffer, size, 0);
#else
  const ssize_t count = ::syscall(SYS_recvfrom, fd, buffer, size, 0, nullptr, nullptr);
#endif
  return count < 0 ? -errno : count;
}
[[gnu::noinline]] ssize_t sys_write(int fd, const void* buffer, std::size_t size) {
#if FIBER_ASAN || FIBER_TSAN
  const ssize_t count = ::send(fd, buffer, size, MSG_NOSIGNAL);
#else
  const ssize_t count = ::syscall(SYS_sendto, fd, buffer, size, MSG_NOSIGNAL, nullptr, 0);
#endif
  return count < 0 ? -errno : count;
}
[[gnu::noinline]] int sys_accept(int fd) {
  const int accepted = ::accept4(fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  return accepted < 0 ? -errno : accepted;
}
[[gnu::noinline]] int sys_connect(int fd, const sockaddr* address, socklen_t size) {
  return ::connect(fd, address, size) < 0 ? -errno : 0;
}
[[gnu::noinline]] PollHandle* add_to_poller(int fd, int& error) {
  PollHandle* handle = Scheduler::instance().poller().add(fd);
  error = handle == nullptr ? -errno : 0;
  return handle;
}
[[gnu::noinline]] int socket_error(int fd) {
  int error = 0;
  socklen_t size = sizeof(error);
  return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0 ? -errno : -error;
}

struct Address {
  sockaddr_storage storage{};
  socklen_t size = 0;
};

bool parse(const std::string& text, std::uint16_t port, Address& out) {
  auto* v4 = reinterpret_cast<sockaddr_in*>(&out.storage);
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&out.storage);
  if (inet_pton(AF_INET, text.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(port);
    out.size = sizeof(*v4);
    return true;
  }
  if (inet_pton(AF_INET6, text.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(port);
    out.size = sizeof(*v6);
    return true;
  }
  return false;
}

void no_delay(int fd) {
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

bool would_block(ssize_t result) { return result == -EAGAIN || result == -EWOULDBLOCK; }

}  // namespace
}  // namespace detail

// --- stream
// --------------------------------------------------------------------------------------------------------------

TcpStream::TcpStream(TcpStream&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      error_(other.error_),
      poll_(std::exchange(other.poll_, nullptr)),
      read_deadline_(other.read_deadline_),
      write_deadline_(other.write_deadline_) {}

TcpStream& TcpStream::operator=(TcpStream&& other) noexcept {
  if (this != &other) {
    close();
    fd_ = std::exchange(other.fd_, -1);
    error_ = other.error_;
    poll_ = std::exchange(other.poll_, nullptr);
    read_deadline_ = other.read_deadline_;
    write_deadline_ = other.write_deadline_;
  }
  return *this;
}

TcpStream::~TcpStream() { close(); }

void TcpStream::close() {
  if (fd_ < 0) return;
  fd_ = -1;
  Scheduler::instance().poller().close(std::exchange(poll_, nullptr));
}

TcpStream TcpStream::connect(const std::string& address, std::uint16_t port, Deadline deadline) {
  TcpStream stream;
  Address target;
  if (!parse(address, port, target)) {
    stream.error_ = -EINVAL;
    return stream;
  }
  const int fd = ::socket(target.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    stream.error_ = -errno;
    return stream;
  }
  int result = sys_connect(fd, reinterpret_cast<const sockaddr*>(&target.storage), target.size);
  stream.poll_ = add_to_poller(fd, stream.error_);
  if (stream.poll_ == nullptr) {
    ::close(fd);
    return stream;
  }
  stream.fd_ = fd;
  if (result == -EINPROGRESS) {
    result = Scheduler::instance().poller().wait(stream.poll_, kWrite, Reason::IO_CONNECT, deadline);
    if (result == 0) result = socket_error(fd);
  }
  if (result != 0) {
    stream.close();
    stream.error_ = result;
    return stream;
  }
  no_delay(fd);
  return stream;
}

// A read that got less than it asked for has emptied the socket, and whatever comes next makes an edge: the next read
// waits for that edge at once. Under request and answer this saves the attempt that fails, one system call of three.
ssize_t TcpStream::read(void* buffer, std::size_t size) {
  if (fd_ < 0) return -ECANCELED;
  bool attempt = poll_->take_ready(kRead);
  for (;;) {
    int waited = 0;
    if (!attempt) {
      waited = Scheduler::instance().poller().wait(poll_, kRead, Reason::IO_READ, read_deadline_);
      // What has come before the deadline is there even when no edge has been seen yet.
      if (waited != 0 && waited != -ETIMEDOUT) return waited;
      if (fd_ < 0) return -ECANCELED;
    }
    const ssize_t count = sys_read(fd_, buffer, size);
    if (would_block(count)) {
      if (waited != 0) return waited;
      attempt = false;
      continue;
    }
    // Also after the end and after an error: the next read must see it too.
    if (count <= 0 || static_cast<std::size_t>(count) == size || poll_->ends_early.load(std::memory_order_acquire)) {
      poll_->set_ready(kRead);
    }
    if (count == -EINTR) {
      attempt = true;
      continue;
    }
    return count;
  }
}

ssize_t TcpStream::write(const void* buffer, std::size_t size) {
  const auto* bytes = static_cast<const std::byte*>(buffer);
  std::size_t done = 0;
  while (done < size) {
    if (fd_ < 0) return -ECANCELED;
    const ssize_t count = sys_write(fd_, bytes + done, size - done);
    if (count >= 0) {
      done += static_cast<std::size_t>(count);
      continue;
    }
    if (count == -EINTR) continue;
    if (!would_block(count)) return count;
    const int waited = Scheduler::instance().poller().wait(poll_, kWrite, Reason::IO_WRITE, write_deadline_);
    if (waited != 0) return waited;
  }
  return static_cast<ssize_t>(size);
}

void TcpStream::shutdown_write() {
  if (fd_ >= 0) ::shutdown(fd_, SHUT_WR);
}

// --- listener
// ------------------------------------------------------------------------------------------------------------

TcpListener::TcpListener(TcpListener&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      error_(other.error_),
      port_(other.port_),
      poll_(std::exchange(other.poll_, nullptr)) {}

TcpListener& TcpListener::operator=(TcpListener&& other) noexcept {
  if (this != &other) {
    close();
    fd_ = std::exchange(other.fd_, -1);
    error_ = other.error_;
    port_ = other.port_;
    poll_ = std::exchange(other.poll_, nullptr);
  }
  return *this;
}

TcpListener::~TcpListener() { close(); }

void TcpListener::close() {
  if (fd_ < 0) return;
  fd_ = -1;
  Scheduler::instance().poller().close(std::exchange(poll_, nullptr));
}

TcpListener TcpListener::listen(const std::string& address, std::uint16_t port, int backlog) {
  TcpListener listener;
  Address local;
  if (!parse(address, port, local)) {
    listener.error_ = -EINVAL;
    return listener;
  }
  const int fd = ::socket(local.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    listener.error_ = -errno;
    return listener;
  }
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  socklen_t size = sizeof(local.storage);
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&local.storage), local.size) != 0 || ::listen(fd, backlog) != 0 ||
      getsockname(fd, reinterpret_cast<sockaddr*>(&local.storage), &size) != 0) {
    listener.error_ = -errno;
    ::close(fd);
    return listener;
  }
  listener.port_ =
      ntohs(local.storage.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6*>(&local.storage)->sin6_port
                                                : reinterpret_cast<sockaddr_in*>(&local.storage)->sin_port);
  listener.poll_ = add_to_poller(fd, listener.error_);
  if (listener.poll_ == nullptr) {
    ::close(fd);
    return listener;
  }
  listener.fd_ = fd;
  return listener;
}

TcpStream TcpListener::accept() {
  using namespace std::chrono_literals;
  TcpStream stream;
  for (;;) {
    if (fd_ < 0) {
      stream.error_ = -ECANCELED;
      return stream;
    }
    const int fd = sys_accept(fd_);
    if (fd >= 0) {
      stream.poll_ = add_to_poller(fd, stream.error_);
      if (stream.poll_ == nullptr) {
        ::close(fd);
        return stream;
      }
      stream.fd_ = fd;
      no_delay(fd);
      return stream;
    }
    switch (fd) {
      case -EAGAIN: {
        const int waited = Scheduler::instance().poller().wait(poll_, kRead, Reason::IO_ACCEPT, Deadline::max());
        if (waited != 0) {
          stream.error_ = waited;
          return stream;
        }
        break;
      }
      case -EMFILE:
      case -ENFILE:
      case -ENOBUFS:
      case -ENOMEM:
        // The connection stays in the backlog; there is no edge to wait for, only descriptors that others give back.
        sleep_for(10ms);
        break;
      case -EINTR:
      case -ECONNABORTED:
        break;
      default:
        stream.error_ = fd;
        return stream;
    }
  }
}

}  // namespace fiber
