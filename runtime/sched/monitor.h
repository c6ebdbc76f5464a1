// SPDX-License-Identifier: BSD-2-Clause
// The monitor thread: takes processors back from blocking sections, wakes workers for fibers that none was woken for,
// keeps the coarse clock, samples queues, reports fibers that do not yield, and notices when everything sleeps for
// ever. It needs no processor.
#pragma once

#include <atomic>
#include <cstdint>

namespace fiber::detail {

void monitor_start();
void monitor_stop();  // waits for its end

// How it sleeps, for those who need it more often: it says so first, then looks once more whether there are any.
enum class MonitorSleep : std::uint32_t {
  brief,  // or not at all
  long_,  // longer than while wake-ups are skipped
  deep,   // longer than while anything runs
};
extern std::atomic<MonitorSleep> monitor_sleep;
void monitor_wake_up();
// Called when a blocking section begins.
inline void monitor_needed() {
  if (monitor_sleep.load(std::memory_order_seq_cst) == MonitorSleep::deep) monitor_wake_up();
}
inline bool monitor_sleeps_long() { return monitor_sleep.load(std::memory_order_relaxed) != MonitorSleep::brief; }

// Whether the process has threads beside those of the runtime: they may wake fibers at any time. Some 10 us.
class Scheduler;
bool foreign_threads(const Scheduler& scheduler);

// Prints every fiber and aborts.
[[noreturn]] void report_all_asleep();

}  // namespace fiber::detail
