// SPDX-License-Identifier: BSD-2-Clause
// Reading and writing streams: try the system call, park when it would block, try again.
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "context/sanitizer.h"
#include "fiber/socket.h"
#include "net/operation.h"

namespace fiber {

using namespace detail;

namespace {

// The two frequent calls pass by recv and send of the C library, whose provisions for cancelling a thread were 3 % of
// an echo server's time; sanitizers know only those, though.
ssize_t sys_read(int fd, void* buffer, std::size_t size) {
  return checked([=] {
#if FIBER_ASAN || FIBER_TSAN
    return ::recv(fd, buffer, size, 0);
#else
    return ::syscall(SYS_recvfrom, fd, buffer, size, 0, nullptr, nullptr);
#endif
  });
}
ssize_t sys_write(int fd, const void* buffer, std::size_t size) {
  return checked([=] {
#if FIBER_ASAN || FIBER_TSAN
    return ::send(fd, buffer, size, MSG_NOSIGNAL);
#else
    return ::syscall(SYS_sendto, fd, buffer, size, MSG_NOSIGNAL, nullptr, 0);
#endif
  });
}

}  // namespace

// A read that got less than it asked for has emptied the socket, and whatever comes next makes an edge: the next read
// waits for that edge at once. Under request and answer this saves the attempt that fails, one system call of three.
ssize_t StreamSocket::read(void* buffer, std::size_t size, Limit limit) {
  Operation operation(poll_, kRead);
  if (operation.error() != 0) return operation.error();
  PollHandle* handle = operation.handle();
  bool attempt = handle->take_ready(kRead);
  for (;;) {
    int waited = 0;
    if (!attempt) {
      waited = operation.wait(Reason::IO_READ, limit);
      // What has come before the limit is there even when no edge has been seen yet.
      if (operation.error() != 0) return operation.error();
    }
    const ssize_t count = sys_read(operation.fd(), buffer, size);
    if (count == -EAGAIN) {
      if (waited != 0) return waited;
      attempt = false;
      continue;
    }
    // Also after the end and after an error: the next read must see it too.
    if (count <= 0 || static_cast<std::size_t>(count) == size || handle->ends_early.load(std::memory_order_acquire)) {
      handle->set_ready(kRead);
    }
    if (count == -EINTR) {
      attempt = true;
      continue;
    }
    return count;
  }
}

ssize_t StreamSocket::write(const void* buffer, std::size_t size, Limit limit, std::size_t* written) {
  const auto* bytes = static_cast<const std::byte*>(buffer);
  std::size_t done = 0;
  Operation operation(poll_, kWrite);
  ssize_t result = operation.error();
  while (result == 0 && done < size) {
    const ssize_t count = sys_write(operation.fd(), bytes + done, size - done);
    if (count >= 0) {
      done += static_cast<std::size_t>(count);
    } else if (count == -EAGAIN) {
      result = operation.wait(Reason::IO_WRITE, limit);
    } else if (count != -EINTR) {
      result = count;
    }
  }
  if (written != nullptr) *written = done;
  return result == 0 ? static_cast<ssize_t>(size) : result;
}

void StreamSocket::shutdown_write() {
  if (const int descriptor = fd(); descriptor >= 0) ::shutdown(descriptor, SHUT_WR);
}

}  // namespace fiber
