// SPDX-License-Identifier: BSD-2-Clause
// TCP: data both ways, ends, deadlines, errors.
#include <fiber/all.h>
#include <gtest/gtest.h>

#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <thread>

#include "net_fixture.h"

using namespace net_test;

namespace {

class Net : public OnProcessors {};
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
    TcpPair tcp;
    char byte;
    tcp.client.set_read_deadline(fiber::Clock::now() + 5ms);
    EXPECT_EQ(tcp.client.read(&byte, 1), -ETIMEDOUT);
    tcp.client.set_read_deadline(fiber::Deadline::max());
    auto reader = fiber::spawn([&] { return tcp.client.read(&byte, 1); });
    await_waiting(FIBERPROF_REASON_IO_READ, tcp.client.fd());
    tcp.client.close();
    EXPECT_EQ(reader.join(), -ECANCELED);
    EXPECT_EQ(tcp.server.read(&byte, 1), 0);
    auto acceptor = fiber::spawn([&] { return tcp.listener.accept().error(); });
    await_waiting(FIBERPROF_REASON_IO_ACCEPT, tcp.listener.fd());
    tcp.listener.close();
    EXPECT_EQ(acceptor.join(), -ECANCELED);
  });
}

// A read that gets less than it asked for leaves nothing behind, and the next one waits for an edge without another
// attempt. Not so when the end, or urgent data, has come with the data: that edge is over. (These hang when they fail.)
TEST_P(Net, TheEndIsSeenBehindAShortRead) {
  run([] {
    auto listener = fiber::TcpListener::listen("127.0.0.1", 0);
    std::thread clients([port = listener.port()] {
      for (int i = 0; i < 500; ++i) {
        const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(port);
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        ASSERT_EQ(::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
        ASSERT_EQ(::send(fd, "abc", 3, MSG_NOSIGNAL), 3);
        ::close(fd);
      }
    });
    for (int i = 0; i < 500; ++i) {
      fiber::TcpStream stream = listener.accept();
      ASSERT_TRUE(stream) << stream.error();
      char buffer[100];
      std::size_t total = 0;
      ssize_t count;
      while ((count = stream.read(buffer, sizeof buffer)) > 0) total += static_cast<std::size_t>(count);
      EXPECT_EQ(count, 0);
      EXPECT_EQ(total, 3u);
      EXPECT_EQ(stream.read(buffer, sizeof buffer), 0) << "the end is not seen twice";
    }
    fiber::blocking([&] { clients.join(); });
  });
}

TEST_P(Net, DataAndEndInOneEdge) {
  run([] {
    for (int i = 0; i < 100; ++i) {
      TcpPair tcp;
      auto reader = fiber::spawn([&] {
        char buffer[100];
        std::string all;
        ssize_t count;
        while ((count = tcp.server.read(buffer, sizeof buffer)) > 0)
          all.append(buffer, static_cast<std::size_t>(count));
        return all;
      });
      // On one processor: the reader waits by now, and hears of all of what follows at once.
      fiber::yield();
      EXPECT_EQ(tcp.client.write("abc", 3), 3);
      tcp.client.shutdown_write();
      EXPECT_EQ(reader.join(), "abc");
    }
  });
}

TEST_P(Net, DataBehindUrgentDataInOneEdge) {
  run([] {
    for (int i = 0; i < 100; ++i) {
      TcpPair tcp;
      auto reader = fiber::spawn([&] {
        char buffer[100];
        std::string all;
        while (all.size() < 4) {
          const ssize_t count = tcp.server.read(buffer, sizeof buffer);
          if (count <= 0) break;
          all.append(buffer, static_cast<std::size_t>(count));
        }
        return all;
      });
      fiber::yield();
      EXPECT_EQ(tcp.client.write("ab", 2), 2);
      EXPECT_EQ(::send(tcp.client.fd(), "!", 1, MSG_OOB | MSG_NOSIGNAL), 1);
      EXPECT_EQ(tcp.client.write("cd", 2), 2);
      EXPECT_EQ(reader.join(), "abcd");
    }
  });
}

TEST_P(Net, WhatIsThereIsReadEvenAfterTheDeadline) {
  run([] {
    TcpPair tcp;
    tcp.server.set_read_deadline(fiber::Clock::now() - 1s);
    char buffer[100];
    for (int i = 0; i < 100; ++i) {
      EXPECT_EQ(tcp.server.read(buffer, sizeof buffer), -ETIMEDOUT);
      EXPECT_EQ(tcp.client.write("abc", 3), 3);
      EXPECT_EQ(tcp.server.read(buffer, sizeof buffer), 3);
    }
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
