// SPDX-License-Identifier: BSD-2-Clause
// echo_load PORT CONNECTIONS BYTES SECONDS: the load of the echo benchmark, on one thread. Every connection sends a
// message, waits for all of it to come back, checks it, and sends the next. Prints answers per second, counted after a
// short warm-up. By io_uring: one system call sends and receives for all connections whose turn it is, for a load that
// costs as much as the server measures itself.
#include <arpa/inet.h>
#include <liburing.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <bit>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace {

[[noreturn]] void die(const char* what, int error = errno) {
  std::fprintf(stderr, "echo_load: %s: %s\n", what, std::strerror(error));
  std::exit(1);
}

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

class Load {
 public:
  Load(std::uint16_t port, std::size_t connections, std::size_t bytes)
      : received_(connections, 0), message_(bytes), buffers_(std::bit_ceil(2 * connections)) {
    for (std::size_t i = 0; i < bytes; ++i) message_[i] = static_cast<char>('a' + i % 26);
    for (std::size_t i = 0; i < connections; ++i) fds_.push_back(connect_to(port));

    io_uring_params parameters{};
    parameters.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
    const auto entries = static_cast<unsigned>(std::bit_ceil(2 * connections));
    if (const int error = io_uring_queue_init_params(entries, &ring_, &parameters)) die("io_uring (Linux 6.1)", -error);
    // Where answers go: each takes a buffer from the ring of them, and puts it back when it has been read.
    answers_.resize(buffers_ * bytes);
    io_uring_buf_reg described{};
    if (posix_memalign(reinterpret_cast<void**>(&free_), 4096, buffers_ * sizeof(io_uring_buf)) != 0) std::abort();
    described.ring_addr = reinterpret_cast<std::uint64_t>(free_);
    described.ring_entries = static_cast<std::uint32_t>(buffers_);
    if (const int error = io_uring_register_buf_ring(&ring_, &described, 0)) die("a ring of buffers", -error);
    io_uring_buf_ring_init(free_);
    for (std::size_t i = 0; i < buffers_; ++i) give_back(i);
    for (std::size_t i = 0; i < connections; ++i) {
      receive(i);
      send(i);
    }
  }

  // Waits for answers, and sends as many messages. Returns how many there were.
  std::uint64_t turn() {
    __kernel_timespec patience{.tv_sec = 5, .tv_nsec = 0};
    io_uring_cqe* first = nullptr;
    const int waited = io_uring_submit_and_wait_timeout(&ring_, &first, 1, &patience, nullptr);
    if (waited < 0) die("waiting for answers", -waited);
    std::uint64_t whole = 0;
    unsigned head = 0, seen = 0;
    io_uring_cqe* event = nullptr;
    io_uring_for_each_cqe(&ring_, head, event) {
      ++seen;
      whole += happened(*event);
    }
    io_uring_cq_advance(&ring_, seen);
    return whole;
  }

 private:
  static constexpr std::uint64_t kSend = std::uint64_t{1} << 63;

  io_uring_sqe* request() {
    io_uring_sqe* entry = io_uring_get_sqe(&ring_);
    if (entry == nullptr) {
      io_uring_submit(&ring_);
      entry = io_uring_get_sqe(&ring_);
    }
    if (entry == nullptr) die("a request of io_uring", EBUSY);
    return entry;
  }
  void receive(std::size_t connection) {
    io_uring_sqe* entry = request();
    io_uring_prep_recv_multishot(entry, fds_[connection], nullptr, 0, 0);
    entry->flags |= IOSQE_BUFFER_SELECT;
    entry->buf_group = 0;
    io_uring_sqe_set_data64(entry, connection);
  }
  // Says nothing when all has been sent.
  void send(std::size_t connection) {
    io_uring_sqe* entry = request();
    io_uring_prep_send(entry, fds_[connection], message_.data(), message_.size(), MSG_NOSIGNAL | MSG_WAITALL);
    entry->flags |= IOSQE_CQE_SKIP_SUCCESS;
    io_uring_sqe_set_data64(entry, connection | kSend);
  }
  void give_back(std::size_t buffer) {
    io_uring_buf_ring_add(free_, answers_.data() + buffer * message_.size(), static_cast<unsigned>(message_.size()),
                          static_cast<unsigned short>(buffer),
                          io_uring_buf_ring_mask(static_cast<std::uint32_t>(buffers_)), 0);
    io_uring_buf_ring_advance(free_, 1);
  }
  // 1: an answer is complete.
  std::uint64_t happened(const io_uring_cqe& event) {
    const std::uint64_t data = io_uring_cqe_get_data64(&event);
    if ((data & kSend) != 0) die("send", event.res < 0 ? -event.res : EIO);
    const auto connection = static_cast<std::size_t>(data);
    if (event.res <= 0 && event.res != -ENOBUFS) die("the server has hung up", -event.res);
    if ((event.flags & IORING_CQE_F_MORE) == 0) receive(connection);
    if (event.res <= 0) return 0;
    const auto size = static_cast<std::size_t>(event.res);
    const std::size_t buffer = event.flags >> IORING_CQE_BUFFER_SHIFT;
    std::size_t& received = received_[connection];
    if (received + size > message_.size() ||
        std::memcmp(answers_.data() + buffer * message_.size(), message_.data() + received, size) != 0) {
      std::fprintf(stderr, "echo_load: the answer is not what was sent\n");
      std::exit(1);
    }
    give_back(buffer);
    received += size;
    if (received < message_.size()) return 0;
    received = 0;
    send(connection);
    return 1;
  }

  std::vector<int> fds_;
  std::vector<std::size_t> received_;
  std::vector<char> message_, answers_;
  std::size_t buffers_;
  io_uring ring_{};
  io_uring_buf_ring* free_ = nullptr;
};

}  // namespace

int main(int count, char** arguments) {
  if (count != 5) {
    std::fprintf(stderr, "usage: echo_load PORT CONNECTIONS BYTES SECONDS\n");
    return 2;
  }
  Load load(static_cast<std::uint16_t>(std::atoi(arguments[1])), static_cast<std::size_t>(std::atoi(arguments[2])),
            static_cast<std::size_t>(std::atoi(arguments[3])));
  const std::chrono::duration<double> span(std::atof(arguments[4]));
  using Clock = std::chrono::steady_clock;
  constexpr auto kWarmUp = std::chrono::milliseconds(200);
  std::uint64_t answers = 0;
  bool counting = false;
  auto since = Clock::now();
  for (;;) {
    answers += load.turn();
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
