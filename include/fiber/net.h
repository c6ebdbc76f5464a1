// SPDX-License-Identifier: BSD-2-Clause
// TCP for fibers: calls look blocking and park the fiber until epoll says the socket is ready.
//
// Errors are negative errno values, as in the kernel: -ETIMEDOUT when a deadline passed, -ECANCELED when another fiber
// closed the socket meanwhile. Only fibers may call what waits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <sys/types.h>

#include "fiber/config.h"
#include "fiber/time.h"

namespace fiber {

namespace detail {
struct PollHandle;  // the runtime's side of one file descriptor
}

// A connected stream socket. Move-only; closes on destruction. One fiber may read while another writes.
class FIBER_API TcpStream {
 public:
  TcpStream() = default;
  TcpStream(TcpStream&& other) noexcept;
  TcpStream& operator=(TcpStream&& other) noexcept;
  ~TcpStream();

  // Connects to a numeric IPv4 or IPv6 address. On failure the stream is invalid and error() says why.
  static TcpStream connect(const std::string& address, std::uint16_t port, Deadline deadline = Deadline::max());

  explicit operator bool() const { return fd_ >= 0; }
  int fd() const { return fd_; }
  int error() const { return error_; }  // negative errno of connect or accept

  // Up to `size` bytes as soon as any are there; 0: the peer has finished; negative: error.
  ssize_t read(void* buffer, std::size_t size);
  // All `size` bytes; returns `size` or a negative error.
  ssize_t write(const void* buffer, std::size_t size);
  // Waits that have not ended by then return -ETIMEDOUT. Applies to waits that start afterwards.
  void set_read_deadline(Deadline deadline) { read_deadline_ = deadline; }
  void set_write_deadline(Deadline deadline) { write_deadline_ = deadline; }
  // No more writes: the peer reads end of file.
  void shutdown_write();
  // Wakes whoever waits on it with -ECANCELED. Any fiber.
  void close();

 private:
  friend class TcpListener;
  int fd_ = -1;
  int error_ = 0;
  detail::PollHandle* poll_ = nullptr;
  Deadline read_deadline_ = Deadline::max();
  Deadline write_deadline_ = Deadline::max();
};

// A listening socket. Move-only; closes on destruction.
class FIBER_API TcpListener {
 public:
  TcpListener() = default;
  TcpListener(TcpListener&& other) noexcept;
  TcpListener& operator=(TcpListener&& other) noexcept;
  ~TcpListener();

  // Binds a numeric address (port 0: the kernel picks one, see port()) and listens. On failure invalid, see error().
  static TcpListener listen(const std::string& address, std::uint16_t port, int backlog = 1024);

  explicit operator bool() const { return fd_ >= 0; }
  int fd() const { return fd_; }
  int error() const { return error_; }
  std::uint16_t port() const { return port_; }

  // Waits for a connection. Running out of descriptors (EMFILE, ENFILE) is waited out, not returned. An invalid
  // stream says in error() why: -ECANCELED after close().
  TcpStream accept();
  // Wakes a fiber in accept(). Any fiber.
  void close();

 private:
  int fd_ = -1;
  int error_ = 0;
  std::uint16_t port_ = 0;
  detail::PollHandle* poll_ = nullptr;
};

}  // namespace fiber
