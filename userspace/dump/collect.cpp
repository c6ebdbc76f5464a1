// SPDX-License-Identifier: BSD-2-Clause
#include "dump/collect.h"

#include <fiberprof/registry.h>

#include <algorithm>
#include <cstring>

#include "process/core_file.h"
#include "support/text.h"

namespace fiberprof {
namespace {

constexpr size_t kBatch = 1024;
constexpr size_t kMaxFrames = 128;
// What a process may make us hold.
constexpr size_t kMaxFibers = 2U << 20;
constexpr size_t kMaxGroups = 1U << 20;
constexpr size_t kMaxObjects = 4U << 20;
constexpr uint64_t kMaxArmBytes = 512U << 20;  // of all selects

bool older(const CollectedFiber& a, const CollectedFiber& b) {
  return a.age_ns != b.age_ns ? a.age_ns > b.age_ns : a.info.id < b.info.id;
}

bool waits_for_object(const FiberInfo& fiber) {
  return fiber.state == FIBERPROF_FIBER_PARKED && object_kind_of(fiber.reason) != 0 && fiber.resource != 0;
}

class Collector {
 public:
  Collector(DumpSource& source, const DumpOptions& options)
      : source_(source), options_(options), stacks_(*source.view) {}

  Result<Collection> run() {
    result_.state_counts.resize(256);
    result_.reason_counts.resize(256);
    const auto torn = source_.view->fibers(
        [this](const FiberInfo& fiber) {
          batch_.push_back(fiber);
          if (batch_.size() == kBatch) flush();
        },
        UINT64_MAX);
    if (!torn) return tl::unexpected(torn.error());
    flush();
    result_.torn = *torn;
    result_.unfinished = stacks_.unfinished();
    std::sort(result_.fibers.begin(), result_.fibers.end(), older);
    cut_fibers();
    std::sort(result_.slots.begin(), result_.slots.end());
    auto summary = source_.view->summary();
    if (!summary) return tl::unexpected(summary.error());
    for (const WorkerInfo& worker : summary->workers)
      if (worker.current_fiber != 0) result_.workers[worker.current_fiber] = worker.tid;
    return std::move(result_);
  }

 private:
  bool chosen(const FiberInfo& fiber, uint64_t age_ns) const {
    const DumpFilter& filter = options_.filter;
    return (!filter.state || *filter.state == fiber.state) && (!filter.reason || *filter.reason == fiber.reason) &&
           age_ns >= filter.older_ns && (!filter.fiber_id || *filter.fiber_id == fiber.id) &&
           (filter.fiber_name.empty() || filter.fiber_name == sanitize(fiber.name));
  }

  void flush() {
    arms_.assign(batch_.size(), {});
    const bool want_arms = options_.by != DumpBy::group;
    for (size_t i = 0; i < batch_.size() && want_arms; ++i)
      if (batch_[i].reason == FIBERPROF_REASON_SELECT) arms_[i] = arms_of(batch_[i]);
    stacks_.read(batch_, kMaxFrames,
                 [this](size_t i, std::span<const uint64_t> frames) { take(batch_[i], frames, arms_[i]); });
    batch_.clear();
  }

  std::vector<ArmInfo> arms_of(const FiberInfo& fiber) {
    const uint64_t bytes = uint64_t{fiber.arms_len} * source_.view->layout().head.arm_size;
    if (bytes > arm_bytes_left_) return {};
    arm_bytes_left_ -= bytes;
    return source_.view->arms(fiber);
  }

  void take(const FiberInfo& fiber, std::span<const uint64_t> frames, std::vector<ArmInfo>& arms) {
    ++result_.seen;
    ++result_.state_counts[fiber.state];
    if (fiber.state == FIBERPROF_FIBER_PARKED) ++result_.reason_counts[fiber.reason];
    result_.slots.emplace_back(fiber.id, fiber.slot);
    if (frames.empty() && fiber.state == FIBERPROF_FIBER_PARKED) ++result_.without_stack;
    if (fiber.shared_len != 0) count_readers(fiber);
    if (frames.empty()) arms.clear();  // it ran meanwhile: they may be anything
    if (options_.by != DumpBy::group) count_waits(fiber, arms);
    const uint64_t age_ns = source_.now_ns > fiber.since_ns ? source_.now_ns - fiber.since_ns : 0;
    if (!chosen(fiber, age_ns)) return;
    ++result_.chosen;
    const uint32_t stack = result_.stacks.number(frames);
    switch (options_.by) {
      case DumpBy::fiber:
        keep(fiber, age_ns, stack, arms);
        return;
      case DumpBy::group:
        add(fiber, age_ns, {stack, fiber.state, fiber.reason, fiber.creator_pc, 0},
            waits_for_object(fiber) ? fiber.resource : 0);
        return;
      case DumpBy::channel:
      case DumpBy::object:
        // By the reason of the arm: who selects on a channel waits to send to it or to receive from it.
        for (const ArmInfo& arm : arms)
          if (arm.resource != 0)
            add(fiber, age_ns, {stack, fiber.state, static_cast<uint8_t>(arm.reason), 0, arm.resource}, arm.resource);
        if (waits_for_object(fiber) &&
            (options_.by == DumpBy::object || object_kind_of(fiber.reason) == FIBERPROF_OBJECT_CHANNEL))
          add(fiber, age_ns, {stack, fiber.state, fiber.reason, 0, fiber.resource}, fiber.resource);
        return;
    }
  }

  void count_waits(const FiberInfo& fiber, const std::vector<ArmInfo>& arms) {
    const auto count = [&](uint64_t object, uint32_t reason) {
      if (object == 0 || (result_.waits.size() >= kMaxObjects && !result_.waits.contains(object))) return;
      WaitCount& waits = result_.waits[object];
      waits.reason = static_cast<uint8_t>(reason);
      ++(reason == FIBERPROF_REASON_CHAN_SEND ? waits.senders : waits.others);
    };
    if (waits_for_object(fiber)) count(fiber.resource, fiber.reason);
    for (const ArmInfo& arm : arms) count(arm.resource, arm.reason);
  }

  void count_readers(const FiberInfo& fiber) {
    for (const uint64_t lock : fiber.shared) {
      if (lock == 0 || (result_.readers.size() >= kMaxGroups && !result_.readers.contains(lock))) continue;
      std::vector<uint64_t>& readers = result_.readers[lock];
      if (readers.size() < DumpGroup::kMost) readers.push_back(fiber.id);
    }
  }

  void keep(const FiberInfo& fiber, uint64_t age_ns, uint32_t stack, std::vector<ArmInfo>& arms) {
    if (result_.fibers.size() >= kMaxFibers) {
      ++result_.not_kept;
      return;
    }
    result_.fibers.push_back({fiber, age_ns, stack, std::move(arms)});
    if (options_.rows != 0 && result_.fibers.size() >= 2 * options_.rows + kBatch) {
      std::nth_element(result_.fibers.begin(), result_.fibers.begin() + static_cast<ptrdiff_t>(options_.rows),
                       result_.fibers.end(), older);
      cut_fibers();
    }
  }

  void cut_fibers() {
    if (options_.rows != 0 && result_.fibers.size() > options_.rows) result_.fibers.resize(options_.rows);
  }

  void add(const FiberInfo& fiber, uint64_t age_ns, const GroupKey& key, uint64_t object) {
    auto found = result_.groups.find(key);
    if (found == result_.groups.end()) {
      if (result_.groups.size() >= kMaxGroups) {
        ++result_.not_kept;
        return;
      }
      found = result_.groups.try_emplace(key).first;
    }
    DumpGroup& group = found->second;
    group.stack = key.stack;
    group.state = key.state;
    group.reason = key.reason;
    group.creator_pc = fiber.creator_pc;
    group.add(fiber, age_ns, object);
  }

  DumpSource& source_;
  const DumpOptions& options_;
  StackReader stacks_;
  std::vector<FiberInfo> batch_;
  uint64_t arm_bytes_left_ = kMaxArmBytes;
  std::vector<std::vector<ArmInfo>> arms_;
  Collection result_;
};

}  // namespace

void DumpGroup::add(const FiberInfo& fiber, uint64_t age_ns, uint64_t object) {
  if (count == 0) name = fiber.name;
  if (one_name && name != fiber.name) one_name = false;
  if (count == 0 || age_ns > oldest_ns) {
    oldest_ns = age_ns;
    oldest_id = fiber.id;
  }
  youngest_ns = count == 0 ? age_ns : std::min(youngest_ns, age_ns);
  ++count;
  if (ids.size() < kMost) ids.push_back(fiber.id);
  if (object != 0 && objects.size() <= kMost && !std::ranges::count(objects, object)) objects.push_back(object);
}

void DumpGroup::add(const DumpGroup& more) {
  if (count == 0) {
    *this = more;
    return;
  }
  one_name &= more.one_name && name == more.name;
  if (more.oldest_ns > oldest_ns) {
    oldest_ns = more.oldest_ns;
    oldest_id = more.oldest_id;
  }
  youngest_ns = std::min(youngest_ns, more.youngest_ns);
  count += more.count;
  for (const uint64_t id : more.ids)
    if (ids.size() < kMost) ids.push_back(id);
  for (const uint64_t object : more.objects)
    if (objects.size() <= kMost && !std::ranges::count(objects, object)) objects.push_back(object);
}

Result<Collection> collect(DumpSource& source, const DumpOptions& options) { return Collector(source, options).run(); }

}  // namespace fiberprof
