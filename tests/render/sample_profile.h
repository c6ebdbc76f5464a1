// SPDX-License-Identifier: BSD-2-Clause
// A recording made by hand, shared by the tests of profile/ and render/: a small key-value server.
#pragma once

#include "profile/profile.h"

namespace fiberprof {

inline ProfileFrame user_frame(std::string function, std::string file, uint32_t line, uint64_t address) {
  ProfileFrame frame;
  frame.function = std::move(function);
  frame.file = std::move(file);
  frame.line = line;
  frame.binary = "/usr/bin/kvd";
  frame.build_id = "0123456789abcdef";
  frame.address = address;
  frame.mapping_start = 0x400000;
  frame.mapping_end = 0x500000;
  frame.mapping_offset = 0x1000;
  return frame;
}

inline ProfileFrame runtime_frame(std::string function, uint64_t address) {
  ProfileFrame frame = user_frame(std::move(function), "", 0, address);
  frame.runtime = true;
  return frame;
}

// 5,000 waits of 10 ms on a channel (50 s), 400 waits of 25 ms on a mutex (10 s), 2 reads still open (3 s),
// 30 preemptions (0.6 s) and an idle worker (100 s), which no sum of waiting may contain.
inline Profile sample_profile() {
  Profile profile;
  profile.frames = {
      runtime_frame("fiber::detail::park(fiber::Reason)", 0x401000),                                       // 0
      runtime_frame("fiber::Channel<kvd::Entry>::receive()", 0x401100),                                    // 1
      user_frame("kvd::Log::next(int)", "/src/kvd/log.cpp", 42, 0x402000),                                 // 2
      user_frame("kvd::Log::run()", "/src/kvd/log.cpp", 77, 0x402100),                                     // 3
      runtime_frame("fiber_entry", 0x401200),                                                              // 4
      runtime_frame("fiber::Mutex::lock()", 0x401300),                                                     // 5
      user_frame("kvd::Shard::set(std::string const&, std::string)", "/src/kvd/shard.cpp", 12, 0x402200),  // 6
      user_frame("kvd::serve(fiber::Socket&)", "/src/kvd/serve.cpp", 101, 0x402300),                       // 7
      runtime_frame("fiber::Socket::read(std::span<char>)", 0x401400),                                     // 8
      user_frame("kvd::Codec::hash(unsigned long)", "/src/kvd/codec.cpp", 9, 0x402400),                    // 9
  };
  profile.frames[2].inlined = true;  // Log::next is inlined into Log::run, at the same address
  profile.frames[2].address = profile.frames[3].address;

  Sample channel;
  channel.kind = SampleKind::blocked;
  channel.reason = "chan receive";
  channel.pid = 12;
  channel.process = "kvd";
  channel.name = "log writer";
  channel.frames = {0, 1, 2, 3, 4};
  channel.count = 5000;
  channel.total_ns = 50'000'000'000;
  channel.queued_ns = 1'000'000'000;
  channel.max_ns = 12'000'000;
  channel.histogram.resize(44);
  channel.histogram[23] = 5000;  // 8.4 ms to 16.8 ms

  Sample mutex = channel;
  mutex.reason = "mutex";
  mutex.name = "connection";
  mutex.frames = {0, 5, 6, 7, 4};
  mutex.count = 400;
  mutex.total_ns = 10'000'000'000;
  mutex.queued_ns = 0;
  mutex.max_ns = 90'000'000;
  mutex.histogram.assign(44, 0);
  mutex.histogram[24] = 390;
  mutex.histogram[26] = 10;

  Sample open = mutex;
  open.kind = SampleKind::open;
  open.reason = "io read";
  open.frames = {0, 8, 7, 4};
  open.count = 2;
  open.total_ns = 3'000'000'000;
  open.max_ns = 2'000'000'000;
  open.histogram.clear();

  Sample preempted = mutex;
  preempted.kind = SampleKind::off_cpu;
  preempted.reason = "preempted";
  preempted.frames = {9, 7, 4};
  preempted.count = 30;
  preempted.queued_ns = 600'000'000;
  preempted.total_ns = 600'000'000;
  preempted.max_ns = 50'000'000;
  preempted.histogram.clear();

  Sample idle = preempted;
  idle.kind = SampleKind::idle;
  idle.reason = "futex wait";
  idle.name.clear();
  idle.frames = {0};
  idle.count = 700;
  idle.total_ns = 100'000'000'000;

  Sample running = preempted;
  running.kind = SampleKind::on_cpu;
  running.reason = "running";
  running.frames = {9, 7, 4};
  running.queued_ns = 0;
  running.max_ns = 0;
  running.count = 300;
  running.total_ns = 3'200'000'000;

  profile.samples = {channel, mutex, open, preempted, idle, running};
  WorkerStats workers;
  workers.pid = 12;
  workers.on_cpu_ns = 3'200'000'000;
  workers.off_cpu_ns = 16'800'000'000;
  workers.runnable_ns = 650'000'000;
  workers.max_runnable_ns = 50'000'000;
  workers.samples = workers.fiber_samples = 300;
  workers.runnable = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 700, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 25};
  profile.workers = {workers};
  QueueStats queue;
  queue.pid = 12;
  queue.ticks = 10'000;
  queue.mean_depth = 1.5;
  queue.max_depth = 9;
  queue.idle_fraction = 0.25;
  queue.histogram = {5000, 3000, 1500, 400, 100};
  profile.queues = {queue};
  queue.processor = 1;
  queue.mean_depth = 12;
  profile.queues.push_back(queue);
  profile.losses = {{"stack_map_full", 3}};
  profile.counters = {{"handoffs", 4}};
  profile.start_unix_ns = 1'700'000'000'000'000'000;
  profile.duration_ns = 10'000'000'000;
  profile.host = "testhost";
  profile.kernel = "6.18.0";
  profile.command = "fiberprof record 12";
  profile.target = "pid 12 (kvd)";
  profile.tier = "exact";
  return profile;
}

}  // namespace fiberprof
