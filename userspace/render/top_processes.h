// SPDX-License-Identifier: BSD-2-Clause
// The table of `top -a`: a row for each program on fibers, as plain data, and its lines for a given size.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "render/top_layout.h"
#include "render/top_screen.h"

namespace fiberprof {

struct ProcessRow {
  uint64_t serial = 0;  // of the program: a process that replaces itself is another row
  uint32_t pid = 0;
  std::string name;
  std::optional<uint64_t> fibers;                     // none: no readable registry
  uint64_t fibers_age_ns = 0;                         // how long ago they were counted
  bool more_fibers = false;                           // there are more than were counted
  uint64_t blocked_ns = 0, queued_ns = 0, waits = 0;  // within the interval
  double queue = 0;                                   // mean number of runnable fibers, all processors together
  uint64_t kernel_ns = 0;                             // fibers whose worker the kernel had stopped
  bool ended = false;
};

struct ProcessTable {
  std::vector<ProcessRow> rows;
  bool exact = false;
  uint64_t interval_ns = 0, watched_ns = 0;
  uint64_t running = 0, ended = 0;  // programs; those that have ended since the start
  Losses losses;
  std::vector<std::string> warnings;  // the latest last
};

enum class ProcessSort : uint8_t { blocked, waits, kernel, queue, fibers, name };

struct ProcessView {
  ProcessSort sort = ProcessSort::blocked;
  size_t selected = 0, first = 0;
  uint64_t selected_serial = 0;  // of that row: it stays selected when the order changes; 0: the index counts
  bool live = false, paused = false, help = false;
};

// Rows in the order shown.
std::vector<size_t> shown_processes(const ProcessTable& table, const ProcessView& view);

// At most `rows` lines of at most `columns` columns; in a live view exactly `rows`, the last the keys. `view` is
// adjusted so that the selection exists and is visible; the line of a row carries its position in Line::stack.
std::vector<Line> process_layout(const ProcessTable& table, ProcessView& view, size_t columns, size_t rows);
std::vector<Line> process_help(size_t columns, size_t rows);

// One JSON object on one line; times in nanoseconds, over `interval_ns`.
std::string process_json(const ProcessTable& table);

enum class ProcessAction : uint8_t { none, open, quit };
// What a key does; `open`: look at the selected program.
ProcessAction apply_key(ProcessView& view, const KeyPress& press, const ProcessTable& table, size_t rows);

}  // namespace fiberprof
