// SPDX-License-Identifier: BSD-2-Clause
// Options::busy_poll: a worker that looks for events of sockets awake.
#include <sys/resource.h>
#include <thread>

#include "runtime/net_fixture.h"

using namespace net_test;

namespace {

constexpr int kExchanges = 200;

// A thread that answers each byte a little later, so that the fiber has to wait for it.
class SlowPeer {
 public:
  explicit SlowPeer(std::uint16_t port) : thread_([port] { answer(port); }) {}
  ~SlowPeer() { thread_.join(); }

 private:
  static void answer(std::uint16_t port) {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const fiber::Address address = fiber::Address::ip("127.0.0.1", port);
    ASSERT_EQ(::connect(fd, address.data(), address.size()), 0);
    char byte;
    while (::read(fd, &byte, 1) == 1) {
      std::this_thread::sleep_for(200us);
      ASSERT_EQ(::write(fd, &byte, 1), 1);
    }
    ::close(fd);
  }
  std::thread thread_;
};

// How often the calling thread has gone to sleep. Not cached: the thread may be another after a wait.
[[gnu::noinline]] long sleeps_so_far() {
  rusage usage{};
  ::getrusage(RUSAGE_THREAD, &usage);
  return usage.ru_nvcsw;
}

void exchange(fiber::TcpStream& stream, int times) {
  for (int i = 0; i < times; ++i) {
    char byte = 'x';
    ASSERT_EQ(stream.write(&byte, 1), 1);
    ASSERT_EQ(stream.read(&byte, 1), 1);
  }
}

// How often the only worker sleeps in so many exchanges, of which each takes a while.
long sleeps(std::chrono::nanoseconds busy_poll) {
  long count = 0;
  fiber::run({.processors = 1, .busy_poll = busy_poll}, [&] {
    fiber::TcpListener listener = fiber::TcpListener::listen("127.0.0.1", 0);
    SlowPeer peer(listener.port());
    fiber::TcpStream stream = listener.accept();
    exchange(stream, kExchanges / 4);
    const long before = sleeps_so_far();
    exchange(stream, kExchanges);
    count = sleeps_so_far() - before;
    stream.close();
  });
  return count;
}

}  // namespace

TEST(BusyPoll, SleepsLessWhileEventsAreQuick) {
  const long asleep = sleeps(0ns);
  EXPECT_GE(asleep, kExchanges * 9 / 10);
  EXPECT_LT(sleeps(10ms), asleep);
}

// Meanwhile timers, foreign threads and fibers on other processors are served as ever.
TEST(BusyPoll, LeavesNobodyWaiting) {
  for (const unsigned processors : {1u, 2u, 4u}) {
    fiber::run({.processors = processors, .busy_poll = 10ms}, [&] {
      fiber::TcpListener listener = fiber::TcpListener::listen("127.0.0.1", 0);
      SlowPeer peer(listener.port());
      fiber::TcpStream stream = listener.accept();
      fiber::Channel<int> numbers;
      std::thread foreign([sender = numbers.sender()]() mutable {
        for (int i = 0; i < 50; ++i) {
          std::this_thread::sleep_for(300us);
          sender.send(i);
        }
      });
      auto sum = fiber::spawn([&] {
        int total = 0;
        for (int i = 0; i < 50; ++i) total += *numbers.receive();
        return total;
      });
      auto ticks = fiber::spawn([] {
        for (int i = 0; i < 50; ++i) fiber::sleep_for(500us);
        return 50;
      });
      exchange(stream, kExchanges);
      EXPECT_EQ(sum.join(), 49 * 50 / 2);
      EXPECT_EQ(ticks.join(), 50);
      foreign.join();
      stream.close();
    });
  }
}
