// SPDX-License-Identifier: BSD-2-Clause
// The world outside brings the end of the wait: another process.
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <ctime>
#include <memory>
#include <mutex>

#include "goker/healthy/healthy.h"

namespace healthy {

namespace {

// Another process, which sleeps and calls then. It is this one's only thread, copied: it may do little.
template <class F>
class Outsider {
 public:
  Outsider(Time time, F function) : pid_(fork()) {
    if (pid_ < 0) std::abort();
    if (pid_ != 0) return;
    const timespec rest{.tv_sec = time / 1s, .tv_nsec = (time % 1s).count()};
    nanosleep(&rest, nullptr);
    function();
    _exit(0);
  }
  ~Outsider() {
    outside([this] { waitpid(pid_, nullptr, 0); });
  }
  Outsider(const Outsider&) = delete;
  Outsider& operator=(const Outsider&) = delete;

 private:
  pid_t pid_;
};

auto knock(const fiber::TcpListener& listener) {
  return [address = listener.local_address()] {
    const int door = socket(address.family(), SOCK_STREAM, 0);
    static_cast<void>(connect(door, address.data(), address.size()));
  };
}

void idle_pool(Time time) {
  auto listener = std::make_unique<fiber::TcpListener>(fiber::TcpListener::listen("127.0.0.1", 0));
  const Outsider client(time, knock(*listener));
  fiber::Channel<int> jobs(4);
  std::vector<fiber::JoinHandle<void>> all;
  for (int i = 0; i < 1000; ++i) {
    all.push_back(fiber::spawn({.name = "worker"}, [from = jobs.receiver()]() mutable {
      while (from.receive()) continue;
    }));
  }
  all.push_back(fiber::spawn({.name = "server"}, [door = std::move(listener), to = jobs.sender()]() mutable {
    door->accept();
    to.send(1);
    to.close();
  }));
  jobs = fiber::Channel<int>();
  for (auto& handle : all) handle.join();
}
const Registration r2({"2", "idle_pool", "a thousand wait for jobs; who sends them waits in accept", idle_pool});

void only_io(Time time) {
  auto listener = std::make_unique<fiber::TcpListener>(fiber::TcpListener::listen("127.0.0.1", 0));
  const Outsider client(time, knock(*listener));
  std::vector<fiber::Sender<int>> inboxes;
  std::vector<fiber::JoinHandle<void>> all;
  for (int i = 0; i < 10; ++i) {
    auto [sender, waiter] = await_value();
    inboxes.push_back(std::move(sender));
    all.push_back(std::move(waiter));
  }
  all.push_back(fiber::spawn({.name = "server"}, [door = std::move(listener), inboxes = std::move(inboxes)]() mutable {
    door->accept();
    for (fiber::Sender<int>& inbox : inboxes) inbox.send(1);
  }));
  for (auto& handle : all) handle.join();
}
const Registration r3({"3", "only_io", "all wait, and only an accept will ever return", only_io});

void datagram(Time time) {
  auto [here, there] = fiber::UnixDatagram::pair();
  const Outsider client(time, [fd = there.fd()] { static_cast<void>(::send(fd, "x", 1, 0)); });
  auto [sender, waiter] = await_value();
  auto reader = fiber::spawn({.name = "reader"}, [from = std::move(here), sent = std::move(sender)]() mutable {
    char byte;
    from.receive(&byte, 1);
    sent.send(1);
  });
  waiter.join();
  reader.join();
}
const Registration r3b({"3b", "datagram", "who has the sender waits for a datagram", datagram});

// A mutex held in a blocking section that ends when another process writes.
void blocking_read(Time time) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) std::abort();
  {
    const Outsider writer(time, [fd = ends[1]] { static_cast<void>(!write(fd, "x", 1)); });
    fiber::Mutex mutex;
    std::atomic<bool> has{false};
    auto holder = fiber::spawn({.name = "holder"}, [&] {
      std::lock_guard guard(mutex);
      has = true;
      char byte;
      fiber::blocking([&] { static_cast<void>(!read(ends[0], &byte, 1)); });
    });
    while (!has) fiber::yield();
    std::vector<fiber::JoinHandle<void>> all;
    for (int i = 0; i < 5; ++i) all.push_back(fiber::spawn([&] { std::lock_guard guard(mutex); }));
    for (auto& handle : all) handle.join();
    holder.join();
  }
  close(ends[0]);
  close(ends[1]);
}
const Registration r3c({"3c", "blocking_read", "the mutex's owner is in a system call", blocking_read});

void read_with_deadline(Time time) {
  auto [here, there] = fiber::UnixStream::pair();
  auto [sender, waiter] = await_value();
  auto reader = fiber::spawn({.name = "reader"}, [time, from = std::move(here), sent = std::move(sender)]() mutable {
    from.set_read_deadline(fiber::Clock::now() + time);
    char byte;
    from.read(&byte, 1);
    sent.send(1);
  });
  waiter.join();
  reader.join();
}
const Registration r3d({"3d", "read_with_deadline", "who has the sender reads from a socket with a deadline",
                        read_with_deadline});

}  // namespace

}  // namespace healthy
