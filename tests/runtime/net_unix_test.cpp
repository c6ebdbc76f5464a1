// SPDX-License-Identifier: BSD-2-Clause
// Unix streams, addresses, and options of sockets.
#include "runtime/net_fixture.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <vector>

#include "kvd/temporary_directory.h"

using namespace net_test;

namespace {

class NetUnix : public OnProcessors {};
INSTANTIATE_TEST_SUITE_P(Processors, NetUnix, testing::Values(1u, 2u, 4u));

int option(const fiber::Socket& socket, int level, int name) {
  int value = -1;
  socklen_t size = sizeof value;
  getsockopt(socket.fd(), level, name, &value, &size);
  return value;
}

}  // namespace

TEST_P(NetUnix, StreamsByPathAndByAbstractName) {
  run([] {
    const TemporaryDirectory directory;
    for (const std::string& name : {directory.file("socket"), abstract_name("stream")}) {
      auto listener = fiber::UnixListener::listen(name);
      ASSERT_TRUE(listener) << listener.error();
      EXPECT_EQ(fiber::UnixListener::listen(name).error(), -EADDRINUSE);
      auto server = fiber::spawn([&] {
        for (int i = 0; i < 5; ++i) {
          fiber::UnixStream stream = listener.accept();
          ASSERT_TRUE(stream) << stream.error();
          EXPECT_EQ(stream.local_address().text(), name);
          char buffer[10];
          ssize_t count;
          while ((count = stream.read(buffer, sizeof buffer)) > 0) {
            EXPECT_EQ(stream.write(buffer, static_cast<std::size_t>(count)), count);
          }
          EXPECT_EQ(count, 0);
        }
      });
      for (int i = 0; i < 5; ++i) {
        fiber::UnixStream stream = fiber::UnixStream::connect(name);
        ASSERT_TRUE(stream) << stream.error();
        EXPECT_EQ(stream.peer_address().text(), name);
        EXPECT_EQ(stream.write("hello", 5), 5);
        char buffer[10];
        EXPECT_EQ(stream.read(buffer, sizeof buffer), 5);
        EXPECT_EQ(std::string(buffer, 5), "hello");
      }
      server.join();
    }
    EXPECT_EQ(fiber::UnixStream::connect(directory.file("nothing")).error(), -ENOENT);
    EXPECT_EQ(fiber::UnixStream::connect("").error(), -EINVAL);
  });
}

TEST_P(NetUnix, AFullBacklogIsWaitedOut) {
  run([] {
    const std::string name = abstract_name("backlog");
    auto listener = fiber::UnixListener::listen(name, 0);
    std::vector<fiber::UnixStream> held;
    do {
      held.push_back(fiber::UnixStream::connect(name, 2ms));
    } while (held.back() && held.size() < 100);
    EXPECT_EQ(held.back().error(), -ETIMEDOUT);
    auto late = fiber::spawn([&] { return fiber::UnixStream::connect(name).error(); });
    fiber::yield();
    for (std::size_t i = 0; i < held.size(); ++i) EXPECT_TRUE(listener.accept());
    EXPECT_EQ(late.join(), 0);
  });
}

TEST_P(NetUnix, OptionsReachTheKernel) {
  run([] {
    TcpPair tcp;
    EXPECT_EQ(option(tcp.client, IPPROTO_TCP, TCP_NODELAY), 1);
    EXPECT_EQ(option(tcp.server, IPPROTO_TCP, TCP_NODELAY), 1);
    EXPECT_EQ(tcp.client.set_no_delay(false), 0);
    EXPECT_EQ(option(tcp.client, IPPROTO_TCP, TCP_NODELAY), 0);
    EXPECT_EQ(tcp.client.set_keep_alive(30s, 5s, 4), 0);
    EXPECT_EQ(option(tcp.client, SOL_SOCKET, SO_KEEPALIVE), 1);
    EXPECT_EQ(option(tcp.client, IPPROTO_TCP, TCP_KEEPIDLE), 30);
    EXPECT_EQ(option(tcp.client, IPPROTO_TCP, TCP_KEEPINTVL), 5);
    EXPECT_EQ(option(tcp.client, IPPROTO_TCP, TCP_KEEPCNT), 4);
    EXPECT_EQ(tcp.client.set_keep_alive(0s, 5s, 4), -EINVAL);
    EXPECT_EQ(tcp.client.local_address(), tcp.server.peer_address());
    EXPECT_EQ(tcp.client.peer_address().text(), "127.0.0.1:" + std::to_string(tcp.listener.port()));
    const fiber::Address any = fiber::Address::ip("127.0.0.1", 0);
    auto one = fiber::TcpListener::listen(any, {.reuse_port = true});
    auto other = fiber::TcpListener::listen(one.local_address(), {.reuse_port = true});
    EXPECT_TRUE(other) << other.error();
    EXPECT_EQ(fiber::TcpListener::listen(one.local_address()).error(), -EADDRINUSE);
    EXPECT_EQ(fiber::TcpListener::listen(fiber::Address::local("@x")).error(), -EINVAL);
  });
}

TEST(NetAddress, TextFormsAndNonsense) {
  using fiber::Address;
  EXPECT_EQ(Address::ip("10.1.2.3", 80).text(), "10.1.2.3:80");
  EXPECT_EQ(Address::ip("2001:db8::1", 443).text(), "[2001:db8::1]:443");
  EXPECT_EQ(Address::ip("2001:db8::1", 443).host(), "2001:db8::1");
  EXPECT_EQ(Address::ip("fe80::1%lo", 1).text(), "[fe80::1%lo]:1");
  EXPECT_EQ(Address::local("/run/x").text(), "/run/x");
  EXPECT_EQ(Address::local("@x").text(), "@x");
  EXPECT_EQ(Address::ip("10.1.2.3", 80), Address::ip("10.1.2.3", 80));
  EXPECT_FALSE(Address::ip("10.1.2.3", 80) == Address::ip("10.1.2.3", 81));
  EXPECT_EQ(Address::ip("::", 9).family(), AF_INET6);
  EXPECT_EQ(Address::ip("::", 9).port(), 9);
  EXPECT_TRUE(Address::local(std::string(107, 'x')));
  for (const Address& none :
       {Address(), Address::ip("1.2.3", 1), Address::ip("", 1), Address::ip("fe80::1%nowhere", 1), Address::local(""),
        Address::local(std::string(108, 'x')), Address::local(std::string_view("a\0b", 3))}) {
    EXPECT_FALSE(none);
    EXPECT_EQ(none.text(), "");
    EXPECT_EQ(none.family(), AF_UNSPEC);
  }
  sockaddr_in v4{};
  v4.sin_family = AF_INET;
  EXPECT_FALSE(Address::from(reinterpret_cast<sockaddr*>(&v4), sizeof(v4) - 1));
  v4.sin_family = AF_NETLINK;
  EXPECT_FALSE(Address::from(reinterpret_cast<sockaddr*>(&v4), sizeof v4));
}
