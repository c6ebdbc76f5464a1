// SPDX-License-Identifier: BSD-2-Clause
// Files, and running out of descriptors.
#include "runtime/net_fixture.h"

#include <sys/resource.h>
#include <sys/stat.h>

#include "kvd/temporary_directory.h"
#include "sched/scheduler.h"

using namespace net_test;

namespace {

class NetFiles : public OnProcessors {};
INSTANTIATE_TEST_SUITE_P(Processors, NetFiles, testing::Values(1u, 2u, 4u));

std::uint64_t field_of(std::uint64_t id, fiberprof_field_index field) {
  for (const std::uint64_t fiber : observe::fibers()) {
    if (OBSERVE(fiber, fiber, id) == id) return observe::field(fiber, field);
  }
  return 0;
}
std::uint64_t switches_of(std::uint64_t id) { return field_of(id, FIBERPROF_FIELD_fiber_switches); }
std::uint64_t state_of(std::uint64_t id) { return field_of(id, FIBERPROF_FIELD_fiber_state); }

}  // namespace

TEST_P(NetFiles, ReadsAndWrites) {
  run([] {
    const TemporaryDirectory directory;
    const std::string path = directory.file("data");
    fiber::File file = fiber::File::open(path, O_RDWR | O_CREAT | O_EXCL);
    ASSERT_TRUE(file) << file.error();
    EXPECT_EQ(file.write("hello world", 11), 11);
    EXPECT_EQ(file.pwrite("WORLD", 5, 6), 5);
    EXPECT_EQ(file.size(), 11);
    EXPECT_EQ(file.sync(), 0);
    EXPECT_EQ(file.sync_data(), 0);
    char buffer[20];
    EXPECT_EQ(file.pread(buffer, sizeof buffer, 0), 11);
    EXPECT_EQ(std::string(buffer, 11), "hello WORLD");
    EXPECT_EQ(file.read(buffer, sizeof buffer), 0) << "the position is at the end";
    EXPECT_EQ(file.pread(buffer, sizeof buffer, -1), -EINVAL);
    fiber::File moved = std::move(file);
    EXPECT_FALSE(file);
    EXPECT_EQ(file.read(buffer, 1), -EBADF);
    EXPECT_EQ(moved.close(), 0);
    EXPECT_EQ(moved.close(), -EBADF);
    EXPECT_EQ(moved.size(), -EBADF);
    EXPECT_EQ(fiber::File::open(path, O_RDWR | O_CREAT | O_EXCL).error(), -EEXIST);
    EXPECT_EQ(fiber::File::open(directory.file("none")).error(), -ENOENT);
    EXPECT_EQ(fiber::File::open(std::string("/tmp/a\0b", 8)).error(), -EINVAL);
  });
}

TEST_P(NetFiles, WholeFiles) {
  run([] {
    const TemporaryDirectory directory;
    const std::string path = directory.file("data");
    std::string content = "old";
    for (const std::size_t size : {0, 1, 4095, 4096, 4097, 3'000'000}) {
      const std::string wanted(size, 'z');
      EXPECT_EQ(fiber::write_file(path, wanted), 0);
      EXPECT_EQ(fiber::read_file(path, content), 0);
      EXPECT_EQ(content, wanted);
    }
    EXPECT_EQ(fiber::read_file("/proc/self/status", content), 0);
    EXPECT_NE(content.find("\nPid:\t" + std::to_string(getpid())), std::string::npos);
    EXPECT_EQ(fiber::read_file(directory.file("none"), content), -ENOENT);
    EXPECT_EQ(content, "");
    EXPECT_EQ(fiber::read_file("/", content), -EISDIR);
    EXPECT_EQ(fiber::write_file("/", "x"), -EISDIR);
    EXPECT_EQ(fiber::write_file("/dev/full", "x"), -ENOSPC);
  });
}

TEST_P(NetFiles, CloseIsRefusedWhileAnotherFiberIsInACall) {
  run([] {
    const TemporaryDirectory directory;
    const std::string path = directory.file("pipe");
    ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
    fiber::File reading = fiber::File::open(path, O_RDWR);  // of a fifo: does not wait for the other side
    ASSERT_TRUE(reading) << reading.error();
    char buffer[1];
    auto reader = fiber::spawn([&] { return reading.read(buffer, 1); });
    while (state_of(reader.id()) != FIBERPROF_FIBER_BLOCKING) fiber::yield();
    EXPECT_EQ(reading.close(), -EBUSY);
    const int writer = ::open(path.c_str(), O_WRONLY | O_NONBLOCK);
    ASSERT_GE(writer, 0);
    EXPECT_EQ(::write(writer, "x", 1), 1);
    EXPECT_EQ(reader.join(), 1);
    ::close(writer);
    EXPECT_EQ(reading.close(), 0);
  });
}

TEST_P(NetFiles, ADescriptorThatBecomesFreeIsAnEdgeForWhoWantsOne) {
  run([] {
    auto& poller = fiber::detail::Scheduler::instance().poller();
    fiber::detail::PollHandle handle;
    using Starved = fiber::detail::Poller::Starved;
    auto [one, other] = fiber::UnixStream::pair();
    fiber::File file = fiber::File::open("/dev/null");
    Starved first(&handle);
    EXPECT_TRUE(poller.starve(first));
    EXPECT_FALSE(poller.starve(first)) << "once";
    file.close();
    EXPECT_TRUE(handle.take_ready(fiber::detail::kRead));
    one.close();
    EXPECT_FALSE(handle.take_ready(fiber::detail::kRead)) << "an edge each";
    Starved second(&handle);
    EXPECT_TRUE(poller.starve(first));
    EXPECT_TRUE(poller.starve(second));
    poller.leave(first);
    other.close();
    EXPECT_TRUE(handle.take_ready(fiber::detail::kRead));
    poller.leave(first);
    poller.leave(second);
  });
}

// In a process of its own: the limit is everybody's.
void accept_without_descriptors(unsigned processors) {
  int failures = 0;
  auto check = [&failures](bool good, const char* what) {
    if (good) return;
    std::fprintf(stderr, "wrong: %s\n", what);
    ++failures;
  };
  fiber::run(fiber::Options{.processors = processors}, [&check] {
    auto listener = fiber::TcpListener::listen("127.0.0.1", 0);
    auto client = fiber::TcpStream::connect("127.0.0.1", listener.port());
    fiber::File spare = fiber::File::open("/dev/null");
    const rlimit none{static_cast<rlim_t>(spare.fd()), 4096};
    check(setrlimit(RLIMIT_NOFILE, &none) == 0, "setrlimit");
    check(fiber::File::open("/dev/null").error() == -EMFILE, "there are no descriptors");
    check(fiber::TcpStream::connect("127.0.0.1", listener.port()).error() == -EMFILE, "connect says so");

    check(listener.accept(20ms).error() == -ETIMEDOUT, "a limit ends the wait");
    fiber::CancelSource stop = fiber::with_cancel();
    auto cancelled = fiber::spawn([&] { return listener.accept(stop.context()).error(); });
    await_waiting(FIBERPROF_REASON_IO_ACCEPT, listener.fd());
    stop.cancel();
    check(cancelled.join() == -ECANCELED, "a context ends the wait");

    auto acceptor = fiber::spawn([&] { return static_cast<bool>(listener.accept()); });
    const std::uint64_t before = switches_of(acceptor.id());
    fiber::sleep_for(300ms);
    // 5 ms, doubling to a second: 30 attempts last more than 20 s.
    check(switches_of(acceptor.id()) - before <= 30, "it does not spin");
    check(acceptor.wait(0s) == fiber::Status::timed_out, "it is still waiting");
    const rlimit enough{4096, 4096};
    check(setrlimit(RLIMIT_NOFILE, &enough) == 0, "setrlimit");
    spare.close();
    check(acceptor.join(), "the connection is accepted in the end");

    check(setrlimit(RLIMIT_NOFILE, &none) == 0, "setrlimit");
    auto closed = fiber::spawn([&] { return listener.accept().error(); });
    await_waiting(FIBERPROF_REASON_IO_ACCEPT, listener.fd());
    listener.close();
    check(closed.join() == -ECANCELED, "close ends the wait");
  });
  std::fprintf(stderr, "%d failures\n", failures);
  std::_Exit(failures == 0 ? 0 : 1);
}

TEST(NetDescriptors, AcceptWaitsThemOut) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  for (const unsigned processors : {1u, 2u, 4u}) {
    EXPECT_EXIT(accept_without_descriptors(processors), testing::ExitedWithCode(0), "0 failures");
  }
}
