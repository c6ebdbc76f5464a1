// SPDX-License-Identifier: BSD-2-Clause
// Programs in which nobody is deadlocked, however much it looks like it.
//
// The main fiber runs a program once for half of the window that was asked for, then for short times until the window
// is over, so that a detector sees it both waiting and changing. It only waits itself: what keeps the others alive is
// where the program says.
#pragma once

#include <fiber/all.h>

#include <atomic>
#include <chrono>
#include <utility>
#include <vector>

namespace healthy {

using namespace std::chrono_literals;
using Time = std::chrono::nanoseconds;

struct Program {
  const char* number;  // those without a letter up to 15 are those of the design; letters are variants
  const char* name;
  const char* what;
  void (*body)(Time time);  // ends by itself after about that time
  bool once = false;        // and is not run again
};

// In the order of their numbers.
const std::vector<Program>& programs();

struct Registration {
  explicit Registration(const Program& program);
};

// A fiber that waits for one value, and the only handle with which that can be sent.
struct Awaiting {
  fiber::Sender<int> sender;
  fiber::JoinHandle<void> waiter;
};
Awaiting await_value();

// A fiber that sleeps, and calls then.
template <class F>
fiber::JoinHandle<void> later(Time time, F function) {
  return fiber::spawn({.name = "keeper"}, [time, function = std::move(function)]() mutable {
    fiber::sleep_for(time);
    function();
  });
}

// A waiter, and a sleeper that has `keep(sender)` and calls it with the time come.
template <class Keep>
void kept_as(Time time, Keep keep) {
  auto [sender, waiter] = await_value();
  auto keeper = later(time, keep(std::move(sender)));
  waiter.join();
  keeper.join();
}

// What is called by a thread that is no fiber sleeps like this.
void sleep_thread(Time time);
// Joins a thread, or calls what blocks, without keeping a processor.
template <class F>
void outside(F function) {
  fiber::blocking(std::move(function));
}

// Keeps the processor busy without a yield.
void burn(Time time);

}  // namespace healthy
