// SPDX-License-Identifier: BSD-2-Clause
// chain MODE ROUNDS MILLISECONDS
//
// Waits whose cause is known by construction, ROUNDS times:
//   kernel   a waits for b, b for c, and c sleeps in the kernel for MILLISECONDS
//   network  the same, but c reads from a socket to which a thread writes after MILLISECONDS
//   pair     two fibers pass a token, each holding it for MILLISECONDS in the kernel
//   ring     four do, so that three quarters of each wait are the wait of who ends it
//   timer    a fiber sleeps
//   thread   a thread that is no fiber sends
#include <fiber/all.h>

#include <pthread.h>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono;
using Pipe = fiber::Channel<int>;

struct Plan {
  int rounds;
  milliseconds time;
};

// The frame is what the profile must show: no tail call, and no function is folded with one that does the same.
#define NO_TAIL_CALL(who) asm volatile("# " who)

[[gnu::noinline]] void sleep_in_kernel(milliseconds time) {
  fiber::blocking([&] { std::this_thread::sleep_for(time); });
  NO_TAIL_CALL("sleep_in_kernel");
}

[[gnu::noinline]] void read_socket(fiber::UnixStream& from) {
  char byte;
  if (from.read(&byte, 1) != 1) std::abort();
  NO_TAIL_CALL("read_socket");
}

[[gnu::noinline]] void c_answers(Pipe& to) {
  to.send(1);
  NO_TAIL_CALL("c_answers");
}
[[gnu::noinline]] void b_awaits_c(Pipe& from) {
  from.receive();
  NO_TAIL_CALL("b_awaits_c");
}
[[gnu::noinline]] void b_answers(Pipe& to) {
  to.send(1);
  NO_TAIL_CALL("b_answers");
}
[[gnu::noinline]] void a_awaits_b(Pipe& from) {
  from.receive();
  NO_TAIL_CALL("a_awaits_b");
}

// a asks b, which asks c, which answers after `work`; so the answers come back.
template <class Work>
void three(const Plan& plan, Work work) {
  Pipe ask_b(1), ask_c(1), from_b, from_c;
  auto c = fiber::spawn({.name = "c"}, [&] {
    while (ask_c.receive()) {
      work();
      c_answers(from_c);
    }
  });
  auto b = fiber::spawn({.name = "b"}, [&] {
    while (ask_b.receive()) {
      ask_c.send(1);
      b_awaits_c(from_c);
      b_answers(from_b);
    }
    ask_c.close();
  });
  auto a = fiber::spawn({.name = "a"}, [&] {
    for (int i = 0; i < plan.rounds; ++i) {
      ask_b.send(1);
      a_awaits_b(from_b);
    }
    ask_b.close();
  });
  a.join();
  b.join();
  c.join();
}

[[gnu::noinline]] void await_token(Pipe& from) {
  from.receive();
  NO_TAIL_CALL("await_token");
}
[[gnu::noinline]] void pass_token(Pipe& to) {
  to.send(1);
  NO_TAIL_CALL("pass_token");
}

void ring(const Plan& plan, std::size_t size) {
  std::vector<Pipe> tokens;
  for (std::size_t i = 0; i < size; ++i) tokens.emplace_back();
  fiber::WaitGroup all(static_cast<int>(size));
  for (std::size_t i = 0; i < size; ++i) {
    fiber::go({.name = "ring " + std::to_string(i)}, [&, i] {
      for (int round = 0; round < plan.rounds; ++round) {
        if (i != 0 || round != 0) await_token(tokens[i]);
        sleep_in_kernel(plan.time);
        if (i + 1 != size || round + 1 != plan.rounds) pass_token(tokens[(i + 1) % size]);
      }
      all.done();
    });
  }
  all.wait();
}

[[gnu::noinline]] void sleep_on_timer(milliseconds time) {
  fiber::sleep_for(time);
  NO_TAIL_CALL("sleep_on_timer");
}

[[gnu::noinline]] void await_thread(Pipe& from) {
  from.receive();
  NO_TAIL_CALL("await_thread");
}
[[gnu::noinline]] void feed(Pipe& to) {
  to.send(1);
  NO_TAIL_CALL("feed");
}

void run(const std::string& mode, const Plan& plan) {
  if (mode == "kernel") return three(plan, [&] { sleep_in_kernel(plan.time); });
  if (mode == "pair") return ring(plan, 2);
  if (mode == "ring") return ring(plan, 4);
  if (mode == "timer") {
    for (int i = 0; i < plan.rounds; ++i) sleep_on_timer(plan.time);
    return;
  }
  if (mode == "network") {
    auto [mine, other] = fiber::UnixStream::pair();
    fiber::Channel<int> ask(1);
    std::thread writer([&] {
      while (ask.receive()) {
        std::this_thread::sleep_for(plan.time);
        if (other.write("x", 1) != 1) std::abort();
      }
    });
    three(plan, [&] {
      ask.send(1);
      read_socket(mine);
    });
    ask.close();
    fiber::blocking([&] { writer.join(); });
    return;
  }
  if (mode == "thread") {
    Pipe channel;
    std::thread feeder([&] {
      pthread_setname_np(pthread_self(), "feeder");
      for (int i = 0; i < plan.rounds; ++i) {
        std::this_thread::sleep_for(plan.time);
        feed(channel);
      }
    });
    for (int i = 0; i < plan.rounds; ++i) await_thread(channel);
    fiber::blocking([&] { feeder.join(); });
    return;
  }
  std::fprintf(stderr, "no mode %s\n", mode.c_str());
  std::exit(2);
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 4) return 2;
  const Plan plan{std::atoi(arguments[2]), milliseconds(std::atoi(arguments[3]))};
  fiber::run(fiber::Options{.processors = 2}, [&] { run(arguments[1], plan); });
}
