// SPDX-License-Identifier: BSD-2-Clause
// echo_load PORT CONNECTIONS BYTES SECONDS: the load of the echo benchmark, plain epoll on one thread. Every connection
// sends a message, waits for all of it to come back, checks it, and sends the next. Prints answers per second, counted
// after a short warm-up.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace {

[[noreturn]] void die(const char* what) {
  std::fprintf(stderr, "echo_load: %s: %s\n", what, std::strerror(errno));
  std::exit(1);
}

struct Connection {
  int fd = -1;
  std::size_t received = 0;
};

int connect_to(std::uint16_t port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (fd < 0 || ::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) die("connect");
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return fd;
}

// A message is much smaller than a socket's buffer, which is empty whenever one is sent.
void send_message(int fd, const std::vector<char>& message) {
  if (::send(fd, message.data(), message.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(message.size())) die("send");
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 5) {
    std::fprintf(stderr, "usage: echo_load PORT CONNECTIONS BYTES SECONDS\n");
    return 2;
  }
  const auto port = static_cast<std::uint16_t>(std::atoi(arguments[1]));
  std::vector<Connection> connections(static_cast<std::size_t>(std::atoi(arguments[2])));
  std::vector<char> message(static_cast<std::size_t>(std::atoi(arguments[3])));
  const std::chrono::duration<double> span(std::atof(arguments[4]));
  for (std::size_t i = 0; i < message.size(); ++i) message[i] = static_cast<char>('a' + i % 26);

  const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
  for (std::size_t i = 0; i < connections.size(); ++i) {
    connections[i].fd = connect_to(port);
    epoll_event event{};
    event.events = EPOLLIN | EPOLLET;
    event.data.u64 = i;
    if (::epoll_ctl(epoll, EPOLL_CTL_ADD, connections[i].fd, &event) != 0) die("epoll_ctl");
  }

  using Clock = std::chrono::steady_clock;
  constexpr auto kWarmUp = std::chrono::milliseconds(200);
  std::vector<epoll_event> events(connections.size());
  std::vector<char> answer(message.size());
  std::uint64_t answers = 0;
  bool counting = false;
  auto since = Clock::now();
  for (const Connection& connection : connections) send_message(connection.fd, message);
  for (;;) {
    const int ready = ::epoll_wait(epoll, events.data(), static_cast<int>(events.size()), 5000);
    if (ready == 0) errno = ETIMEDOUT;
    if (ready <= 0) die("waiting for answers");
    for (int i = 0; i < ready; ++i) {
      Connection& connection = connections[events[static_cast<std::size_t>(i)].data.u64];
      const ssize_t size = ::recv(connection.fd, answer.data(), answer.size() - connection.received, MSG_DONTWAIT);
      if (size < 0 && errno == EAGAIN) continue;
      if (size <= 0) die("the server has hung up");
      // Only one message is ever under way, so nothing stays behind in the socket: no second look is needed.
      if (std::memcmp(answer.data(), message.data() + connection.received, static_cast<std::size_t>(size)) != 0) {
        std::fprintf(stderr, "echo_load: the answer is not what was sent\n");
        return 1;
      }
      connection.received += static_cast<std::size_t>(size);
      if (connection.received < answer.size()) continue;
      connection.received = 0;
      ++answers;
      send_message(connection.fd, message);
    }
    const auto now = Clock::now();
    if (!counting && now - since >= kWarmUp) {
      counting = true;
      answers = 0;
      since = now;
    } else if (counting && now - since >= span) {
      std::printf("%.1f\n", static_cast<double>(answers) / std::chrono::duration<double>(now - since).count());
      return 0;
    }
  }
}
