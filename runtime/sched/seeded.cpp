// SPDX-License-Identifier: BSD-2-Clause
#include "sched/seeded.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <vector>

#include "fiber/fiber.h"
#include "sched/monitor.h"
#include "sched/scheduler.h"
#include "sched/switch.h"

namespace fiber {

namespace detail {

std::atomic<std::uint64_t> simulated_ns{0};

namespace seeded {

std::atomic<bool> is_on{false};
std::atomic<int> Undivided::depth_{0};

namespace {

constexpr std::uint64_t kStep = 1'000;       // what a scheduling decision, or a look at the clock, takes
constexpr std::uint64_t kMostLate = 64'000;  // how far a jump of the clock may go beyond the timer it is for

struct State {
  std::uint64_t random = 0;
  std::vector<Fiber*> runnable;
  // The jump that is due: for the timer at `timer`, to `target`.
  std::uint64_t timer = 0, target = 0;
  char note[48] = "";
};
State& state() {
  static State* const instance = new State;  // never destroyed: foreign threads may still print the note
  return *instance;
}

// The finaliser of splitmix64 (Steele, Lea, Flood, OOPSLA 2014): seeds that differ by one bit have nothing in common.
std::uint64_t mixed(std::uint64_t seed) {
  seed += 0x9e3779b97f4a7c15u;
  seed = (seed ^ (seed >> 30)) * 0xbf58476d1ce4e5b9u;
  seed = (seed ^ (seed >> 27)) * 0x94d049bb133111ebu;
  return seed ^ (seed >> 31);
}

// Below `bound`.
std::uint64_t random_below(std::uint64_t bound) {
  __extension__ using Wide = unsigned __int128;
  return static_cast<std::uint64_t>((Wide{random()} * bound) >> 64);
}

void advance(std::uint64_t ns) { simulated_ns.fetch_add(ns, std::memory_order_relaxed); }

void advance_to(std::uint64_t when) {
  std::uint64_t seen = simulated_ns.load(std::memory_order_relaxed);
  while (seen < when && !simulated_ns.compare_exchange_weak(seen, when, std::memory_order_relaxed)) {
  }
}

// When the timer at `timer` will be noticed. Drawn once for each, however often it is asked before that time comes.
std::uint64_t jump_target(std::uint64_t timer) {
  State& self = state();
  if (self.timer != timer) {
    self.timer = timer;
    self.target = timer + (random_below(2) == 0 ? 0 : random_below(kMostLate));
  }
  return self.target;
}

// A random one of the runnable fibers; null when there are none.
Fiber* pick() {
  std::vector<Fiber*>& runnable = state().runnable;
  if (runnable.empty()) return nullptr;
  std::swap(runnable[random_below(runnable.size())], runnable.back());
  Fiber* fiber = runnable.back();
  runnable.pop_back();
  return fiber;
}

// Not inlined: the address of errno is the thread's, and must not survive a switch.
[[gnu::noinline]] int get_errno() { return errno; }
[[gnu::noinline]] void set_errno(int value) { errno = value; }

}  // namespace

void start(std::uint64_t seed) {
  State& self = state();
  self.runnable.clear();
  self.timer = self.target = 0;
  if (seed == 0) return;
  self.random = std::max<std::uint64_t>(mixed(seed), 1);
  std::snprintf(self.note, sizeof(self.note), " [FIBER_SCHED_SEED=%llu]", static_cast<unsigned long long>(seed));
  simulated_ns.store(now_ns(), std::memory_order_relaxed);
  is_on.store(true, std::memory_order_relaxed);
}

void stop() {
  is_on.store(false, std::memory_order_relaxed);
  simulated_ns.store(0, std::memory_order_relaxed);
}

std::uint64_t random() { return next_random(state().random); }

const char* note() { return on() ? state().note : ""; }

void time_passed(std::uint64_t ns, std::uint64_t most) {
  if (most == 0) return;
  // As if it had jumped: the same time, whether or not it was waited for.
  if (ns >= most) {
    advance_to(state().target);
  } else {
    advance(ns);
  }
}

[[gnu::cold]] void maybe_yield() {
  const Worker* worker = this_worker();
  if (worker == nullptr || worker->current == nullptr || worker->in_blocking || Undivided::any()) return;
  if (Scheduler::instance().main_fiber_done() || random_below(4) != 0) return;
  const int error = get_errno();
  yield();
  set_errno(error);
}

}  // namespace seeded

// As look_once, with a seed.
[[gnu::cold]] Fiber* Scheduler::look_seeded(Worker* worker) {
  Processor* processor = worker->processor;
  processor->decide_slowly_next();  // and come here again
  if (main_fiber_done()) {
    // Whoever would run until the end of the run has been noticed would do so for a time of the kernel's choice.
    while (!stopping()) sched_yield();
    return nullptr;
  }
  for (;;) {
    if (processor->timers.earliest() <= timer_now()) processor->timers.fire(timer_now());
    poll_network();
    std::vector<Fiber*>& runnable = seeded::state().runnable;
    while (Fiber* fiber = pop_global(processor)) runnable.push_back(fiber);
    processor->queue.take_all(runnable);
    Fiber* fiber = seeded::pick();
    __atomic_store_n(&processor->set_aside, static_cast<std::uint32_t>(runnable.size()), __ATOMIC_RELAXED);
    if (fiber != nullptr) {
      seeded::advance(seeded::kStep);
      return fiber;
    }
    const std::uint64_t earliest = next_timer();
    if (earliest == TimerHeap::kNever) return nullptr;
    const std::uint64_t target = seeded::jump_target(earliest);
    if (poller_.waiters() != 0 || blocking_fibers_.load() != 0 || foreign_threads(*this)) return nullptr;
    seeded::advance_to(target);
  }
}

}  // namespace detail

Clock::time_point Clock::now() noexcept {
  using namespace detail;
  std::uint64_t now = timer_now();
  // A loop until some time has come must come to an end.
  if (seeded::on() && this_fiber() != nullptr && !this_worker()->in_blocking) {
    now = simulated_ns.fetch_add(seeded::kStep, std::memory_order_relaxed) + seeded::kStep;
  }
  return time_point(std::chrono::duration_cast<duration>(std::chrono::nanoseconds(now)));
}

}  // namespace fiber
