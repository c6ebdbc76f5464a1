// SPDX-License-Identifier: BSD-2-Clause
#include "sched/monitor.h"

#include <dirent.h>
#include <pthread.h>
#include <algorithm>
#include <thread>

#include "probe/emit.h"
#include "registry/registry.h"
#include "sched/clock.h"
#include "sched/futex.h"
#include "sched/scheduler.h"
#include "sched/seeded.h"
#include "sched/tick_pace.h"

namespace fiber::detail {

std::atomic<MonitorSleep> monitor_sleep{MonitorSleep::brief};

bool foreign_threads(const Scheduler& scheduler) {
  DIR* tasks = opendir("/proc/self/task");
  if (tasks == nullptr) return true;
  std::uint32_t threads = 0;
  while (const dirent* entry = readdir(tasks)) threads += entry->d_name[0] != '.';
  closedir(tasks);
  // the monitor, and the thread in run()
  return threads > scheduler.worker_threads() + 2 + sanitizer::kOwnThreads;
}

namespace {

constexpr std::uint64_t kMicrosecond = 1'000, kMillisecond = 1'000'000;
// While blocking sections run: as in Go, look every 20 us at first, and after 1 ms without a reason ever more rarely.
constexpr std::uint64_t kShortest = 20 * kMicrosecond;
constexpr std::uint64_t kLongest = 10 * kMillisecond;
// While wake-ups are skipped, and a while after, for they hardly ever stop for long. With the time a worker needs to
// come, a fiber waits for a millisecond.
constexpr std::uint64_t kSkipping = 900 * kMicrosecond;
constexpr std::uint64_t kAfterSkipping = 10 * kMillisecond;
constexpr std::uint64_t kDeep = 100 * kMillisecond;
constexpr std::uint64_t kPoolPeriod = 1000 * kMillisecond;
constexpr std::uint64_t kTrim = 10 * kMillisecond;
// With a seed, shorter sections keep their processor, so that what happens does not depend on the kernel.
constexpr std::uint64_t kSeededPatience = 100 * kMillisecond;
constexpr std::uint64_t kOverrun = 10 * kMillisecond;
constexpr std::uint64_t kAsleep = 10 * kMillisecond;

class Monitor {
 public:
  void start() {
    stop_.store(0);
    asleep_since_ = 0;
    pace_ = {};
    wakes_ = 0;
    thread_ = std::thread([this] { loop(); });
  }
  void stop() {
    stop_.store(1);
    wake();
    thread_.join();
  }
  void wake() {
    generation_.fetch_add(1, std::memory_order_release);
    futex_wake(generation_, 1);
  }

 private:
  void loop() {
    pthread_setname_np(pthread_self(), "fiber-monitor");
    unsigned quiet = 0;
    delay_ = kShortest;
    skipped_ns_ = 0;
    while (stop_.load() == 0) {
      const bool attached = probe::anybody_attached();
      Scheduler& scheduler = Scheduler::instance();
      const bool all_idle = is_all_idle(scheduler);
      const bool blocking = any_blocking(scheduler);
      sleep(scheduler, attached);

      const std::uint64_t now = now_ns();
      probe::tick(coarse(now));
      set_coarse_clock(now);
      if (scheduler.skips_wakes()) {
        skipped_ns_ = now;
        scheduler.wake_for_skipped();
      }
      ++wakes_;
      if (now - last_sample_ >= pace_.least()) sample(scheduler, now);
      if (retake_stuck(scheduler, now) || !blocking) {
        delay_ = kShortest;
        quiet = 0;
      } else if (++quiet > 50 && delay_ < kLongest) {
        delay_ *= 2;
      }
      if (now - last_period_ >= kPoolPeriod) {
        scheduler.pool().begin_period();
        last_period_ = now;
      }
      if (now - last_trim_ >= kTrim) {
        scheduler.pool().trim();
        last_trim_ = now;
      }
      check_asleep(scheduler, all_idle, now);
    }
  }

  static bool is_all_idle(const Scheduler& scheduler) {
    return scheduler.idle_processors() == scheduler.processor_count();
  }
  static bool any_blocking(Scheduler& scheduler) {
    for (unsigned i = 0; i < scheduler.processor_count(); ++i) {
      if (scheduler.processor(i).blocking.load(std::memory_order_relaxed) != 0) return true;
    }
    return false;
  }

  // How long it may sleep as things are.
  std::uint64_t patience(Scheduler& scheduler, bool attached) {
    std::uint64_t most = kLongest;
    if (any_blocking(scheduler)) {
      most = delay_;
    } else if (is_all_idle(scheduler) && !attached) {
      most = kDeep;
    }
    if (attached) most = std::min(most, pace_.until_next(next_random(random_)));
    if (scheduler.skips_wakes() || coarse_clock() - skipped_ns_ < kAfterSkipping) most = std::min(most, kSkipping);
    return most;
  }

  void sleep(Scheduler& scheduler, bool attached) {
    const std::uint32_t seen = generation_.load(std::memory_order_acquire);
    const std::uint64_t at_most = patience(scheduler, attached);
    if (at_most <= kSkipping) {
      futex_wait(generation_, seen, at_most);
      return;
    }
    monitor_sleep.store(at_most > kLongest ? MonitorSleep::deep : MonitorSleep::long_, std::memory_order_seq_cst);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    // Who has needed it more often since, but before that was visible, has not woken it.
    futex_wait(generation_, seen, std::min(at_most, patience(scheduler, attached)));
    monitor_sleep.store(MonitorSleep::brief, std::memory_order_relaxed);
  }

  // Queue depth, sampling rate and overruns, once per processor.
  void sample(Scheduler& scheduler, std::uint64_t now) {
    // The first after somebody attached would stand for what went before.
    const bool attached = probe::anybody_attached();
    const std::uint64_t interval = attached && sampled_attached_ ? now - last_sample_ : 0;
    sampled_attached_ = attached;
    publish(fiberprof_registry.global_queue_depth, scheduler.global_size());
    sample_fibers(scheduler, interval);
    for (unsigned i = 0; i < scheduler.processor_count(); ++i) {
      Processor& processor = scheduler.processor(i);
      const std::uint32_t depth = processor.depth();
      const std::uint32_t state = __atomic_load_n(&processor.record.state, __ATOMIC_RELAXED);
      publish(processor.record.queue_depth, depth);
      FIBER_EMIT(proc_sample, i, depth, state);
      sample_queue(processor.queue.sample(next_random(random_)), depth, interval, i);

      const std::uint64_t switches = __atomic_load_n(&processor.record.switches, __ATOMIC_RELAXED);
      if (switches != processor.seen_switches || state != FIBERPROF_PROCESSOR_RUNNING) {
        processor.seen_switches = switches;
        processor.seen_switches_ns = now;
        processor.overrun_told = false;
      } else if (!processor.overrun_told && now - processor.seen_switches_ns >= kOverrun) {
        processor.overrun_told = true;
        overrun(processor, now - processor.seen_switches_ns);
      }
    }
    if (now - last_adapt_ >= 50 * kMillisecond) {
      for (unsigned i = 0; i < scheduler.processor_count(); ++i) {
        Processor& processor = scheduler.processor(i);
        std::uint64_t parks = 0;
        for (const std::uint64_t& count : processor.record.parks) parks += __atomic_load_n(&count, __ATOMIC_RELAXED);
        probe::adapt_sampling(&processor, parks - processor.seen_parks, now - last_adapt_);
        processor.seen_parks = parks;
      }
      probe::adapt_long(scheduler.processor_count(), now - last_adapt_);
      pace_.adapt(clock_ns(CLOCK_THREAD_CPUTIME_ID), wakes_);
      wakes_ = 0;
      last_adapt_ = now;
    }
    last_sample_ = now;
  }

  // What the account of all fibers' time is made of: how many there are, and who of them is queued.
  void sample_fibers([[maybe_unused]] Scheduler& scheduler, [[maybe_unused]] std::uint64_t interval) {
#ifndef FIBER_NO_PROBES
    if (interval == 0) return;
    if (FIBERPROF_ENABLED(fibers_sample)) fiberprof_site_fibers_sample(scheduler.live_fibers(), interval);
    if (FIBERPROF_ENABLED(queue_sample)) {
      const std::uint64_t size = scheduler.global_size();
      if (size != 0) sample_queue(scheduler.first_global(), size, interval, kNone);
    }
#endif
  }

  void sample_queue([[maybe_unused]] const Fiber* fiber, [[maybe_unused]] std::uint64_t depth,
                    [[maybe_unused]] std::uint64_t interval, [[maybe_unused]] std::uint32_t processor) {
#ifndef FIBER_NO_PROBES
    if (!FIBERPROF_ENABLED(queue_sample) || fiber == nullptr || depth == 0 || interval == 0) return;
    fiberprof_site_queue_sample(__atomic_load_n(&fiber->record.id, __ATOMIC_RELAXED),
                                __atomic_load_n(&fiber->record.entry, __ATOMIC_RELAXED), depth, interval, processor);
#endif
  }

  void overrun([[maybe_unused]] Processor& processor, [[maybe_unused]] std::uint64_t ns) {
#ifndef FIBER_NO_PROBES
    if (!FIBERPROF_ENABLED(overrun)) return;
    const Worker* worker = processor.worker.load(std::memory_order_acquire);  // workers are never freed
    if (worker == nullptr) return;
    const std::uint64_t id = __atomic_load_n(&worker->record.current_fiber, __ATOMIC_RELAXED);
    const auto* fiber =
        reinterpret_cast<const fiberprof_fiber*>(__atomic_load_n(&worker->record.fiber, __ATOMIC_RELAXED));
    if (id == 0 || fiber == nullptr) return;
    fiberprof_site_overrun(id, ns, __atomic_load_n(&fiber->entry, __ATOMIC_RELAXED));
#endif
  }

  bool retake_stuck(Scheduler& scheduler, std::uint64_t now) {
    bool any = false;
    for (unsigned i = 0; i < scheduler.processor_count(); ++i) {
      Processor& processor = scheduler.processor(i);
      const std::uint64_t token = processor.blocking.load(std::memory_order_acquire);
      if (token == 0) continue;
      if (token != processor.seen_blocking) {
        processor.seen_blocking = token;
        processor.seen_blocking_ns = now;
        continue;
      }
      if (seeded::on() && now - processor.seen_blocking_ns < kSeededPatience) continue;
      // Nothing to run here and somebody else free to look for work: no hurry.
      const bool needless = processor.depth() == 0 && scheduler.global_size() == 0 && scheduler.idle_processors() > 0;
      if (needless && now - processor.seen_blocking_ns < kLongest) continue;
      any |= scheduler.retake(&processor, token);
    }
    return any;
  }

  void check_asleep(Scheduler& scheduler, bool all_idle, std::uint64_t now) {
    if (!scheduler.options().deadlock_check || !all_idle || scheduler.main_fiber_done() ||
        !scheduler.everything_asleep()) {
      asleep_since_ = 0;
      return;
    }
    // Twice, and nothing has run between: a fiber on its way from one queue to another is not asleep.
    std::uint64_t switches = 0;
    for (unsigned i = 0; i < scheduler.processor_count(); ++i) {
      switches += __atomic_load_n(&scheduler.processor(i).record.switches, __ATOMIC_RELAXED);
    }
    if (asleep_since_ == 0 || switches != asleep_switches_) {
      asleep_since_ = now;
      asleep_switches_ = switches;
    } else if (now - asleep_since_ >= kAsleep && !foreign_threads(scheduler)) {
      report_all_asleep();
    }
  }

  std::thread thread_;
  std::atomic<std::uint32_t> stop_{0};
  std::atomic<std::uint32_t> generation_{0};
  std::uint64_t delay_ = kShortest;  // while blocking sections run
  std::uint64_t skipped_ns_ = 0;     // when wake-ups were skipped last
  std::uint64_t last_sample_ = 0;
  bool sampled_attached_ = false;
  TickPace pace_;
  std::uint64_t wakes_ = 0;  // since the pace was last adapted
  std::uint64_t random_ = 0x9e3779b97f4a7c15;
  std::uint64_t last_adapt_ = 0;
  std::uint64_t last_trim_ = 0;
  std::uint64_t last_period_ = 0;
  std::uint64_t asleep_since_ = 0;
  std::uint64_t asleep_switches_ = 0;
};

Monitor& monitor() {
  static Monitor* const instance = new Monitor;
  return *instance;
}

}  // namespace

void monitor_start() { monitor().start(); }
void monitor_stop() { monitor().stop(); }
void monitor_wake_up() { monitor().wake(); }

}  // namespace fiber::detail
