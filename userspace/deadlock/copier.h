// SPDX-License-Identifier: BSD-2-Clause
// Copies the memory that a process has in use into an image.
#pragma once

#include <algorithm>
#include <atomic>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "deadlock/image.h"
#include "deadlock/used_pages.h"
#include "process/target_memory.h"

namespace fiberprof {

// Finds what is in use, then copies all of it.
class Copier {
 public:
  Copier(std::string label, TargetMemory& memory, Image& image, uint64_t limit)
      : label_(std::move(label)), memory_(memory), image_(image), limit_(limit), pages_(label_) {}

  // Of a live process, for used().
  Result<void> open(uint32_t pid) { return pages_.open(pid); }

  // Only pages that are there: reading others would make them.
  Result<void> used(Range range) {
    return pages_.in(range, [this](Range there) { add(there); });
  }
  void add(Range range) {
    total_ += range.end - range.start;
    if (!ranges_.empty() && ranges_.back().end == range.start)
      ranges_.back().end = range.end;
    else
      ranges_.push_back(range);
  }
  uint64_t total() const { return total_; }
  void clear() {
    ranges_.clear();
    total_ = 0;
  }
  Result<void> within_limit() const {
    if (total_ <= limit_) return {};
    return fail(what(), "it has more than " + std::to_string(limit_ >> 20) + " MiB in use", "raise --memory");
  }

  // By two threads: the kernel copies page by page, which one processor does at a third of what memory can.
  void copy() {
    if (total_ == 0) return;
    if (image_.storage.empty() || image_.storage.back().memory().size() < total_) image_.storage.emplace_back(total_);
    constexpr uint64_t kTask = 4 << 20;
    struct Task {
      Range range;
      char* to;
      bool done;
    };
    std::vector<Task> tasks;
    char* to = image_.storage.back().memory().data();
    for (Range range : ranges_)
      while (range.start < range.end) {
        const uint64_t end = std::min(range.end, range.start + kTask);
        tasks.push_back({{range.start, end}, to, false});
        to += end - range.start;
        range.start = end;
      }
    std::atomic<size_t> next{0};
    const auto work = [&] {
      for (size_t i = 0; (i = next++) < tasks.size();)
        tasks[i].done = memory_.read(tasks[i].range.start, {tasks[i].to, tasks[i].range.end - tasks[i].range.start}) ==
                        ReadStatus::ok;
    };
    if (concurrent_ && tasks.size() > 1) {
      std::thread other(work);
      work();
      other.join();
    } else {
      work();
    }
    for (const Task& task : tasks) {
      if (task.done) {
        keep(task.range, task.to);
        continue;
      }
      // A page that cannot be read where its mapping can is a guard: the program cannot read it either.
      for (uint64_t page = task.range.start; page < task.range.end; page += kPage) {
        char* const place = task.to + (page - task.range.start);
        if (memory_.read(page, {place, kPage}) == ReadStatus::ok) keep({page, page + kPage}, place);
      }
    }
    image_.copied += total_;
    std::sort(image_.pieces.begin(), image_.pieces.end(),
              [](const Piece& a, const Piece& b) { return a.start < b.start; });
  }
  void concurrent() { concurrent_ = true; }

 private:
  std::string what() const { return "cannot copy the memory of " + label_; }
  void keep(Range range, const char* bytes) {
    if (!image_.pieces.empty()) {
      Piece& last = image_.pieces.back();
      if (last.end() == range.start && last.bytes.data() + last.bytes.size() == bytes) {
        last.bytes = {last.bytes.data(), last.bytes.size() + (range.end - range.start)};
        return;
      }
    }
    image_.pieces.push_back({range.start, {bytes, range.end - range.start}});
  }

  std::string label_;
  TargetMemory& memory_;
  Image& image_;
  uint64_t limit_;
  UsedPages pages_;
  std::vector<Range> ranges_;
  uint64_t total_ = 0;
  bool concurrent_ = false;
};

}  // namespace fiberprof
