// SPDX-License-Identifier: BSD-2-Clause
// How waits on sockets end before what they wait for: limits, cancellation, close; and misuse.
#include "runtime/net_fixture.h"
#include "sched/scheduler.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <memory>
#include <thread>
#include <vector>

using namespace net_test;

namespace {

class NetLimits : public OnProcessors {};
INSTANTIATE_TEST_SUITE_P(Processors, NetLimits, testing::Values(1u, 2u, 4u));

char byte;

// More than all buffers on the way to a peer that does not read.
const std::vector<char> huge(64'000'000, 'x');

}  // namespace

TEST_P(NetLimits, ADeadlineEndsEveryKindOfWait) {
  run([] {
    TcpPair tcp;
    EXPECT_EQ(tcp.client.read(&byte, 1, 3ms), -ETIMEDOUT);
    EXPECT_EQ(tcp.client.read(&byte, 1, fiber::Clock::now() - 1s), -ETIMEDOUT);
    EXPECT_EQ(tcp.listener.accept(3ms).error(), -ETIMEDOUT);
    EXPECT_EQ(tcp.client.write(huge.data(), huge.size(), 3ms), -ETIMEDOUT);
    auto udp = fiber::UdpSocket::bind("127.0.0.1", 0);
    EXPECT_EQ(udp.receive(&byte, 1, 3ms), -ETIMEDOUT);
    EXPECT_EQ(udp.receive_from(&byte, 1, 3ms).size, -ETIMEDOUT);
    // All of it still works.
    EXPECT_EQ(tcp.server.write("x", 1), 1);
    EXPECT_EQ(tcp.client.read(&byte, 1, 10s), 1);
  });
}

TEST_P(NetLimits, TheSocketsOwnDeadlineAndTheLimitTheEarlierCounts) {
  run([] {
    TcpPair tcp;
    tcp.client.set_read_deadline(fiber::Clock::now() + 3ms);
    EXPECT_EQ(tcp.client.read(&byte, 1, 1h), -ETIMEDOUT);
    tcp.client.set_read_deadline(fiber::Clock::now() + 1h);
    EXPECT_EQ(tcp.client.read(&byte, 1, 3ms), -ETIMEDOUT);
    tcp.listener.set_read_deadline(fiber::Clock::now() + 3ms);
    EXPECT_EQ(tcp.listener.accept().error(), -ETIMEDOUT);
  });
}

TEST_P(NetLimits, AWriteSaysHowMuchItHasWritten) {
  run([] {
    auto [one, other] = fiber::UnixStream::pair();
    std::size_t written = 0, more = 99;
    EXPECT_EQ(one.write(huge.data(), huge.size(), 3ms, &written), -ETIMEDOUT);
    EXPECT_GT(written, 0u);
    EXPECT_LT(written, huge.size());
    EXPECT_EQ(one.write("abc", 3, 3ms, &more), -ETIMEDOUT);
    EXPECT_EQ(more, 0u);
    one.close();
    std::vector<char> buffer(100'000);
    std::size_t total = 0;
    for (ssize_t count; (count = other.read(buffer.data(), buffer.size())) > 0;) {
      total += static_cast<std::size_t>(count);
    }
    EXPECT_EQ(total, written);
  });
}

TEST_P(NetLimits, ACancelledContextEndsEveryKindOfWaitAndTheSocketStaysOpen) {
  run([] {
    TcpPair tcp;
    auto udp = fiber::UdpSocket::bind("127.0.0.1", 0);
    for (const bool from_thread : {false, true}) {
      fiber::CancelSource stop = fiber::with_cancel();
      const fiber::Context& context = stop.context();
      auto reader = fiber::spawn([&] { return tcp.client.read(&byte, 1, context); });
      auto writer = fiber::spawn([&] { return tcp.client.write(huge.data(), huge.size(), context); });
      auto acceptor = fiber::spawn([&] { return tcp.listener.accept(context).error(); });
      auto receiver = fiber::spawn([&] { return udp.receive(&byte, 1, context); });
      await_waiting(FIBERPROF_REASON_IO_READ, tcp.client.fd());
      await_waiting(FIBERPROF_REASON_IO_WRITE, tcp.client.fd());
      await_waiting(FIBERPROF_REASON_IO_ACCEPT, tcp.listener.fd());
      await_waiting(FIBERPROF_REASON_IO_READ, udp.fd());
      if (from_thread) {
        std::thread canceller([&] { stop.cancel(); });
        fiber::blocking([&] { canceller.join(); });
      } else {
        stop.cancel();
      }
      EXPECT_EQ(reader.join(), -ECANCELED);
      EXPECT_EQ(writer.join(), -ECANCELED);
      EXPECT_EQ(acceptor.join(), -ECANCELED);
      EXPECT_EQ(receiver.join(), -ECANCELED);
      EXPECT_TRUE(tcp.client && tcp.listener && udp);
      // Cancelled before: no wait.
      EXPECT_EQ(tcp.client.read(&byte, 1, context), -ECANCELED);
      // What need not wait succeeds nevertheless.
      EXPECT_EQ(tcp.server.write("x", 1, context), 1);
      while (tcp.client.read(&byte, 1, context) != 1) fiber::yield();
    }
  });
}

TEST_P(NetLimits, CloseEndsWaitsInBothDirectionsFromAFiberAndFromAThread) {
  for (const bool from_thread : {false, true}) {
    run([from_thread] {
      TcpPair tcp;
      auto reader = fiber::spawn([&] { return tcp.client.read(&byte, 1, 1h); });
      auto writer = fiber::spawn([&] { return tcp.client.write(huge.data(), huge.size()); });
      auto acceptor = fiber::spawn([&] { return tcp.listener.accept().error(); });
      await_waiting(FIBERPROF_REASON_IO_READ, tcp.client.fd());
      await_waiting(FIBERPROF_REASON_IO_WRITE, tcp.client.fd());
      await_waiting(FIBERPROF_REASON_IO_ACCEPT, tcp.listener.fd());
      const int fds[] = {tcp.client.fd(), tcp.listener.fd()};
      auto close_both = [&] {
        tcp.client.close();
        tcp.listener.close();
      };
      if (from_thread) {
        std::thread closer(close_both);
        fiber::blocking([&] { closer.join(); });
      } else {
        close_both();
      }
      // Nobody was using them but the waiters: they are closed before these run again.
      for (const int fd : fds) EXPECT_EQ(fcntl(fd, F_GETFD), -1) << fd;
      EXPECT_FALSE(tcp.client);
      EXPECT_EQ(reader.join(), -ECANCELED);
      EXPECT_EQ(writer.join(), -ECANCELED);
      EXPECT_EQ(acceptor.join(), -ECANCELED);
    });
  }
}

TEST_P(NetLimits, CloseWhileOthersReadAndWriteNeverReachesAnotherSocket) {
  run([] {
    // Descriptor numbers are used again at once: a call that was late would meet the next pair.
    for (int i = 0; i < 300; ++i) {
      auto [one, other] = fiber::UnixStream::pair();
      auto reader = fiber::spawn([&] {
        ssize_t count;
        do {
          count = one.read(&byte, 1);
        } while (count > 0);
        return count;
      });
      auto writer = fiber::spawn([&] {
        ssize_t count;
        do {
          count = other.write("x", 1);
          fiber::yield();
        } while (count > 0);
        return count;
      });
      for (int round = 0; round < i % 10; ++round) fiber::yield();
      one.close();
      EXPECT_EQ(reader.join(), -ECANCELED);
      // The latter when it closed with something unread.
      EXPECT_THAT(writer.join(), testing::AnyOf(-EPIPE, -ECONNRESET));
    }
  });
}

TEST_P(NetLimits, ASocketMayBeDestroyedUnderItsWaiter) {
  run([] {
    auto [one, other] = fiber::UnixStream::pair();
    auto stream = std::make_unique<fiber::UnixStream>(std::move(one));
    auto reader = fiber::spawn([&at = *stream] { return at.read(&byte, 1); });
    await_waiting(FIBERPROF_REASON_IO_READ, stream->fd());
    stream.reset();
    EXPECT_EQ(reader.join(), -ECANCELED);
  });
}

TEST_P(NetLimits, TwoInOneDirectionAreAnError) {
  run([] {
    TcpPair tcp;
    auto reader = fiber::spawn([&] { return tcp.client.read(&byte, 1); });
    auto acceptor = fiber::spawn([&] { return tcp.listener.accept().error(); });
    await_waiting(FIBERPROF_REASON_IO_READ, tcp.client.fd());
    await_waiting(FIBERPROF_REASON_IO_ACCEPT, tcp.listener.fd());
    EXPECT_EQ(tcp.client.read(&byte, 1), -EBUSY);
    EXPECT_EQ(tcp.listener.accept().error(), -EBUSY);
    EXPECT_EQ(tcp.client.write("x", 1), 1) << "the other direction is free";
    EXPECT_EQ(tcp.server.write("x", 1), 1);
    EXPECT_EQ(reader.join(), 1);
    tcp.listener.close();
    EXPECT_EQ(acceptor.join(), -ECANCELED);
  });
}

TEST_P(NetLimits, ClosedAndMissingSocketsAreErrors) {
  run([] {
    TcpPair tcp;
    tcp.client.close();
    tcp.client.close();
    EXPECT_FALSE(tcp.client);
    EXPECT_EQ(tcp.client.fd(), -1);
    EXPECT_EQ(tcp.client.read(&byte, 1), -ECANCELED);
    EXPECT_EQ(tcp.client.write("x", 1), -ECANCELED);
    EXPECT_EQ(tcp.client.set_no_delay(true), -EBADF);
    EXPECT_FALSE(tcp.client.peer_address());
    tcp.client.shutdown_write();
    tcp.client.set_read_deadline(fiber::Clock::now());

    const fiber::TcpStream moved = std::move(tcp.server);
    fiber::TcpStream none;
    fiber::TcpListener no_listener;
    fiber::UdpSocket no_udp;
    for (fiber::TcpStream* stream : {&none, &tcp.server}) {
      EXPECT_EQ(stream->read(&byte, 1), -EBADF);
      EXPECT_EQ(stream->write("x", 1), -EBADF);
      stream->close();
    }
    EXPECT_EQ(no_listener.accept().error(), -EBADF);
    EXPECT_EQ(no_listener.port(), 0);
    EXPECT_EQ(no_udp.send("x", 1), -EBADF);
    EXPECT_EQ(no_udp.receive_from(&byte, 1).size, -EBADF);
    EXPECT_EQ(fiber::UdpSocket::bind("127.0.0.1", 0).send_to("x", 1, {}), -EINVAL);
  });
}

TEST_P(NetLimits, AThreadThatIsNoFiberWaitsAsAThread) {
  run([] {
    TcpPair tcp;
    ssize_t timed_out = 0, read = 0, cancelled = 0;
    fiber::CancelSource stop = fiber::with_cancel();
    fiber::Channel<int> steps(3);
    std::thread other([&] {
      timed_out = tcp.client.read(&byte, 1, 3ms);
      steps.send(1);
      read = tcp.client.read(&byte, 1);
      steps.send(2);
      cancelled = tcp.client.read(&byte, 1, stop.context());
      steps.send(3);
    });
    steps.receive();
    EXPECT_EQ(tcp.server.write("x", 1), 1);
    steps.receive();
    stop.cancel();
    steps.receive();
    fiber::blocking([&] { other.join(); });
    EXPECT_EQ(timed_out, -ETIMEDOUT);
    EXPECT_EQ(read, 1);
    EXPECT_EQ(cancelled, -ECANCELED);
  });
}

TEST_P(NetLimits, ConnectGivesUpOnALimit) {
  run([] {
    // A backlog that is full: further attempts are not answered.
    auto listener = fiber::TcpListener::listen("127.0.0.1", 0, 0);
    std::vector<fiber::TcpStream> held;
    int error = 0;
    for (int i = 0; i < 10 && error == 0; ++i) {
      held.push_back(fiber::TcpStream::connect("127.0.0.1", listener.port(), 50ms));
      error = held.back().error();
    }
    EXPECT_EQ(error, -ETIMEDOUT);
    fiber::CancelSource stop = fiber::with_cancel();
    auto connecting =
        fiber::spawn([&] { return fiber::TcpStream::connect("127.0.0.1", listener.port(), stop.context()).error(); });
    fiber::yield();
    stop.cancel();
    EXPECT_EQ(connecting.join(), -ECANCELED);
  });
}

// A socket may outlive the run in which a fiber was left waiting for it.
TEST_P(NetLimits, WhatFibersWereLeftWaitingForIsFreeInTheNextRun) {
  auto [one, other] = fiber::UnixStream::pair();
  auto listener = fiber::UnixListener::listen(abstract_name("left"));
  ASSERT_TRUE(listener) << listener.error();
  const auto waiters = [] { return fiber::detail::Scheduler::instance().poller().waiters(); };
  // Parked, or woken and perhaps not run any more.
  for (const bool woken : {false, true}) {
    run([&] {
      static fiber::CancelSource stop;
      stop = fiber::with_cancel();
      fiber::go([&at = one] { at.read(&byte, 1, stop.context()); });
      fiber::go([&] { listener.accept(stop.context()); });
      await_waiting(FIBERPROF_REASON_IO_READ, one.fd());
      await_waiting(FIBERPROF_REASON_IO_ACCEPT, listener.fd());
      EXPECT_EQ(waiters(), 2u);
      if (woken) stop.cancel();
    });
    EXPECT_EQ(waiters(), 0u);
    run([&, &at = one, &peer = other] {
      EXPECT_EQ(peer.write("x", 1), 1);
      EXPECT_EQ(at.read(&byte, 1), 1);
      auto client = fiber::UnixStream::connect(abstract_name("left"));
      EXPECT_TRUE(listener.accept());
    });
  }
  // And it can be closed, and its number used again.
  const int number = one.fd();
  run([&at = one] {
    fiber::go([&] { at.read(&byte, 1); });
    await_waiting(FIBERPROF_REASON_IO_READ, at.fd());
  });
  one.close();
  EXPECT_EQ(fcntl(number, F_GETFD), -1);
}

TEST(NetMisuse, WaitingWhereNobodyWouldEndItIsAMessage) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  // Made before the runtime runs, and of use then.
  auto [one, other] = fiber::UnixStream::pair();
  ASSERT_TRUE(one) << one.error();
  EXPECT_EQ(one.write("x", 1), 1) << "need not wait";
  EXPECT_DEATH(one.read(&byte, 1), "io read of socket [0-9]+ while no runtime runs");
  fiber::run([&stream = other] { EXPECT_EQ(stream.read(&byte, 1), 1); });
  EXPECT_DEATH(fiber::run([] {
                 auto pair = fiber::UnixStream::pair();
                 fiber::blocking([&] { pair.first.read(&byte, 1); });
               }),
               "io read inside a blocking section.*main");
}
