// SPDX-License-Identifier: BSD-2-Clause
// What all sockets have in common: calls look blocking and park the fiber until epoll says the socket is ready. The
// sockets themselves are in fiber/net.h (TCP), fiber/udp.h and fiber/unix.h.
//
// Errors are negative errno values, as in the kernel. Those of the runtime:
//   -ETIMEDOUT  The limit's deadline, or the socket's own, has passed. (The kernel says the same when a TCP peer has
//               been silent for too long; then the deadline has not passed yet.)
//   -ECANCELED  The limit's context is cancelled, or the socket is closed, by this fiber or another one. In the second
//               case the socket itself is false.
//   -EBUSY      Another fiber is in the same direction of the same socket: one may read (or accept, or receive) while
//               another writes (or sends), no more. Nothing has been done.
//   -EBADF      There is no socket: default-constructed, moved away, or it could not be opened (error() says why).
//
// A limit (fiber/limit.h) bounds one call; a deadline set on the socket bounds all calls that start later. An operation
// that need not wait succeeds whatever the limits say.
//
// Sockets may be made, used and closed by fibers, and by other threads while the runtime runs; then the thread blocks.
// Using, closing and setting options is safe from several at once; moving and destroying is not. A wait while no
// runtime runs ends the process with a message: nobody would end it.
#pragma once

#include <sys/types.h>
#include <cstddef>
#include <cstdint>

#include "fiber/address.h"
#include "fiber/config.h"
#include "fiber/limit.h"

namespace fiber {

namespace detail {
struct PollHandle;  // the runtime's side of one socket
}

// Move-only; closes on destruction.
class FIBER_API Socket {
 public:
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;

  // Whether it is open.
  explicit operator bool() const { return fd() >= 0; }
  int fd() const;                       // -1 when it is not open
  int error() const { return error_; }  // negative errno of what should have opened it; 0: none
  // Whoever waits on it returns -ECANCELED. The descriptor is free at once, or as soon as a system call that another
  // fiber is in has returned. The second time and later: nothing.
  void close();

  // For reads, accepts and receives, and for writes and sends. Deadline::max(): none.
  void set_read_deadline(Deadline deadline);
  void set_write_deadline(Deadline deadline);
  // None when there is no socket, or no peer.
  Address local_address() const;
  Address peer_address() const;
  // As setsockopt(2) with an int. 0 or negative errno.
  int set_option(int level, int name, int value);

 protected:
  Socket() = default;
  Socket(Socket&& other) noexcept;
  Socket& operator=(Socket&& other) noexcept;
  ~Socket() { release(); }

  // Becomes the owner of a new non-blocking descriptor; a negative one is the error. False: see error().
  bool adopt(int fd);
  void fail(int error);
  // Connects a new socket of that type. See TcpStream::connect.
  void open_connected(int type, const Address& address, const Limit& limit);
  // Waits for a connection and becomes it.
  void open_accepted(Socket& listener, const Limit& limit);

  detail::PollHandle* poll_ = nullptr;
  int error_ = 0;

 private:
  void release();
};

// A connected byte stream.
class FIBER_API StreamSocket : public Socket {
 public:
  // Up to `size` bytes as soon as any are there; 0: the peer has finished; negative: error.
  ssize_t read(void* buffer, std::size_t size, Limit limit = {});
  // All `size` bytes; returns `size` or a negative error, after which some may have been written: `written`, if given,
  // says how many.
  ssize_t write(const void* buffer, std::size_t size, Limit limit = {}, std::size_t* written = nullptr);
  // No more writes: the peer reads end of file.
  void shutdown_write();

 protected:
  StreamSocket() = default;
};

// What was received.
struct Datagram {
  ssize_t size = 0;        // bytes in the buffer; negative: error
  std::size_t length = 0;  // of the whole datagram
  Address from;            // none: the sender has no address

  bool truncated() const { return size >= 0 && static_cast<std::size_t>(size) < length; }
};

// Messages that arrive whole or not at all.
class FIBER_API DatagramSocket : public Socket {
 public:
  // One datagram to the peer it is connected to, or to an address: `size` or a negative error.
  ssize_t send(const void* buffer, std::size_t size, Limit limit = {});
  ssize_t send_to(const void* buffer, std::size_t size, const Address& to, Limit limit = {});
  // One datagram; what does not fit is lost, and the result says so. An empty one has size 0.
  Datagram receive_from(void* buffer, std::size_t size, Limit limit = {});
  // The same without the details.
  ssize_t receive(void* buffer, std::size_t size, Limit limit = {});

 protected:
  DatagramSocket() = default;
  void open_bound(const Address& address, bool reuse_port);

 private:
  ssize_t send_message(const void* buffer, std::size_t size, const Address* to, const Limit& limit);
  ssize_t receive_message(void* buffer, std::size_t size, Datagram* details, const Limit& limit);
};

struct ListenOptions {
  int backlog = 1024;
  // Several sockets, of this process or others of the same user, share the port; the kernel spreads connections. TCP.
  bool reuse_port = false;
};

// A listening socket. What accept() of its kinds has in common: running out of descriptors or memory (EMFILE, ENFILE,
// ENOBUFS, ENOMEM) is waited out, not returned: it tries again when a socket or file of this library is closed, when
// another connection arrives, and after 5 ms, doubling up to a second. Connections that died in the backlog are
// skipped.
class FIBER_API ListenerSocket : public Socket {
 protected:
  ListenerSocket() = default;
  void open_listening(const Address& address, const ListenOptions& options);
};

}  // namespace fiber
