// SPDX-License-Identifier: BSD-2-Clause
#include "render/aggregate.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "render/stack_view.h"
#include "render/waker_view.h"
#include "symbol/runtime_names.h"

namespace fiberprof {
namespace {

// Two stacks are one row when they read the same: function, file and line, not addresses.
using FrameText = std::tuple<std::string, std::string, uint32_t>;
using Key = std::tuple<std::string, std::string, uint32_t, std::vector<uint32_t>>;

void add(Row& row, const Sample& sample) {
  if (sample.kind == SampleKind::open) {
    row.open += sample.count;
    row.open_ns += sample.total_ns;
  } else {
    row.count += sample.count;
  }
  row.total_ns += sample.total_ns;
  row.queued_ns += sample.queued_ns;
  row.variance_ns2 += sample.variance_ns2;
  row.count_variance += sample.count_variance;
  row.max_ns = std::max(row.max_ns, sample.max_ns);
  if (row.histogram.size() < sample.histogram.size()) row.histogram.resize(sample.histogram.size());
  for (size_t i = 0; i < sample.histogram.size(); ++i) row.histogram[i] += sample.histogram[i];
}

bool is_wait(SampleKind kind) { return kind == SampleKind::blocked || kind == SampleKind::open; }

void add_cause(const Profile& profile, Row& row, const Sample& sample) {
  const Chain* chain = chain_of(profile, sample);
  if (chain == nullptr) return;
  const std::string line = cause_line(profile, *chain);
  auto cause = std::find_if(row.causes.begin(), row.causes.end(), [&](const RowCause& each) {
    return cause_line(profile, profile.chains[each.chain]) == line;
  });
  if (cause == row.causes.end()) cause = row.causes.insert(cause, RowCause{sample.chain - 1, 0, 0});
  cause->count += sample.count;
  cause->total_ns += sample.total_ns;
}

}  // namespace

// An event carries no name, so names would tear the waits of one fiber apart; they serve when there is no stack.
std::string fiber_of(const Profile& profile, const Sample& sample) {
  const std::vector<uint32_t> frames = shown_frames(profile, sample, false);
  for (auto index = frames.rbegin(); index != frames.rend(); ++index) {
    const ProfileFrame& frame = profile.frames[*index];
    if (!is_library(frame.function, frame.binary, frame.runtime)) return frame.function;
  }
  return sample.name;
}

namespace {

// The runtime's own frames folded. The kernel's path to sleep says less than the reason, which names the system call or
// the fault.
std::vector<uint32_t> shown(const Profile& profile, const std::vector<uint32_t>& frames, bool with_kernel) {
  const auto in_kernel = [&](uint32_t index) { return !with_kernel && profile.frames[index].binary == "[kernel]"; };
  const bool only_kernel = std::all_of(frames.begin(), frames.end(), in_kernel);
  std::vector<Frame> stack;
  for (const uint32_t index : frames) {
    if (in_kernel(index) && !only_kernel) continue;
    Frame frame;
    frame.function = profile.frames[index].function;
    frame.runtime = profile.frames[index].runtime;
    frame.address = index;  // which it was, to find it again afterwards
    stack.push_back(std::move(frame));
  }
  std::vector<uint32_t> result;
  for (const Frame& frame : fold_runtime_frames(std::move(stack)))
    result.push_back(static_cast<uint32_t>(frame.address));
  return result;
}

template <class Include>
Section group(const Profile& profile, GroupBy by, bool all_frames, Include include) {
  std::map<FrameText, uint32_t> texts;
  std::vector<uint32_t> same(profile.frames.size());  // frame index -> first index that reads the same
  for (uint32_t i = 0; i < profile.frames.size(); ++i) {
    const ProfileFrame& frame = profile.frames[i];
    same[i] = texts.try_emplace(FrameText(frame.function, frame.file, frame.line), i).first->second;
  }
  Section section;
  std::map<Key, size_t> index;
  for (const Sample& sample : profile.samples) {
    if (!include(sample.kind)) continue;
    Key key;
    std::vector<uint32_t> frames;
    switch (by) {
      case GroupBy::stack:
        for (const uint32_t frame : shown_frames(profile, sample, all_frames)) frames.push_back(same[frame]);
        key = {sample.reason, "", sample.pid, frames};
        break;
      case GroupBy::fiber:
        key = {"", fiber_of(profile, sample), sample.pid, {}};
        break;
      case GroupBy::waker:
        key = {sample.reason, is_wait(sample.kind) ? waker_name(profile, sample) : "", sample.pid, {}};
        break;
      case GroupBy::reason:
      case GroupBy::worker:
        key = {sample.reason, "", 0, {}};
        break;
      case GroupBy::process:  // those that ended after many others have no id left: together, by name
        key = {"", sample.process, sample.pid, {}};
        break;
    }
    const auto [slot, inserted] = index.try_emplace(std::move(key), section.rows.size());
    if (inserted) {
      Row row;
      row.reason = sample.reason;
      row.name = by == GroupBy::fiber || by == GroupBy::waker ? std::get<1>(slot->first) : sample.name;
      row.process = sample.process;
      row.pid = sample.pid;
      row.culprit = static_cast<uint32_t>(culprit(frames.size(), [&](size_t i) {
        const ProfileFrame& frame = profile.frames[frames[i]];
        return is_library(frame.function, frame.binary, frame.runtime);
      }));
      row.frames = std::move(frames);
      section.rows.push_back(std::move(row));
    }
    Row& row = section.rows[slot->second];
    if (row.reason != sample.reason) row.reason.clear();
    if (by != GroupBy::fiber && by != GroupBy::waker && row.name != sample.name) row.name.clear();
    if (row.pid != sample.pid) row.pid = 0;
    add(row, sample);
    if (by == GroupBy::waker && sample.chain != 0) add_cause(profile, row, sample);
  }
  for (Row& row : section.rows) {
    std::stable_sort(row.causes.begin(), row.causes.end(),
                     [](const RowCause& a, const RowCause& b) { return a.total_ns > b.total_ns; });
  }
  for (const Row& row : section.rows) {
    section.totals.count += row.count;
    section.totals.open += row.open;
    section.totals.total_ns += row.total_ns;
    section.totals.queued_ns += row.queued_ns;
    section.totals.open_ns += row.open_ns;
    section.totals.variance_ns2 += row.variance_ns2;
    section.totals.count_variance += row.count_variance;
  }
  std::stable_sort(section.rows.begin(), section.rows.end(),
                   [](const Row& a, const Row& b) { return a.total_ns > b.total_ns; });
  return section;
}

}  // namespace

Section waits(const Profile& profile, GroupBy by, bool all_frames) { return group(profile, by, all_frames, is_wait); }

Section off_cpu(const Profile& profile, GroupBy by, bool all_frames) {
  return group(profile, by, all_frames, [](SampleKind kind) { return kind == SampleKind::off_cpu; });
}

Section on_cpu(const Profile& profile, GroupBy by, bool all_frames) {
  return group(profile, by, all_frames, [](SampleKind kind) { return kind == SampleKind::on_cpu; });
}

Section idle(const Profile& profile, GroupBy by, bool all_frames) {
  return group(profile, by, all_frames, [](SampleKind kind) { return kind == SampleKind::idle; });
}

std::vector<uint32_t> shown_frames(const Profile& profile, const Sample& sample, bool all_frames) {
  return all_frames ? sample.frames : shown(profile, sample.frames, sample.kind == SampleKind::on_cpu);
}

std::vector<uint32_t> shown_frames(const Profile& profile, const std::vector<uint32_t>& frames, bool all_frames) {
  return all_frames ? frames : shown(profile, frames, false);
}

}  // namespace fiberprof
