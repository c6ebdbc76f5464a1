// SPDX-License-Identifier: BSD-2-Clause
// Names to addresses, without any resolver outside this machine.
#include "runtime/net_fixture.h"

using namespace net_test;

namespace {

class NetNames : public OnProcessors {};
INSTANTIATE_TEST_SUITE_P(Processors, NetNames, testing::Values(1u, 2u, 4u));

}  // namespace

TEST_P(NetNames, ResolvesLocalhostAndNumbers) {
  run([] {
    for (const fiber::Limit& limit : {fiber::Limit(), fiber::Limit(1h)}) {
      const fiber::Resolution local = fiber::resolve("localhost", "80", limit);
      ASSERT_TRUE(local) << local.text;
      for (const fiber::Address& address : local.addresses) {
        EXPECT_TRUE(address.host() == "127.0.0.1" || address.host() == "::1") << address.text();
        EXPECT_EQ(address.port(), 80);
      }
      const fiber::Resolution number = fiber::resolve("192.0.2.7", "443", limit);
      ASSERT_EQ(number.addresses.size(), 1u) << number.text;
      EXPECT_EQ(number.addresses[0], fiber::Address::ip("192.0.2.7", 443));
    }
  });
}

TEST_P(NetNames, WhatCannotBeResolvedIsAnErrorWithTheName) {
  run([] {
    // RFC 6761: no such name exists. Without a resolver the answer is to ask again later.
    const fiber::Resolution none = fiber::resolve("nobody.invalid", "80");
    EXPECT_FALSE(none);
    EXPECT_TRUE(none.error == -ENOENT || none.error == -EAGAIN) << none.error;
    EXPECT_TRUE(none.addresses.empty());
    EXPECT_NE(none.text.find("cannot resolve nobody.invalid:80: "), std::string::npos) << none.text;
    EXPECT_EQ(fiber::resolve("127.0.0.1", "no-such-service").error, -ENOENT);
    EXPECT_EQ(fiber::resolve(std::string("a\0b", 3), "80").error, -EINVAL);
  });
}

TEST_P(NetNames, LimitsEndTheWaitNotTheQuestion) {
  run([] {
    EXPECT_EQ(fiber::resolve("localhost", "80", fiber::Clock::now() - 1s).error, -ETIMEDOUT);
    fiber::CancelSource stop = fiber::with_cancel();
    stop.cancel();
    const fiber::Resolution cancelled = fiber::resolve("localhost", "80", stop.context());
    EXPECT_EQ(cancelled.error, -ECANCELED);
    EXPECT_EQ(cancelled.text, "cannot resolve localhost:80: cancelled");
  });
}

TEST_P(NetNames, ConnectByNameTriesOneAddressAfterTheOther) {
  run([] {
    // Of localhost's addresses this listens on one; with IPv6 the other comes first.
    auto listener = fiber::TcpListener::listen("127.0.0.1", 0);
    const std::string service = std::to_string(listener.port());
    auto stream = fiber::TcpStream::connect_by_name("localhost", service, 1h);
    ASSERT_TRUE(stream) << stream.error();
    EXPECT_EQ(stream.peer_address(), listener.local_address());
    listener.close();
    EXPECT_EQ(fiber::TcpStream::connect_by_name("localhost", service).error(), -ECONNREFUSED);
    const int none = fiber::TcpStream::connect_by_name("nobody.invalid", "80").error();
    EXPECT_TRUE(none == -ENOENT || none == -EAGAIN) << none;
  });
}
