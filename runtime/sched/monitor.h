// SPDX-License-Identifier: BSD-2-Clause
// The monitor thread: takes processors back from blocking sections, keeps the coarse clock, samples queues, reports
// fibers that do not yield, and notices when everything sleeps for ever. It needs no processor.
#pragma once

#include <atomic>
#include <cstdint>

namespace fiber::detail {

void monitor_start();
void monitor_stop();  // waits for its end

// Called when a blocking section begins: a monitor that sleeps deeply because nothing ran must look more often.
void monitor_wake_up();
extern std::atomic<std::uint32_t> monitor_deep_asleep;
inline void monitor_needed() {
  if (monitor_deep_asleep.load(std::memory_order_seq_cst) != 0) monitor_wake_up();
}

// Whether the process has threads beside those of the runtime: they may wake fibers at any time. Some 10 us.
class Scheduler;
bool foreign_threads(const Scheduler& scheduler);

// Prints every fiber and aborts.
[[noreturn]] void report_all_asleep();

}  // namespace fiber::detail
