// SPDX-License-Identifier: BSD-2-Clause
// A recording: symbolized, self-contained, what `record` writes and `report`, `flame` and `diff` read. On disk it is
// a gzipped pprof profile (profile.proto of github.com/google/pprof); what pprof has no field for travels as one
// JSON line in its comments.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "support/error.h"

namespace fiberprof {

struct ProfileFrame {
  std::string function;
  std::string file;
  uint32_t line = 0;
  std::string binary;
  std::string build_id;
  uint64_t address = 0;
  uint64_t mapping_start = 0, mapping_end = 0, mapping_offset = 0;
  bool inlined = false;
  bool runtime = false;
  bool operator==(const ProfileFrame&) const = default;
};

enum class SampleKind : uint8_t {
  blocked,  // waits of fibers that ended within the recording
  open,     // waits still in flight when the recording ended, up to that moment
  off_cpu,  // a fiber's worker thread was taken off its CPU by the kernel
  idle,     // a worker without a fiber slept: healthy
  on_cpu,   // a worker ran: samples of the CPU clock
};

// What held up the end of a wait, step by step, from the wake-up to its cause: recorded with --waker.
enum class CauseKind : uint8_t {
  woken,   // who ended the wait before: its stack at that moment
  waited,  // what that fiber itself had waited for most of that time: the stack of the wait
  queued,  // that fiber was runnable but had no processor
  held,    // the kernel had taken that fiber's worker thread: user and kernel stack
  cut,     // there is more, not recorded
};

std::string_view cause_name(CauseKind kind);  // "woken", "waited", "queued", "held", "cut"

struct Cause {
  CauseKind kind{};
  std::string text;  // woken: "" for a fiber, else "timer", "network", "thread NAME"; waited, held: reason; cut: why
  std::vector<uint32_t> frames;  // indices into Profile::frames, innermost first
};
using Chain = std::vector<Cause>;

struct Sample {
  SampleKind kind{};
  // blocked, open: wait reason; off_cpu, idle: "preempted", "futex wait", "read", ...; on_cpu: "running" or "scheduler"
  std::string reason;
  uint32_t pid = 0;
  std::string process;           // its comm
  std::string name;              // fiber name or spawned function, when known
  std::vector<uint32_t> frames;  // indices into Profile::frames, innermost first
  uint64_t count = 0;            // waits; on_cpu: samples
  uint64_t total_ns = 0;         // parked + queued, or off-CPU or on-CPU time
  uint64_t queued_ns = 0;        // part of total_ns spent runnable: of a fiber, or off_cpu and idle: of the thread
  uint64_t max_ns = 0;
  double variance_ns2 = 0, count_variance = 0;  // sampled: squares of the standard errors of total_ns and count
  std::vector<uint64_t> histogram;  // log2 ns buckets, may be empty
  uint32_t chain = 0;               // who ended these waits: 1 + index into Profile::chains; 0: not known
  bool operator==(const Sample&) const = default;
};

// On a worker's CPU, but no fiber: the runtime's own work between them.
inline constexpr std::string_view kScheduler = "scheduler";
inline bool is_scheduler(const Sample& sample) {
  return sample.kind == SampleKind::on_cpu && sample.reason == kScheduler;
}

struct QueueStats {
  uint32_t pid = 0, processor = 0;
  uint64_t ticks = 0;
  double mean_depth = 0;
  uint64_t max_depth = 0;
  double idle_fraction = 0;
  std::vector<uint64_t> histogram;
};

// Fibers that were runnable and had no processor: their number over time.
struct QueuedSite {
  uint32_t pid = 0;
  std::string process;
  std::string site;  // the function they were spawned with
  uint64_t total_ns = 0;
};

// How long fibers were runnable after a wait before they ran.
struct QueueDelays {
  uint32_t pid = 0;
  uint64_t count = 0;  // weighted when sampled
  uint64_t p50_ns = 0, p99_ns = 0, p999_ns = 0;
};

// All worker threads of one process together, exact.
struct WorkerStats {
  uint32_t pid = 0;
  uint64_t on_cpu_ns = 0, off_cpu_ns = 0;
  uint64_t runnable_ns = 0;  // part of off_cpu_ns: woken or preempted, and waiting for a CPU
  uint64_t max_runnable_ns = 0;
  uint64_t samples = 0, fiber_samples = 0;  // of the CPU clock; with a fiber
  std::vector<uint64_t> runnable;           // log2 ns buckets of the times behind runnable_ns
};

struct Profile {
  std::vector<ProfileFrame> frames;
  std::vector<Sample> samples;
  std::vector<Chain> chains;
  std::vector<QueueStats> queues;
  std::vector<QueuedSite> queued;
  std::vector<QueueDelays> delays;
  std::vector<WorkerStats> workers;
  std::map<std::string, uint64_t> losses;  // cause -> events; only what is not zero
  uint64_t start_unix_ns = 0;
  uint64_t duration_ns = 0;
  std::string host, kernel, command, target;  // target: "pid 12 (kvd)"
  std::string tier;                           // "exact" or "sampled"
  std::map<std::string, uint64_t> counters;   // handoffs, worker_starts, overruns, fibers_created ...
};

// "-" is standard input. Errors: not gzip, not a pprof profile, truncated, over the size limit; each names the path.
Result<Profile> read_profile(const std::string& path);
Result<void> write_profile(const Profile& profile, const std::string& path);  // writes a temporary file, then renames

// Atomically: a temporary file beside `path`, then a rename, so nobody ever sees half a file. "-" is standard output;
// pipes and devices are written in place.
Result<void> write_file(std::string_view data, const std::string& path);

}  // namespace fiberprof
