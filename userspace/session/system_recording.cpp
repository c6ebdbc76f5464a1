// SPDX-License-Identifier: BSD-2-Clause
#include "session/system_recording.h"

#include <algorithm>
#include <iterator>

#include "profile/merge.h"
#include "session/complete_stacks.h"
#include "session/stopwatch.h"

namespace fiberprof {
namespace {

constexpr uint64_t kReadEveryNs = 1'000'000'000;
constexpr size_t kMaxWaiting = 100;     // programs that have ended, after which they are not left for a second
constexpr size_t kMergeAbove = 10'000;  // samples

}  // namespace

Result<std::unique_ptr<SystemRecording>> SystemRecording::start(SessionOptions options) {
  auto watch = SystemWatch::start(std::move(options));
  if (!watch) return tl::unexpected(watch.error());
  std::unique_ptr<SystemRecording> recording(new SystemRecording(std::move(*watch)));
  recording->refresh_counts();
  return recording;
}

void SystemRecording::refresh_counts() {
  for (const auto& [pid, program] : watch_->running()) {
    const auto [at, fresh] = counts_.try_emplace(program->serial);
    if (fresh) {
      at->second.open(pid, program->process.registry_address);
      ++programs_[program->process.name];
    } else {
      at->second.refresh();
    }
  }
}

void SystemRecording::update() {
  watch_->update();
  const uint64_t now = monotonic_ns();
  const bool due = now - read_ns_ >= kReadEveryNs;
  if (due) refresh_counts();
  if (watch_->ended() == 0 || (!due && watch_->ended() < kMaxWaiting)) return;
  (void)take_ended();  // what cannot be read now is read at the end, or the error told then
}

Result<SystemWatch::Reading> SystemRecording::take_ended() {
  read_ns_ = monotonic_ns();
  auto reading = watch_->read();
  if (!reading) return reading;
  for (SystemWatch::Part& part : reading->ended) {
    auto& profile = builder_.profile();
    const size_t first = profile.samples.size(), first_queue = profile.queues.size();
    const size_t first_queued = profile.queued.size(), first_delay = profile.delays.size();
    const size_t first_worker = profile.workers.size();
    write_down(part);
    if (const auto counts = counts_.find(part.program->serial); counts == counts_.end())
      ++programs_[part.program->process.name];  // too short to be met by refresh_counts()
    else
      counts_.erase(counts);
    if (++ended_ <= kMaxEnded) continue;
    for (size_t i = first; i < profile.samples.size(); ++i) profile.samples[i].pid = 0;
    for (size_t i = first_queued; i < profile.queued.size(); ++i) profile.queued[i].pid = 0;
    for (size_t i = first_worker; i < profile.workers.size(); ++i) profile.workers[i].pid = 0;
    profile.queues.resize(first_queue);
    profile.delays.resize(first_delay);
  }
  if (builder_.profile().samples.size() > std::max(kMergeAbove, 2 * merged_)) {
    merge_samples(builder_.profile().samples);
    merge_queued(builder_.profile().queued);
    merge_workers(builder_.profile().workers);
    merged_ = builder_.profile().samples.size();
  }
  return reading;
}

void SystemRecording::write_down(SystemWatch::Part& part) {
  const uint32_t pid = part.program->process.pid;
  for (const BlockedEntry& entry : part.snapshot.blocked) {
    waits_ended_ += entry.count;
    events_ += entry.events;
  }
  builder_.forget_addresses(pid);
  builder_.name_process(pid, part.program->process.name);
  symbols_[pid] = std::move(part.program->symbols);
  complete_stacks(part.snapshot, symbols_);
  builder_.add(part.snapshot);
  part.program->symbols = std::move(symbols_[pid]);
  symbols_.erase(pid);
}

Result<Profile> SystemRecording::finish() {
  auto reading = take_ended();
  if (!reading) return tl::unexpected(reading.error());
  refresh_counts();
  OpenWaitLimits limits;
  limits.start_ns = reading->attached_ns;
  limits.now_ns = reading->time_ns;
  limits.min_wait_ns = watch_->session().options().min_wait_ns;
  limits.reasons = watch_->session().options().reasons;
  uint64_t open_waits = 0, without_stack = 0, waits_begun = 0, fibers_created = 0, steals = 0;
  for (SystemWatch::Part& part : reading->running) write_down(part);
  for (const auto& [pid, program] : watch_->running()) {
    const auto counts = counts_.find(program->serial);
    if (counts == counts_.end() || !counts->second.registry) continue;
    builder_.forget_addresses(pid);
    builder_.name_process(pid, program->process.name);
    symbols_[pid] = std::move(program->symbols);
    const auto open = add_open_waits(pid, *counts->second.registry, limits, builder_);
    program->symbols = std::move(symbols_[pid]);
    symbols_.erase(pid);
    if (!open) continue;  // it has ended
    open_waits += open->waits;
    without_stack += open->without_stack;
    if (!counts->second.current) continue;
    waits_begun += counts->second.waits();
    fibers_created += counts->second.fibers();
    steals += counts->second.steals();
  }
  watch_->session().detach();

  Profile profile = builder_.take();
  merge_samples(profile.samples);
  merge_queued(profile.queued);
  merge_workers(profile.workers);
  for (const auto& [cause, events] : named_losses(reading->losses)) profile.losses[cause] += events;
  if (reading->unknown) profile.losses["of processes that came and went unseen"] = reading->unknown;
  if (without_stack) profile.losses["open wait without stack: out of time"] = without_stack;
  profile.counters["waits_open"] = open_waits;
  if (ended_ == 0) {  // those that ended took their own counts with them
    profile.counters["waits_begun"] = waits_begun;
    profile.counters["fibers_created"] = fibers_created;
    profile.counters["steals"] = steals;
  }
  profile.counters["waits_ended"] = waits_ended_;
  profile.counters["events"] = events_;
  uint64_t programs = 0;
  std::string names;
  for (const auto& [name, count] : programs_) {
    programs += count;
    names += (names.empty() ? "" : ", ") + name + (count > 1 ? " x " + std::to_string(count) : "");
  }
  profile.counters["programs"] = programs;
  profile.target = "all programs on fibers: " + (names.empty() ? std::string("none") : names);
  return profile;
}

}  // namespace fiberprof
