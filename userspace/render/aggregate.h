// SPDX-License-Identifier: BSD-2-Clause
// A recording grouped for reading: rows by stack, reason, fiber or cause, longest first.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "profile/profile.h"

namespace fiberprof {

enum class GroupBy { stack, reason, fiber, worker, process, waker };

// Of the time of a row, how much had this chain of causes, or one that reads the same.
struct RowCause {
  uint32_t chain = 0;  // index into Profile::chains
  uint64_t count = 0, total_ns = 0;
};

struct Row {
  std::string reason;            // empty when the rows of a group had several
  std::string name;              // of the fiber or its spawned function; GroupBy::waker: who ended the waits
  std::string process;           // "kvd"
  uint32_t pid = 0;              // 0 when the row spans processes
  std::vector<uint32_t> frames;  // GroupBy::stack only; shown frames, innermost first
  uint32_t culprit = 0;          // index into `frames`: the program's function closest to the wait
  uint64_t count = 0;            // waits that ended
  uint64_t open = 0;             // waits still in flight at the end; their time is part of total_ns
  uint64_t total_ns = 0, queued_ns = 0, max_ns = 0, open_ns = 0;
  double variance_ns2 = 0, count_variance = 0;  // sampled: see Sample
  std::vector<uint64_t> histogram;
  std::vector<RowCause> causes;  // GroupBy::waker only; longest first
  uint64_t mean_ns() const { return count + open == 0 ? 0 : total_ns / (count + open); }
};

struct Totals {
  uint64_t count = 0, open = 0, total_ns = 0, queued_ns = 0, open_ns = 0;
  double variance_ns2 = 0, count_variance = 0;
};

struct Section {
  std::vector<Row> rows;
  Totals totals;
};

// What fibers waited for (blocked and open samples), never off-CPU or idle time.
Section waits(const Profile& profile, GroupBy by, bool all_frames);
// Fibers whose worker the kernel took away.
Section off_cpu(const Profile& profile, GroupBy by, bool all_frames);
// What fibers ran, and the scheduler between them.
Section on_cpu(const Profile& profile, GroupBy by, bool all_frames);
// Workers without a fiber: healthy.
Section idle(const Profile& profile, GroupBy by, bool all_frames);

// The function a fiber was spawned with: the program's outermost one.
std::string fiber_of(const Profile& profile, const Sample& sample);

// Frames of a sample or of a stack to show: the runtime's own folded (symbol/runtime_names.h) and the kernel's left out
// (not from what ran there), or all.
std::vector<uint32_t> shown_frames(const Profile& profile, const Sample& sample, bool all_frames);
std::vector<uint32_t> shown_frames(const Profile& profile, const std::vector<uint32_t>& frames, bool all_frames);

}  // namespace fiberprof
