// SPDX-License-Identifier: BSD-2-Clause
#include <fiber/all.h>
#include <gtest/gtest.h>

#include <sys/resource.h>
#include <thread>
#include <unistd.h>

using namespace std::chrono_literals;

namespace {

class Net : public testing::TestWithParam<unsigned> {
 protected:
  template <class F>
  void run(F body) {
    fiber::run(fiber::Options{.processors = GetParam()}, body);
  }
};
INSTANTIATE_TEST_SUITE_P(Processors, Net, testing::Values(1u, 2u, 4u));

void echo_server(fiber::TcpListener& listener) {
  for (;;) {
    fiber::TcpStream stream = listener.accept();
    if (!stream) return;
    fiber::go([stream = std::move(stream)]() mutable {
      char buffer[4096];
      for (;;) {
        const ssize_t count = stream.read(buffer, sizeof(buffer));
        if (count <= 0 || stream.write(buffer, static_cast<std::size_t>(count)) < 0) return;
      }
    });
  }
}

}  // namespace

TEST_P(Net, EchoesForManyConnectionsAtOnce) {
  run([] {
    auto listener = fiber::TcpListener::listen("127.0.0.1", 0);
    ASSERT_TRUE(listener) << listener.error();
    auto server = fiber::spawn([&] { echo_server(listener); });
    fiber::WaitGroup all(50);
    std::atomic<int> good{0};
    for (int c = 0; c < 50; ++c) {
      fiber::go([&, c] {
        fiber::TcpStream stream = fiber::TcpStream::connect("127.0.0.1", listener.port());
        ASSERT_TRUE(stream) << stream.error();
        std::string message(1000, static_cast<char>('a' + c % 26));
        for (int i = 0; i < 20; ++i) {
          ASSERT_EQ(stream.write(message.data(), message.size()), static_cast<ssize_t>(message.size()));
          std::string back;
          char buffer[700];
          while (back.size() < message.size()) {
            const ssize_t count = stream.read(buffer, sizeof(buffer));
            ASSERT_GT(count, 0);
            back.append(buffer, static_cast<std::size_t>(count));
          }
          ASSERT_EQ(back, message);
        }
        ++good;
        stream.close();
        all.done();
      });
    }
    all.wait();
    EXPECT_EQ(good, 50);
    listener.close();
    server.join();
  });
}

TEST_P(Net, LargeWritesWaitForASlowReader) {
  run([] {
    auto listener = fiber::TcpListener::listen("127.0.0.1", 0);
    auto reader = fiber::spawn([&] {
      fiber::TcpStream stream = listener.accept();
      std::size_t total = 0;
      std::vector<char> buffer(100'000);
      for (;;) {
        if (total % 7 == 0) fiber::sleep_for(100us);
        const ssize_t count = stream.read(buffer.data(), buffer.size());
        if (count <= 0) return total;
        total += static_cast<std::size_t>(count);
      }
    });
    fiber::TcpStream stream = fiber::TcpStream::connect("127.0.0.1", listener.port());
    std::vector<char> data(20'000'000, 'x');
    EXPECT_EQ(stream.write(data.data(), data.size()), static_cast<ssize_t>(data.size()));
    stream.shutdown_write();
    EXPECT_EQ(reader.join(), data.size());
  });
}

TEST_P(Net, DeadlinesAndCloseEndWaits) {
  run([] {
    auto listener = fiber::TcpListener::listen("127.0.0.1", 0);
    fiber::TcpStream client = fiber::TcpStream::connect("127.0.0.1", listener.port());
    fiber::TcpStream server = listener.accept();
    char byte;
    client.set_read_deadline(fiber::Clock::now() + 5ms);
    EXPECT_EQ(client.read(&byte, 1), -ETIMEDOUT);
    client.set_read_deadline(fiber::Deadline::max());
    auto reader = fiber::spawn([&] { return client.read(&byte, 1); });
    fiber::sleep_for(2ms);
    client.close();
    EXPECT_EQ(reader.join(), -ECANCELED);
    EXPECT_EQ(server.read(&byte, 1), 0);
    auto acceptor = fiber::spawn([&] { return listener.accept().error(); });
    fiber::sleep_for(2ms);
    listener.close();
    EXPECT_EQ(acceptor.join(), -ECANCELED);
  });
}

TEST_P(Net, AcceptSurvivesRunningOutOfDescriptors) {
  run([] {
    auto listener = fiber::TcpListener::listen("127.0.0.1", 0);
    rlimit before;
    getrlimit(RLIMIT_NOFILE, &before);
    fiber::TcpStream client = fiber::TcpStream::connect("127.0.0.1", listener.port());
    ASSERT_TRUE(client);
    const int lowest = dup(0);  // no descriptor from here on
    close(lowest);
    rlimit tight = before;
    tight.rlim_cur = static_cast<rlim_t>(lowest);
    setrlimit(RLIMIT_NOFILE, &tight);
    auto acceptor = fiber::spawn([&] { return static_cast<bool>(listener.accept()); });
    fiber::sleep_for(30ms);
    setrlimit(RLIMIT_NOFILE, &before);
    EXPECT_TRUE(acceptor.join());
  });
}

TEST_P(Net, RefusedAndNonsenseAddressesAreErrors) {
  run([] {
    EXPECT_EQ(fiber::TcpStream::connect("127.0.0.1", 1).error(), -ECONNREFUSED);
    EXPECT_EQ(fiber::TcpStream::connect("not an address", 1).error(), -EINVAL);
    EXPECT_EQ(fiber::TcpListener::listen("999.0.0.1", 0).error(), -EINVAL);
    auto listener = fiber::TcpListener::listen("127.0.0.1", 0);
    EXPECT_EQ(fiber::TcpListener::listen("127.0.0.1", listener.port()).error(), -EADDRINUSE);
  });
}
