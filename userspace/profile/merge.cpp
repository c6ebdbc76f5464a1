// SPDX-License-Identifier: BSD-2-Clause
#include "profile/merge.h"

#include <algorithm>
#include <functional>
#include <map>
#include <tuple>
#include <unordered_map>
#include <utility>

namespace fiberprof {
namespace {

// The sample without its amounts: what tells it from others.
Sample identity(const Sample& sample) {
  Sample bare = sample;
  bare.count = bare.total_ns = bare.queued_ns = bare.max_ns = 0;
  bare.variance_ns2 = bare.count_variance = 0;
  bare.histogram.clear();
  return bare;
}

void add_to(std::vector<uint64_t>& sum, const std::vector<uint64_t>& more) {
  sum.resize(std::max(sum.size(), more.size()));
  for (size_t i = 0; i < more.size(); ++i) sum[i] += more[i];
}

size_t hash_of(const Sample& sample) {
  size_t hash = std::hash<std::string>()(sample.reason + '\0' + sample.process + '\0' + sample.name);
  const auto mix = [&](size_t value) { hash = (hash ^ value) * 0x9e3779b97f4a7c15u; };
  mix(static_cast<size_t>(sample.kind));
  mix(sample.pid);
  for (const uint32_t frame : sample.frames) mix(frame);
  return hash;
}

}  // namespace

void merge_samples(std::vector<Sample>& samples) {
  std::unordered_multimap<size_t, std::pair<Sample, size_t>> known;
  std::vector<Sample> merged;
  for (Sample& sample : samples) {
    const size_t hash = hash_of(sample);
    Sample bare = identity(sample);
    const auto [begin, end] = known.equal_range(hash);
    const auto same = std::find_if(begin, end, [&](const auto& entry) { return entry.second.first == bare; });
    if (same == end) {
      known.emplace(hash, std::make_pair(std::move(bare), merged.size()));
      merged.push_back(std::move(sample));
      continue;
    }
    Sample& into = merged[same->second.second];
    into.count += sample.count;
    into.total_ns += sample.total_ns;
    into.queued_ns += sample.queued_ns;
    into.max_ns = std::max(into.max_ns, sample.max_ns);
    into.variance_ns2 += sample.variance_ns2;
    into.count_variance += sample.count_variance;
    add_to(into.histogram, sample.histogram);
  }
  samples = std::move(merged);
}

void merge_queued(std::vector<QueuedSite>& queued) {
  std::map<std::tuple<uint32_t, std::string, std::string>, size_t> known;
  std::vector<QueuedSite> merged;
  for (QueuedSite& each : queued) {
    const auto [at, fresh] = known.try_emplace({each.pid, each.process, each.site}, merged.size());
    if (fresh)
      merged.push_back(std::move(each));
    else
      merged[at->second].total_ns += each.total_ns;
  }
  queued = std::move(merged);
}

void merge_workers(std::vector<WorkerStats>& workers) {
  std::map<uint32_t, size_t> known;
  std::vector<WorkerStats> merged;
  for (WorkerStats& each : workers) {
    const auto [at, fresh] = known.try_emplace(each.pid, merged.size());
    if (fresh) {
      merged.push_back(std::move(each));
      continue;
    }
    WorkerStats& into = merged[at->second];
    into.on_cpu_ns += each.on_cpu_ns;
    into.off_cpu_ns += each.off_cpu_ns;
    into.runnable_ns += each.runnable_ns;
    into.max_runnable_ns = std::max(into.max_runnable_ns, each.max_runnable_ns);
    into.samples += each.samples;
    into.fiber_samples += each.fiber_samples;
    add_to(into.runnable, each.runnable);
  }
  workers = std::move(merged);
}

}  // namespace fiberprof
