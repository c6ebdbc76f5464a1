// SPDX-License-Identifier: BSD-2-Clause
// Sending and receiving datagrams of all families.
#include <sys/socket.h>

#include "fiber/socket.h"
#include "net/operation.h"

namespace fiber {

using namespace detail;
using namespace std::chrono_literals;

ssize_t DatagramSocket::send_message(const void* buffer, std::size_t size, const Address* to, const Limit& limit) {
  if (to != nullptr && !*to) return -EINVAL;
  Operation operation(poll_, kWrite);
  BackOff back_off(100us, 10ms);
  ssize_t result = operation.error();
  while (result == 0) {
    const int fd = operation.fd();
    const ssize_t count = checked([&] {
      return ::sendto(fd, buffer, size, MSG_NOSIGNAL, to == nullptr ? nullptr : to->data(),
                      to == nullptr ? 0 : to->size());
    });
    if (count >= 0) return count;
    if (count == -EAGAIN) {
      // Of a Unix receiver whose queue is full the kernel tells the sender reliably neither by an edge nor, unless they
      // are connected, at all.
      result = operation.wait(Reason::IO_WRITE, limit, back_off);
    } else if (count != -EINTR) {
      result = count;
    }
  }
  return result;
}

ssize_t DatagramSocket::receive_message(void* buffer, std::size_t size, Datagram* details, const Limit& limit) {
  Operation operation(poll_, kRead);
  sockaddr_storage from;
  msghdr message;
  const ssize_t length = operation.repeat(Reason::IO_READ, limit, [&](int fd) {
    iovec part{buffer, size};
    message = {};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    if (details != nullptr) {
      message.msg_name = &from;
      message.msg_namelen = sizeof(from);
    }
    return ::recvmsg(fd, &message, MSG_TRUNC);  // returns the datagram's own length
  });
  if (length < 0) return length;
  if (details != nullptr) {
    details->length = static_cast<std::size_t>(length);
    details->from = Address::from(reinterpret_cast<const sockaddr*>(&from), message.msg_namelen);
  }
  return static_cast<ssize_t>(std::min(static_cast<std::size_t>(length), size));
}

ssize_t DatagramSocket::send(const void* buffer, std::size_t size, Limit limit) {
  return send_message(buffer, size, nullptr, limit);
}

ssize_t DatagramSocket::send_to(const void* buffer, std::size_t size, const Address& to, Limit limit) {
  return send_message(buffer, size, &to, limit);
}

Datagram DatagramSocket::receive_from(void* buffer, std::size_t size, Limit limit) {
  Datagram result;
  result.size = receive_message(buffer, size, &result, limit);
  return result;
}

ssize_t DatagramSocket::receive(void* buffer, std::size_t size, Limit limit) {
  return receive_message(buffer, size, nullptr, limit);
}

}  // namespace fiber
