// SPDX-License-Identifier: BSD-2-Clause
#include "runtime/net_fixture.h"

#include "kvd/temporary_directory.h"

using namespace net_test;

namespace {

class NetDatagram : public OnProcessors {};
INSTANTIATE_TEST_SUITE_P(Processors, NetDatagram, testing::Values(1u, 2u, 4u));

void answers_come_back(const char* host) {
  auto server = fiber::UdpSocket::bind(host, 0);
  ASSERT_TRUE(server) << server.error();
  auto echo = fiber::spawn([&] {
    char buffer[100];
    for (int i = 0; i < 20; ++i) {
      const fiber::Datagram got = server.receive_from(buffer, sizeof buffer);
      ASSERT_GE(got.size, 0);
      EXPECT_FALSE(got.truncated());
      EXPECT_EQ(server.send_to(buffer, static_cast<std::size_t>(got.size), got.from), got.size);
    }
  });
  auto client = fiber::UdpSocket::bind(host, 0);
  auto connected = fiber::UdpSocket::connect(host, server.port());
  ASSERT_TRUE(connected) << connected.error();
  EXPECT_EQ(connected.peer_address(), server.local_address());
  const fiber::Address to = fiber::Address::ip(host, server.port());
  for (std::size_t size = 0; size < 10; ++size) {
    char buffer[100];
    EXPECT_EQ(client.send_to("0123456789", size, to), static_cast<ssize_t>(size));
    const fiber::Datagram back = client.receive_from(buffer, sizeof buffer);
    EXPECT_EQ(back.size, static_cast<ssize_t>(size));
    EXPECT_EQ(back.from, to);
    EXPECT_EQ(std::string(buffer, size), std::string("0123456789", size));
    EXPECT_EQ(connected.send("abc", 3), 3);
    EXPECT_EQ(connected.receive(buffer, sizeof buffer), 3);
  }
  echo.join();
}

}  // namespace

TEST_P(NetDatagram, Ipv4) {
  run([] { answers_come_back("127.0.0.1"); });
}

TEST_P(NetDatagram, Ipv6) {
  run([] {
    if (const auto probe = fiber::UdpSocket::bind("::1", 0); !probe && probe.error() == -EADDRNOTAVAIL) {
      GTEST_SKIP() << "this machine has no IPv6";
    }
    answers_come_back("::1");
  });
}

TEST_P(NetDatagram, WhatDoesNotFitIsReported) {
  run([] {
    auto udp = fiber::UdpSocket::bind("127.0.0.1", 0);
    auto [one, other] = fiber::UnixDatagram::pair();
    char buffer[4];
    for (fiber::DatagramSocket* from :
         {static_cast<fiber::DatagramSocket*>(&udp), static_cast<fiber::DatagramSocket*>(&one)}) {
      fiber::DatagramSocket& at = from == &udp ? static_cast<fiber::DatagramSocket&>(udp) : other;
      auto send = [&](const char* text, std::size_t size) {
        return from == &udp ? udp.send_to(text, size, udp.local_address()) : one.send(text, size);
      };
      ASSERT_EQ(send("0123456789", 10), 10);
      ASSERT_EQ(send("abcd", 4), 4);
      const fiber::Datagram got = at.receive_from(buffer, sizeof buffer);
      EXPECT_EQ(got.size, 4);
      EXPECT_EQ(got.length, 10u);
      EXPECT_TRUE(got.truncated());
      EXPECT_EQ(std::string(buffer, 4), "0123");
      EXPECT_FALSE(at.receive_from(buffer, sizeof buffer).truncated()) << "the rest is lost, the next is whole";
      EXPECT_EQ(std::string(buffer, 4), "abcd");
    }
  });
}

TEST_P(NetDatagram, NobodyListensIsAnErrorOfAConnectedSocket) {
  run([] {
    auto gone = fiber::UdpSocket::bind("127.0.0.1", 0);
    auto client = fiber::UdpSocket::connect("127.0.0.1", gone.port());
    gone.close();
    EXPECT_EQ(client.send("x", 1), 1);
    char buffer[4];
    EXPECT_EQ(client.receive(buffer, sizeof buffer), -ECONNREFUSED);
    EXPECT_EQ(fiber::UdpSocket::bind("no address", 0).error(), -EINVAL);
    EXPECT_EQ(client.send(std::string(100'000, 'x').data(), 100'000), -EMSGSIZE);
  });
}

TEST_P(NetDatagram, PortsAreSharedOnRequestOnly) {
  run([] {
    auto one = fiber::UdpSocket::bind("127.0.0.1", 0, true);
    EXPECT_TRUE(fiber::UdpSocket::bind("127.0.0.1", one.port(), true));
    EXPECT_EQ(fiber::UdpSocket::bind("127.0.0.1", one.port()).error(), -EADDRINUSE);
  });
}

TEST_P(NetDatagram, UnixByPathAndByAbstractName) {
  run([] {
    const TemporaryDirectory directory;
    for (const std::string& name : {directory.file("socket"), abstract_name("datagram")}) {
      auto server = fiber::UnixDatagram::bind(name);
      ASSERT_TRUE(server) << server.error();
      EXPECT_EQ(server.local_address().text(), name);
      auto client = fiber::UnixDatagram::connect(name);
      ASSERT_TRUE(client) << client.error();
      char buffer[10];
      EXPECT_EQ(client.send("abc", 3), 3);
      const fiber::Datagram got = server.receive_from(buffer, sizeof buffer);
      EXPECT_EQ(got.size, 3);
      EXPECT_FALSE(got.from) << "the client has no name";
      EXPECT_EQ(fiber::UnixDatagram::bind(name).error(), -EADDRINUSE);
    }
    EXPECT_EQ(fiber::UnixDatagram::connect(abstract_name("nobody")).error(), -ECONNREFUSED);
    EXPECT_EQ(fiber::UnixDatagram::bind(std::string(200, 'x')).error(), -EINVAL);
  });
}

// The kernel does not tell a sender by an edge that there is room again.
TEST_P(NetDatagram, UnixSendersWaitForAReceiverThatHasNotKeptUp) {
  run([] {
    const std::string name = abstract_name("full");
    auto server = fiber::UnixDatagram::bind(name);
    auto connected = fiber::UnixDatagram::connect(name);
    auto unconnected = fiber::UnixDatagram::bind(abstract_name("sender"));
    const fiber::Address to = fiber::Address::local(name);
    while (connected.send("x", 1, 1ms) == 1) {
    }
    EXPECT_EQ(unconnected.send_to("x", 1, to, 2ms), -ETIMEDOUT);
    auto one = fiber::spawn([&] { return connected.send("y", 1); });
    auto other = fiber::spawn([&] { return unconnected.send_to("y", 1, to); });
    await_waiting(FIBERPROF_REASON_IO_WRITE, connected.fd());
    await_waiting(FIBERPROF_REASON_IO_WRITE, unconnected.fd());
    char buffer[1];
    for (int of_senders = 0; of_senders < 2;) {
      ASSERT_EQ(server.receive(buffer, 1), 1);
      if (buffer[0] == 'y') ++of_senders;
    }
    EXPECT_EQ(one.join(), 1);
    EXPECT_EQ(other.join(), 1);
  });
}
