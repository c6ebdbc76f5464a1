// SPDX-License-Identifier: BSD-2-Clause
// Snapshots made by hand, as a session on a small key-value server would give them.
#pragma once

#include <fiberprof/registry.h>

#include "render/top_model.h"

namespace fiberprof {

inline constexpr uint64_t kSecond = 1'000'000'000, kMillisecond = 1'000'000;

inline Histogram all_in_bucket(size_t bucket, uint64_t count) {
  Histogram histogram{};
  histogram[bucket] = count;
  return histogram;
}

inline Snapshot sample_snapshot(uint64_t second) {
  Snapshot snapshot;
  snapshot.attached_ns = 100 * kSecond;
  snapshot.time_ns = snapshot.attached_ns + second * kSecond;
  BlockedEntry channel;  // 100 waits of 10 ms a second
  channel.pid = 12;
  channel.reason = FIBERPROF_REASON_CHAN_RECV;
  channel.stack = 1;
  channel.count = channel.events = 100 * second;
  channel.parked_ns = 980 * kMillisecond * second;
  channel.queued_ns = 20 * kMillisecond * second;
  channel.max_ns = 12 * kMillisecond;
  channel.parked = all_in_bucket(23, 100 * second);
  BlockedEntry mutex = channel;  // 10 waits of 400 ms a second, at two addresses that read the same
  mutex.reason = FIBERPROF_REASON_MUTEX;
  mutex.stack = 2;
  mutex.count = mutex.events = 5 * second;
  mutex.parked_ns = 2 * kSecond * second;
  mutex.queued_ns = 0;
  mutex.max_ns = 900 * kMillisecond;
  mutex.parked = all_in_bucket(28, 5 * second);
  BlockedEntry mutex_again = mutex;
  mutex_again.stack = 3;
  snapshot.blocked = {channel, mutex, mutex_again};

  OffCpuEntry futex;
  futex.pid = 12;
  futex.cause = OffCpuCause::futex;
  futex.on_fiber = true;
  futex.user_stack = 4;
  futex.count = 3 * second;
  futex.total_ns = 300 * kMillisecond * second;
  futex.max_ns = 150 * kMillisecond;
  OffCpuEntry preempted = futex;
  preempted.cause = OffCpuCause::preempted;
  preempted.user_stack = 2;
  preempted.total_ns = 12 * kMillisecond * second;
  OffCpuEntry idle = futex;
  idle.on_fiber = false;
  idle.user_stack = 5;
  idle.total_ns = 1500 * kMillisecond * second;
  snapshot.off_cpu = {futex, preempted, idle};

  for (uint32_t index = 0; index < 2; ++index) {
    QueueEntry queue;
    queue.pid = 12;
    queue.processor = index;
    queue.ticks = 1000 * second;
    queue.depth_sum = (index == 0 ? 2500 : 250) * second;
    queue.depth_max = 9;
    queue.last_depth = index == 0 ? 4 : 0;
    queue.state_ticks = {100 * second, 900 * second, 0};
    snapshot.queues.push_back(queue);
  }
  snapshot.counters[12].handoffs = 2 * second;
  snapshot.stacks = {{1, {0x10, 0x11}}, {2, {0x20, 0x21}}, {3, {0x28, 0x21}}, {4, {0x40, 0x21}}, {5, {0x10}}};
  return snapshot;
}

// Names for the addresses above, folded as ProcessSymbols::stack does.
inline std::vector<Frame> sample_symbolize(uint32_t, const std::vector<uint64_t>& addresses) {
  std::vector<Frame> frames;
  for (const uint64_t address : addresses) {
    Frame frame;
    frame.binary = "/usr/bin/kvd";
    switch (address) {
      case 0x10:
        frame.function = "fiber::Channel<kvd::Entry>::receive()";
        break;
      case 0x11:
        frame.function = "kvd::Log::run()";
        break;
      case 0x20:
      case 0x28:
        frame.function = "fiber::Mutex::lock()";
        break;
      case 0x21:
        frame.function = "kvd::Shard::set(std::string const&, std::string)";
        break;
      case 0x40:
        frame.function = "pthread_mutex_lock";
        break;
      default:
        frame.function = "kvd+0x1234";
        break;
    }
    frame.runtime = frame.function.rfind("fiber::", 0) == 0;
    if (address == 0x40) frame.binary = "/usr/lib/x86_64-linux-gnu/libc.so.6";
    if (address == 0x21) {
      frame.file = "/src/kvd/shard.cpp";
      frame.line = 12;
    }
    frames.push_back(frame);
  }
  return frames;
}

inline RegistrySummary sample_summary(uint64_t second) {
  RegistrySummary summary;
  summary.fibers_created = 1000 + 50 * second;
  for (uint32_t index = 0; index < 2; ++index) {
    ProcessorInfo processor;
    processor.index = index;
    processor.state = index == 0 ? FIBERPROF_PROCESSOR_RUNNING : FIBERPROF_PROCESSOR_IDLE;
    processor.queue_depth = index == 0 ? 4 : 0;
    summary.processors.push_back(processor);
  }
  return summary;
}

inline FiberCensus sample_census() {
  FiberCensus census;
  census.running = 1;
  census.runnable = 14;
  census.blocking = 1;
  census.parked = 1004;
  census.parked_by = {
      {"io read", 980, 192 * kSecond}, {"chan receive", 20, 40 * kMillisecond}, {"mutex", 4, 2 * kSecond}};
  return census;
}

inline TopBuilder sample_top(uint64_t seconds) {
  TopBuilder builder(12, "kvd", false);
  for (uint64_t second = 0; second <= seconds; ++second) {
    builder.update(sample_snapshot(second), sample_summary(second), sample_census());
  }
  return builder;
}

}  // namespace fiberprof
