// SPDX-License-Identifier: BSD-2-Clause
// Thread handoff under every interleaving: a worker in a blocking section, the monitor that takes its processor, and
// the end of the runtime. A model of Scheduler::blocking_begin, blocking_end, retake (scheduler.cpp) and of the loop
// over workers in shut_down (lifecycle.cpp), access by access. Whoever gets the processor that was taken enters a
// section at once, so that there is another one's word to be taken for the worker's; what else becomes of a processor
// is in idle_model.h.
#include <gtest/gtest.h>

#include "report.h"

namespace {

using namespace model;

enum class Bug { none, end_without_lock, retake_without_token, anybodys_section };

struct Handoff {
  const Bug bug;
  Lock lock;                       // lock_
  Atomic<bool> stopping;           // stopping_
  Atomic<std::uint64_t> blocking;  // Processor::blocking
  Plain<bool> processor_taken;     // Worker::processor_taken, guarded by the lock
  Atomic<bool> has_ended;          // Worker::exited
  Atomic<bool> settled;            // not of the runtime: nothing more will happen to the worker
  static constexpr std::uint64_t kWorker = std::uint64_t{1} << 32, kOther = std::uint64_t{2} << 32;  // index + 1
  Plain<int> user{0};  // the processor itself: whoever owns it writes to it
  int sections = 0, taken = 0, abandoned = 0, detached = 0;

  explicit Handoff(Bug put_in) : bug(put_in) {}

  void use(int who) {
    user.set(who);
    check(user.get() == who, "a processor has two owners");
  }

  // The worker: false, and it never runs on, when it has been left behind.
  enum class Ended { kept, lost, left_behind };
  Ended section(std::uint64_t number) {
    use(1);
    // blocking_begin
    blocking.store(kWorker | number, std::memory_order_seq_cst);
    // blocking_end
    std::uint64_t expected = kWorker | number;
    if (blocking.compare_exchange_strong(expected, 0, std::memory_order_acq_rel)) {
      use(1);
      ++sections;
      return Ended::kept;
    }
    if (bug != Bug::end_without_lock) lock.lock();
    if (bug != Bug::end_without_lock && stopping.load(std::memory_order_acquire)) {
      lock.unlock();
      return Ended::left_behind;
    }
    processor_taken.set(false);
    if (bug != Bug::end_without_lock) lock.unlock();
    ++sections;
    return Ended::lost;
  }

  // The monitor's look, and its taking of a section that it has seen before; the other one's is short.
  void retake() {
    std::uint64_t seen = blocking.load(std::memory_order_acquire);
    if (seen == 0 || (seen & kOther) != 0) return;
    lock.lock();
    bool mine = true;
    if (bug == Bug::retake_without_token) {
      blocking.store(0, std::memory_order_release);
    } else {
      mine = blocking.compare_exchange_strong(seen, 0, std::memory_order_acq_rel);
    }
    if (mine) {
      processor_taken.set(true);
      ++taken;
    }
    lock.unlock();
    if (!mine) return;
    use(2);
    blocking.store(kOther | 1, std::memory_order_seq_cst);
  }

  // shut_down: one look at the worker. True: it has ended, or is left behind.
  bool look() {
    if (has_ended.load(std::memory_order_acquire)) return true;
    lock.lock();
    bool left_behind = processor_taken.get();
    if (!left_behind) {
      std::uint64_t seen = blocking.load(std::memory_order_acquire);
      const bool its_own = bug == Bug::anybodys_section ? seen != 0 : (seen & kWorker) != 0;
      left_behind = its_own && blocking.compare_exchange_strong(seen, 0, std::memory_order_acq_rel);
      processor_taken.set(left_behind);
    }
    lock.unlock();
    if (left_behind) ++detached;
    return left_behind;
  }
  void shut_down() {
    lock.lock();
    stopping.store(true, std::memory_order_release);
    lock.unlock();
    if (look()) return;
    // It looks again and again; the last time is when nothing moves any more.
    settled.await(true, "the worker");
    check(look(), "the end of the runtime waits for a worker for ever");
  }
};

Result handoff_scenario(bool stops, Bug bug = Bug::none) {
  return explore({.name = stops ? "handoff/stop" : "handoff"}, [=](Scenario& run) {
    auto& state = run.make<Handoff>(bug);
    run.thread("worker", [&state] {
      for (std::uint64_t number = 1; number <= 2; ++number) {
        const Handoff::Ended ended = state.section(number);
        if (ended == Handoff::Ended::left_behind) {
          ++state.abandoned;
          state.settled.store(true, std::memory_order_release);
          return;
        }
        if (ended == Handoff::Ended::lost) break;  // without a processor it goes to the scheduler's loop
      }
      state.has_ended.store(true, std::memory_order_release);
      state.settled.store(true, std::memory_order_release);
    });
    run.thread("monitor", [&state] {
      state.retake();
      state.retake();
    });
    if (stops) run.thread("run()", [&state] { state.shut_down(); });
    run.at_end([&state] {
      check(state.taken <= 1, "a processor was taken twice");
      check(state.detached == state.abandoned,
            "a worker was left behind and runs on, or sleeps for ever and is waited for");
    });
  });
}

}  // namespace

TEST(HandoffModel, AProcessorHasOneOwner) {
  expect_holds("handoff", handoff_scenario(false));
  expect_holds("handoff, and the end", handoff_scenario(true));
}

TEST(HandoffModel, FindsTheBugsPutIn) {
  expect_found("retake without its token", handoff_scenario(false, Bug::retake_without_token), "a data race");
  expect_found("an end without the lock", handoff_scenario(false, Bug::end_without_lock), "a data race");
  expect_found("another one's section", handoff_scenario(true, Bug::anybodys_section), "a worker was left behind");
}
