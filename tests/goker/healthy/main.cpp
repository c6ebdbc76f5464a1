// SPDX-License-Identifier: BSD-2-Clause
// healthy --list | NUMBER | NAME [--seconds S]
//
// Programs that a deadlock detector must never report. --list prints number, name and description, separated by tabs.
// Otherwise that program runs for S seconds (3), prints "done" and ends.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <thread>

#include "goker/healthy/healthy.h"

namespace healthy {

namespace {

std::vector<Program>& registered() {
  static std::vector<Program> all;
  return all;
}

}  // namespace

Registration::Registration(const Program& program) { registered().push_back(program); }

const std::vector<Program>& programs() {
  auto& all = registered();
  const auto rank = [](const Program& program) {
    return std::pair(std::atoi(program.number), std::string_view(program.number));
  };
  std::sort(all.begin(), all.end(), [&](const Program& a, const Program& b) { return rank(a) < rank(b); });
  return all;
}

Awaiting await_value() {
  fiber::Channel<int> channel;
  auto waiter = fiber::spawn({.name = "waiter"}, [from = channel.receiver()]() mutable { from.receive(); });
  return {channel.sender(), std::move(waiter)};
}

void sleep_thread(Time time) { std::this_thread::sleep_for(time); }

void burn(Time time) {
  const auto end = std::chrono::steady_clock::now() + time;
  while (std::chrono::steady_clock::now() < end) {
    for (int i = 0; i < 1000; ++i) asm volatile("");
  }
}

}  // namespace healthy

namespace {

int usage() {
  std::fputs("usage: healthy --list | NUMBER | NAME [--seconds S]\n", stderr);
  return 2;
}

int list() {
  for (const healthy::Program& program : healthy::programs()) {
    std::printf("%s\t%s\t%s\n", program.number, program.name, program.what);
  }
  return 0;
}

}  // namespace

// LeakSanitizer stops its own process with ptrace when that ends. It gives up if `fiberprof deadlock --prove`, which
// does the same, is just then at it.
extern "C" int __lsan_is_turned_off();  // NOLINT(bugprone-reserved-identifier): the sanitizer's name
extern "C" int __lsan_is_turned_off() { return 1; }

int main(int count, char** arguments) {
  using Clock = std::chrono::steady_clock;  // not fiber::Clock, which a seed makes a simulated one
  if (count != 2 && count != 4) return usage();
  const std::string_view name = arguments[1];
  if (name == "--list") return list();
  double seconds = 3;
  if (count == 4) {
    if (arguments[2] != std::string_view("--seconds")) return usage();
    seconds = std::atof(arguments[3]);
  }
  const auto& all = healthy::programs();
  const auto program = std::find_if(
      all.begin(), all.end(), [&](const healthy::Program& one) { return name == one.number || name == one.name; });
  if (program == all.end()) {
    std::fprintf(stderr, "healthy: no program is called %s\n", arguments[1]);
    return 2;
  }
  const auto window = std::chrono::duration_cast<healthy::Time>(std::chrono::duration<double>(seconds));
  const auto end = Clock::now() + window;
  fiber::run([&] {
    program->body(program->once ? window : window / 2);
    while (!program->once && Clock::now() < end) program->body(std::chrono::milliseconds(20));
  });
  std::puts("done");
  return 0;
}
