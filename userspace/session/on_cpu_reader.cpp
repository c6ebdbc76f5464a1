// SPDX-License-Identifier: BSD-2-Clause
#include "session/on_cpu_reader.h"

#include <algorithm>

#include "session/map_reader.h"
#include "session/skeleton.h"

namespace fiberprof {

Result<void> read_on_cpu(const fiberprof_bpf& skeleton, Snapshot& snapshot) {
  auto& times = snapshot.worker_times;
  auto done = read_map<uint32_t, fp_worker_time>(
      skeleton.maps.worker_times, 1, [&](const uint32_t& pid, const fp_worker_time* value) {
        WorkerTime& time = times[pid];
        time.on_cpu_ns = value->on_cpu_ns;
        time.off_cpu_ns = value->off_cpu_ns;
        time.runnable_ns = value->runnable_ns;
        time.max_runnable_ns = value->max_runnable_ns;
        time.samples = value->samples;
        time.fiber_samples = value->fiber_samples;
        std::copy(std::begin(value->runnable), std::end(value->runnable), time.runnable.begin());
      });
  if (!done) return done;
  done = read_map<uint32_t, fp_worker>(skeleton.maps.workers, 1, [&](const uint32_t&, const fp_worker* worker) {
    if (!worker->seen) return;
    const auto until_now = [&](uint64_t start) { return snapshot.time_ns > start ? snapshot.time_ns - start : 0; };
    WorkerTime& time = times[worker->why.tgid];
    time.on_cpu_ns += worker->ran_ns + (worker->start_ns ? 0 : until_now(worker->on_ns));
    if (!worker->start_ns) return;
    time.off_cpu_ns += until_now(worker->start_ns);
    if (worker->woken_ns) time.runnable_ns += until_now(worker->woken_ns);
  });
  if (!done) return done;
  return read_map<fp_oncpu_key, uint64_t>(skeleton.maps.oncpu, 1,
                                          [&](const fp_oncpu_key& key, const uint64_t* samples) {
                                            OnCpuEntry entry;
                                            entry.pid = key.tgid;
                                            entry.on_fiber = key.on_fiber != 0;
                                            entry.fiber_entry = key.fiber_entry;
                                            entry.user_stack = key.user_stack;
                                            entry.kernel_stack = key.kernel_stack;
                                            entry.samples = *samples;
                                            entry.ns = times[key.tgid].ns_of(entry.samples);
                                            if (entry.samples) snapshot.on_cpu.push_back(entry);
                                          });
}

}  // namespace fiberprof
