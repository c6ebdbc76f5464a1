// SPDX-License-Identifier: BSD-2-Clause
// Falling asleep and being woken, under every interleaving: no fiber stays queued, and no timer unheeded, while a
// processor and its worker sleep; and when all sleep, one of them sleeps in epoll.
#include <gtest/gtest.h>

#include "idle_model.h"
#include "report.h"

namespace {

using namespace model;

// What happens while workers go to sleep; each letter is a thread: `g` makes a fiber runnable, `t` arms a timer, `d`
// disarms one that is armed from the start and arms a later one.
struct Shape {
  unsigned processors, workers, running;  // so many of the processors are held by workers at first
  const char* foreign;
  int local = 0;       // fibers that worker 0 makes runnable while it still runs one
  bool busy = false;   // and that one does not end: somebody else must take them
  bool skips = false;  // the first of these goes without a wake-up; then there is a monitor
};

Result idle_scenario(const char* name, const Shape& shape, bool sequential, IdleBug bug = IdleBug::none) {
  return explore({.name = name, .sequential = sequential}, [=](Scenario& run) {
    auto& idle = run.make<IdleModel>(shape.processors, shape.workers, bug);
    for (unsigned p = 0; p < shape.processors; ++p) {
      if (p < shape.running) {
        idle.holds(p, static_cast<int>(p));
      } else {
        idle.idle(static_cast<int>(p));
      }
    }
    unsigned work = static_cast<unsigned>(shape.local), timers = 0;
    for (unsigned w = 0; w < shape.workers; ++w) {
      static constexpr const char* kNames[] = {"worker 0", "worker 1", "worker 2", "worker 3"};
      run.thread(kNames[w], [&idle, w, shape] {
        if (w >= shape.running) {
          idle.await_start(w);
        } else if (w == 0) {
          for (int i = 0; i < shape.local; ++i) {
            idle.push_next(0);
          }
          if (shape.busy) return;
        }
        for (;;) {
          idle.find_runnable(w);
          ++idle.workers[w].ran;
        }
      });
    }
    if (shape.skips) idle.skips();
    if (shape.skips && bug != IdleBug::no_monitor) run.thread("monitor", [&idle] { idle.monitor(); });
    for (const char* what = shape.foreign; *what != 0; ++what) {
      if (*what == 'g') {
        ++work;
        run.thread("foreign", [&idle] {
          idle.push_global();
          idle.wake_one(IdleModel::kForeign);
          forget(0);
        });
      } else if (*what == 'd') {
        ++timers;
        idle.earliest.store(IdleModel::kSooner);
        run.thread("disarming", [&idle] {
          const bool disarmed = idle.disarm(IdleModel::kSooner);
          if (disarmed) idle.arm();
          forget(0);
        });
      } else {
        ++timers;
        run.thread("arming", [&idle] {
          idle.arm();
          forget(0);
        });
      }
    }
    run.at_rest([&idle, work, timers, busy = shape.busy] {
      unsigned ran = 0, fired = 0;
      for (const auto& worker : idle.workers) ran += worker.ran;
      for (const unsigned count : idle.fired) fired += count;
      const bool will_be_seen = idle.ticking && idle.skips_wakes() && idle.waits_skipped();
      check(ran == work || will_be_seen, "a fiber stays queued and everybody sleeps");
      check(fired == timers, "a timer stays armed and everybody sleeps");
      check(idle.turn.sleeps_until() != 0, "nobody looks after the poller");
      check(idle.spinning.load() == 0, "spinning workers are miscounted");
      check(idle.idle_count.load() == static_cast<int>(idle.processors) - busy, "a processor was lost");
    });
  });
}

constexpr bool kWeak = false, kSequential = true;

}  // namespace

TEST(IdleModel, NobodySleepsOverAFiber) {
  expect_holds("idle, a fiber", idle_scenario("idle/g", {1, 2, 1, "g"}, kWeak));
  expect_holds("idle, two fibers", idle_scenario("idle/gg", {1, 3, 1, "gg"}, kSequential));
}

TEST(IdleModel, NobodySleepsOverATimer) {
  expect_holds("idle, a timer", idle_scenario("idle/t", {1, 2, 1, "t"}, kWeak));
  expect_holds("idle, another timer", idle_scenario("idle/d", {1, 2, 1, "d"}, kWeak));
  expect_holds("idle, a timer and a fiber", idle_scenario("idle/gt", {1, 2, 1, "gt"}, kSequential));
}

TEST(IdleModel, TwoProcessors) {
  expect_holds("idle, both fall asleep", idle_scenario("idle/2", {2, 2, 2, ""}, kWeak));
  expect_holds("idle, one wakes the other", idle_scenario("idle/local", {2, 4, 1, "", 1}, kSequential));
  expect_holds("idle, one is busy", idle_scenario("idle/busy", {2, 3, 2, "", 1, true}, kSequential));
  expect_holds("idle, both and a timer", idle_scenario("idle/2t", {2, 3, 2, "t"}, kSequential));
}

TEST(IdleModel, NobodySleepsOverAFiberWithoutAWakeUp) {
  expect_holds("idle, skipped", idle_scenario("idle/skip", {2, 3, 2, "", 1, true, true}, kSequential));
}

TEST(IdleModel, FindsTheBugsPutIn) {
  const Shape skipping{2, 3, 2, "", 1, true, true};
  for (const auto& [what, put_in] : {std::pair{"no monitor", IdleBug::no_monitor},
                                     std::pair{"a monitor that looks once", IdleBug::monitor_looks_once},
                                     std::pair{"wake-ups skipped to nothing", IdleBug::skips_to_nothing},
                                     std::pair{"idle, and the monitor not told", IdleBug::unheard_idle}}) {
    expect_found(what, idle_scenario("idle/skip-broken", skipping, kSequential, put_in), "a fiber stays queued");
  }
  expect_found("no look before sleeping", idle_scenario("idle/look", {1, 2, 1, "g"}, kWeak, IdleBug::no_second_look),
               "a fiber stays queued");
  expect_found("no fence before waking",
               idle_scenario("idle/fence", {2, 3, 2, "", 1, true}, kWeak, IdleBug::no_fence_in_wake),
               "a fiber stays queued");
  expect_found("epoll left to nobody",
               idle_scenario("idle/release", {2, 4, 1, "g", 1}, kSequential, IdleBug::no_release_check),
               "nobody looks after the poller");
  expect_found("a spinner that looks not again",
               idle_scenario("idle/deaf", {1, 3, 1, "gg"}, kSequential, IdleBug::deaf_spinner), "a fiber stays queued");
  expect_found("a sleep beyond what is said",
               idle_scenario("idle/beyond", {1, 2, 1, "d"}, kWeak, IdleBug::sleep_beyond_published),
               "a timer stays armed");
}
