// SPDX-License-Identifier: BSD-2-Clause
#include "goker/kernels/supervisor.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sstream>
#include <string>

namespace goker {

namespace {

using namespace std::chrono_literals;
using Real = std::chrono::steady_clock;  // not fiber::Clock, which a seed makes a simulated one

constexpr auto kTick = 2ms;
constexpr auto kPatience = 20s;
constexpr int kSteady = 4, kSteadyElsewhere = 100;  // ticks

struct Seen {
  std::uint64_t id, switches;
  unsigned state, reason;
  bool ends_by_itself;  // a deadline, or a sleep
  std::string name;
  bool operator==(const Seen&) const = default;
  bool waits_for_ever() const { return state == FIBERPROF_FIBER_PARKED && !ends_by_itself; }
};

Seen look_at(std::uint64_t at) {
  Seen seen{};
  seen.id = OBSERVE(at, fiber, id);
  seen.state = static_cast<unsigned>(OBSERVE(at, fiber, state));
  seen.reason = static_cast<unsigned>(OBSERVE(at, fiber, reason));
  seen.switches = OBSERVE(at, fiber, switches);
  seen.ends_by_itself = OBSERVE(at, fiber, deadline) != 0 || seen.reason == FIBERPROF_REASON_SLEEP;
  char name[FIBERPROF_NAME_SIZE];
  std::memcpy(name, reinterpret_cast<const char*>(at) + fiberprof_registry.fields[FIBERPROF_FIELD_fiber_name].offset,
              sizeof(name));
  name[sizeof(name) - 1] = 0;
  seen.name = name;
  return seen;
}

// All fibers but the caller and those named in `besides`, by name.
[[gnu::noinline]] std::vector<Seen> look(const std::string& besides = "") {
  std::vector<Seen> all;
  for (const std::uint64_t at : observe::fibers()) {
    const std::uint64_t sequence = OBSERVE(at, fiber, sequence);
    Seen seen = look_at(at);
    if (sequence % 2 != 0 || OBSERVE(at, fiber, sequence) != sequence) {
      seen.state = FIBERPROF_FIBER_RUNNABLE;  // on its way in or out
    }
    const bool gone = seen.id == 0 || seen.state == FIBERPROF_FIBER_FREE || seen.state == FIBERPROF_FIBER_DEAD;
    if (gone || seen.id == fiber::current_id() || (!besides.empty() && seen.name == besides)) continue;
    all.push_back(std::move(seen));
  }
  std::sort(all.begin(), all.end(), [](const Seen& a, const Seen& b) { return a.name < b.name; });
  return all;
}

std::string names(const std::vector<Seen>& fibers) {
  std::string joined;
  for (const Seen& fiber : fibers) joined += (joined.empty() ? "" : ",") + fiber.name;
  return joined;
}

std::string describe(const std::vector<Seen>& fibers) {
  static constexpr const char* reasons[] = {
#define GOKER_REASON_TEXT(value, name, text) text,
      FIBERPROF_REASONS(GOKER_REASON_TEXT)
#undef GOKER_REASON_TEXT
  };
  std::ostringstream text;
  for (const Seen& fiber : fibers) {
    text << ' ' << fiber.name << " (";
    if (fiber.state == FIBERPROF_FIBER_PARKED) {
      text << reasons[fiber.reason % std::size(reasons)] << (fiber.ends_by_itself ? ", for some time" : "");
    } else {
      text << "not waiting";
    }
    text << ')';
  }
  return text.str();
}

[[gnu::noinline]] void start(const Kernel& kernel, bool fixed) {
  fiber::go({.name = "M"}, [body = kernel.body, fixed] { body(fixed); });
}

enum class End { blocked, gone, elsewhere, unsettled };
struct Outcome {
  End end;
  std::vector<Seen> left;
};

// Watches until nothing moves any more.
[[gnu::noinline]] Outcome await_end(const Kernel& kernel, bool only_blocked) {
  const auto give_up = Real::now() + kPatience;
  std::vector<Seen> before = look(kernel.alive);
  for (int steady = 0;;) {
    fiber::sleep_for(kTick);
    std::vector<Seen> now = look(kernel.alive);
    const bool settled = std::all_of(now.begin(), now.end(), [](const Seen& fiber) { return fiber.waits_for_ever(); });
    steady = settled && now == before ? steady + 1 : 0;
    if (steady >= kSteady && names(now) == kernel.blocked) return {End::blocked, std::move(now)};
    if (!only_blocked) {
      if (now.empty()) return {End::gone, {}};
      if (steady >= kSteadyElsewhere) return {End::elsewhere, std::move(now)};
    }
    if (Real::now() > give_up) return {End::unsettled, std::move(now)};
    before = std::move(now);
  }
}

[[gnu::noinline]] bool input_ended(int wait_ms) {
  pollfd input{.fd = 0, .events = POLLIN, .revents = 0};
  if (poll(&input, 1, wait_ms) <= 0) return false;
  char unused[256];
  return read(0, unused, sizeof(unused)) <= 0;
}

void say(const char* word) {
  std::puts(word);
  std::fflush(stdout);
}

// Short waits for timers. With a seed they take no time, so that input is what is waited for.
[[noreturn]] void tick_until_input_ends() {
  const bool seeded = std::getenv("FIBER_SCHED_SEED") != nullptr;
  for (;;) {
    scrub_stack();
    fiber::sleep_for(5ms);
    if (seeded ? fiber::blocking([] { return input_ended(20); }) : input_ended(0)) _exit(0);
  }
}

}  // namespace

int show_bug(const Kernel& kernel) {
  set_mode(Mode::forced);
  start(kernel, false);
  scrub_stack();
  const Outcome outcome = await_end(kernel, true);
  if (outcome.end != End::blocked) {
    std::fprintf(stderr, "goker: %s: expected %s to be blocked, found:%s\n", kernel.name, kernel.blocked,
                 describe(outcome.left).c_str());
    return 1;
  }
  say("ready");
  tick_until_input_ends();
}

int try_bug(const Kernel& kernel) {
  set_mode(Mode::unforced);
  start(kernel, false);
  scrub_stack();
  const Outcome outcome = await_end(kernel, false);
  if (outcome.end == End::blocked) {
    say("ready");
  } else if (outcome.end == End::gone) {
    say("passed");
  } else {
    say(((outcome.end == End::elsewhere ? "other:" : "unsettled:") + describe(outcome.left)).c_str());
  }
  return 0;
}

int run_fixed(const Kernel& kernel, long rounds) {
  set_mode(Mode::fixed);
  for (long round = 0; round < rounds; ++round) {
    start(kernel, true);
    const auto give_up = Real::now() + kPatience;
    for (;;) {
      fiber::sleep_for(100us);
      const std::vector<Seen> left = look();
      if (left.empty()) break;
      if (Real::now() > give_up) {
        std::fprintf(stderr, "goker: %s, repaired, round %ld: does not end:%s\n", kernel.name, round,
                     describe(left).c_str());
        return 1;
      }
    }
  }
  say("done");
  return 0;
}

}  // namespace goker
