// SPDX-License-Identifier: BSD-2-Clause
#include "process/registry_view.h"

#include <fiberprof/registry.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <unordered_set>

#include "process/proc.h"
#include "process/registry_layout.h"
#include "process/stacks.h"

namespace fiberprof {
namespace {

// One read of fiber slots: large enough that system calls do not count, small enough to stay in the cache.
constexpr size_t kChunkBytes = 256 * 1024;
constexpr int kTornRetries = 3;

class View final : public RegistryView {
 public:
  View(std::unique_ptr<TargetMemory> memory, uint64_t address) : memory_(std::move(memory)), address_(address) {}

  Result<void> load();
  Result<RegistrySummary> summary() override;
  Result<uint64_t> fibers(const std::function<void(const FiberInfo&)>& visit, uint64_t limit) override;
  Result<uint64_t> glance(const std::function<void(const FiberGlance&)>& visit, uint64_t limit) override;
  std::vector<uint64_t> stack(const FiberInfo& fiber, size_t max_frames) override;
  std::vector<ArmInfo> arms(const FiberInfo& fiber) override;
  std::optional<FiberInfo> again(const FiberInfo& fiber) override;
  const RegistryLayout& layout() const override { return layout_; }
  TargetMemory& memory() override { return *memory_; }
  uint64_t address() const override { return address_; }

 private:
  tl::unexpected<Error> error(ReadStatus status) const;
  // Reads `count` structures of `size` bytes behind an array of pointers; calls visit(bytes) for each that is there.
  template <class Visit>
  Result<void> each_behind(uint64_t array, uint32_t count, uint32_t size, Visit visit);
  uint64_t entry_of(uint64_t fiber) const;
  // Calls visit(address, count) for runs of fiber slots; ends when it returns a failure.
  Result<void> each_run(const std::function<Result<void>(uint64_t, size_t)>& visit);
  bool is_live(const char* slot) const;
  FiberInfo fiber_of(const char* slot, uint64_t address) const;
  bool read_stable(uint64_t address, std::vector<char>& slot, bool& switching);

  std::unique_ptr<TargetMemory> memory_;
  uint64_t address_;
  RegistryLayout layout_;
};

tl::unexpected<Error> View::error(ReadStatus status) const {
  const std::string what = "cannot read the fibers of " + memory_->label();
  switch (status) {
    case ReadStatus::gone:
      return fail(what, "it has ended");
    case ReadStatus::not_permitted:
      return fail(what, "not permitted", permission_hint());
    default:
      return fail(what, "its registry points outside its memory");
  }
}

Result<void> View::load() {
  std::vector<char> bytes(sizeof(fiberprof_registry));
  ReadStatus status = memory_->read(address_, bytes);
  if (status == ReadStatus::fault) {
    // An older runtime with fewer fields may end close to the end of its memory.
    bytes.resize(offsetof(fiberprof_registry, fields));
    status = memory_->read(address_, bytes);
  }
  if (status != ReadStatus::ok) return error(status);
  auto layout = RegistryLayout::parse(bytes.data(), bytes.size());
  if (!layout) return fail("cannot read the fibers of " + memory_->label(), layout.error().why);
  layout_ = *layout;
  return {};
}

template <class Visit>
Result<void> View::each_behind(uint64_t array, uint32_t count, uint32_t size, Visit visit) {
  if (count == 0) return {};
  std::vector<uint64_t> addresses(count);
  const ReadStatus status =
      memory_->read(array, {reinterpret_cast<char*>(addresses.data()), addresses.size() * sizeof(uint64_t)});
  if (status != ReadStatus::ok) return error(status);
  constexpr size_t kBatch = 1024;
  std::vector<char> bytes(std::min<size_t>(count, kBatch) * size);
  const auto ok = std::make_unique<bool[]>(kBatch);
  for (size_t begin = 0; begin < count; begin += kBatch) {
    const auto batch = std::span(addresses).subspan(begin, std::min<size_t>(kBatch, count - begin));
    const ReadStatus batch_status = memory_->read_many(batch, size, bytes.data(), ok.get());
    if (batch_status != ReadStatus::ok) return error(batch_status);
    for (size_t i = 0; i < batch.size(); ++i)
      if (ok[i]) visit(bytes.data() + i * size, batch[i]);
  }
  return {};
}

Result<RegistrySummary> View::summary() {
  if (auto loaded = load(); !loaded) return tl::unexpected(loaded.error());
  const fiberprof_registry& head = layout_.head;
  RegistrySummary summary;
  summary.clock_ns = head.clock_ns;
  summary.fibers_created = head.fibers_created;
  summary.global_queue_depth = head.global_queue_depth;
  summary.start_ns = head.start_ns;
  auto read = each_behind(head.processors, head.processor_count, head.processor_size, [&](const char* bytes, uint64_t) {
    const auto number = [&](fiberprof_field_index field) { return layout_.number(bytes, field); };
    ProcessorInfo info;
    info.index = static_cast<uint32_t>(number(FIBERPROF_FIELD_processor_index));
    info.state = static_cast<uint32_t>(number(FIBERPROF_FIELD_processor_state));
    info.worker = static_cast<uint32_t>(number(FIBERPROF_FIELD_processor_worker));
    info.queue_depth = static_cast<uint32_t>(number(FIBERPROF_FIELD_processor_queue_depth));
    info.current_fiber = number(FIBERPROF_FIELD_processor_current_fiber);
    info.switches = number(FIBERPROF_FIELD_processor_switches);
    info.steals = number(FIBERPROF_FIELD_processor_steals);
    const fiberprof_field parks = layout_.where(FIBERPROF_FIELD_processor_parks);
    info.parks.resize(parks.size / sizeof(uint64_t));
    if (!info.parks.empty()) std::memcpy(info.parks.data(), bytes + parks.offset, info.parks.size() * sizeof(uint64_t));
    summary.processors.push_back(std::move(info));
  });
  if (!read) return tl::unexpected(read.error());
  read = each_behind(head.workers, head.worker_count, head.worker_size, [&](const char* bytes, uint64_t address) {
    const auto number = [&](fiberprof_field_index field) { return layout_.number(bytes, field); };
    WorkerInfo info;
    info.tid = static_cast<uint32_t>(number(FIBERPROF_FIELD_worker_tid));
    if (info.tid == 0) return;
    info.record = address;
    info.processor = static_cast<uint32_t>(number(FIBERPROF_FIELD_worker_processor));
    info.current_fiber = number(FIBERPROF_FIELD_worker_current_fiber);
    info.fiber_entry = number(FIBERPROF_FIELD_worker_fiber_entry);
    info.fiber = number(FIBERPROF_FIELD_worker_fiber);
    info.stack_top = number(FIBERPROF_FIELD_worker_stack_top);
    info.idle = number(FIBERPROF_FIELD_worker_idle) != 0;
    summary.workers.push_back(info);
  });
  if (!read) return tl::unexpected(read.error());
  if (!layout_.has(FIBERPROF_FIELD_worker_fiber_entry))
    for (WorkerInfo& worker : summary.workers)
      if (worker.current_fiber != 0) worker.fiber_entry = entry_of(worker.fiber);
  return summary;
}

// The spawned function of the fiber whose record is said to be at `fiber`; 0: cannot be read.
uint64_t View::entry_of(uint64_t fiber) const {
  const fiberprof_field entry = layout_.where(FIBERPROF_FIELD_fiber_entry);
  uint64_t value = 0;
  if (fiber == 0 || entry.size != sizeof value) return 0;
  const ReadStatus status = memory_->read(fiber + entry.offset, {reinterpret_cast<char*>(&value), sizeof value});
  return status == ReadStatus::ok ? value : 0;
}

FiberInfo View::fiber_of(const char* slot, uint64_t address) const {
  const auto number = [&](fiberprof_field_index field) { return layout_.number(slot, field); };
  FiberInfo info;
  info.id = number(FIBERPROF_FIELD_fiber_id);
  info.state = static_cast<uint8_t>(number(FIBERPROF_FIELD_fiber_state));
  info.reason = static_cast<uint8_t>(number(FIBERPROF_FIELD_fiber_reason));
  info.resource = number(FIBERPROF_FIELD_fiber_resource);
  info.since_ns = number(FIBERPROF_FIELD_fiber_since);
  info.sp = number(FIBERPROF_FIELD_fiber_sp);
  info.switches = number(FIBERPROF_FIELD_fiber_switches);
  info.processor = static_cast<uint32_t>(number(FIBERPROF_FIELD_fiber_processor));
  info.worker = static_cast<uint32_t>(number(FIBERPROF_FIELD_fiber_worker));
  info.stack_low = number(FIBERPROF_FIELD_fiber_stack_low);
  info.stack_high = number(FIBERPROF_FIELD_fiber_stack_high);
  info.entry = number(FIBERPROF_FIELD_fiber_entry);
  info.creator_pc = number(FIBERPROF_FIELD_fiber_creator_pc);
  info.parent = number(FIBERPROF_FIELD_fiber_parent);
  info.name = layout_.text(slot, FIBERPROF_FIELD_fiber_name);
  info.slot = address;
  info.shared_len = static_cast<uint32_t>(number(FIBERPROF_FIELD_fiber_shared_len));
  const fiberprof_field shared = layout_.where(FIBERPROF_FIELD_fiber_shared);
  std::memcpy(info.shared.data(), slot + shared.offset, std::min<size_t>(shared.size, sizeof info.shared));
  if (info.state == FIBERPROF_FIBER_PARKED) {
    info.deadline_ns = number(FIBERPROF_FIELD_fiber_deadline);
    info.context = number(FIBERPROF_FIELD_fiber_context);
    info.arms = number(FIBERPROF_FIELD_fiber_arms);
    info.arms_len = static_cast<uint32_t>(number(FIBERPROF_FIELD_fiber_arms_len));
  }
  if (info.state == FIBERPROF_FIBER_RUNNING || info.state == FIBERPROF_FIBER_BLOCKING) info.sp = 0;
  if (info.state != FIBERPROF_FIBER_PARKED) info.reason = 0;
  return info;
}

// One slot that changed while its chunk was read. False: it is being rewritten for another fiber again and again.
// `switching`: it is one fiber, but one that leaves or enters its processor right now.
bool View::read_stable(uint64_t address, std::vector<char>& slot, bool& switching) {
  std::vector<char> again(slot.size());
  for (int attempt = 0; attempt < kTornRetries; ++attempt) {
    if (memory_->read(address, slot) != ReadStatus::ok || memory_->read(address, again) != ReadStatus::ok) return false;
    const auto same = [&](fiberprof_field_index field) {
      return layout_.number(slot.data(), field) == layout_.number(again.data(), field);
    };
    switching = slot != again;
    if (!switching) break;
    if (attempt + 1 == kTornRetries && !(same(FIBERPROF_FIELD_fiber_id) && same(FIBERPROF_FIELD_fiber_sequence)))
      return false;
  }
  return layout_.number(slot.data(), FIBERPROF_FIELD_fiber_sequence) % 2 == 0;
}

Result<void> View::each_run(const std::function<Result<void>(uint64_t, size_t)>& visit) {
  if (auto loaded = load(); !loaded) return loaded;
  const fiberprof_registry& head = layout_.head;
  std::vector<uint64_t> slabs(head.fibers_per_slab == 0 ? 0 : head.fiber_slab_count);
  if (!slabs.empty()) {
    const ReadStatus status =
        memory_->read(head.fiber_slabs, {reinterpret_cast<char*>(slabs.data()), slabs.size() * sizeof(uint64_t)});
    if (status != ReadStatus::ok) return error(status);
  }
  const size_t per_run = std::max<size_t>(1, kChunkBytes / head.fiber_size);
  std::unordered_set<uint64_t> seen_slabs;
  for (const uint64_t slab : slabs) {
    if (!seen_slabs.insert(slab).second) continue;  // a lie: slabs never repeat
    for (size_t begin = 0; begin < head.fibers_per_slab; begin += per_run) {
      const size_t count = std::min<size_t>(per_run, head.fibers_per_slab - begin);
      if (auto done = visit(slab + begin * head.fiber_size, count); !done) return done;
    }
  }
  return {};
}

bool View::is_live(const char* slot) const {
  const uint64_t state = layout_.number(slot, FIBERPROF_FIELD_fiber_state);
  return state != FIBERPROF_FIBER_FREE && state < FIBERPROF_FIBER_DEAD &&
         layout_.number(slot, FIBERPROF_FIELD_fiber_id) != 0;
}

Result<uint64_t> View::fibers(const std::function<void(const FiberInfo&)>& visit, uint64_t limit) {
  std::vector<char> first, second, single;
  uint64_t torn = 0, visited = 0;
  auto done = each_run([&](uint64_t address, size_t count) -> Result<void> {
    if (visited == limit) return {};
    const size_t slot_size = layout_.head.fiber_size;
    single.resize(slot_size);
    // An entry that is the same in two reads, one after the other, was not torn in either: whatever rewrites a slot
    // changes its sequence or its switches for good.
    for (auto* bytes : {&first, &second}) {
      bytes->resize(count * slot_size);
      const ReadStatus status = memory_->read(address, *bytes);
      if (status != ReadStatus::ok) return error(status);
    }
    for (size_t i = 0; i < count && visited < limit; ++i) {
      const char* slot = second.data() + i * slot_size;
      bool switching = false;
      const uint64_t sequence = layout_.number(slot, FIBERPROF_FIELD_fiber_sequence);
      if (sequence % 2 != 0 || std::memcmp(first.data() + i * slot_size, slot, slot_size) != 0) {
        if (!read_stable(address + i * slot_size, single, switching)) {
          ++torn;
          continue;
        }
        slot = single.data();
      }
      if (!is_live(slot)) continue;
      ++visited;
      FiberInfo info = fiber_of(slot, address + i * slot_size);
      if (switching) info.sp = 0;
      visit(info);
    }
    return {};
  });
  if (!done) return tl::unexpected(done.error());
  return torn;
}

Result<uint64_t> View::glance(const std::function<void(const FiberGlance&)>& visit, uint64_t limit) {
  std::vector<char> slots;
  uint64_t rewritten = 0, visited = 0;
  auto done = each_run([&](uint64_t address, size_t count) -> Result<void> {
    if (visited == limit) return {};
    const size_t slot_size = layout_.head.fiber_size;
    slots.resize(count * slot_size);
    const ReadStatus status = memory_->read(address, slots);
    if (status != ReadStatus::ok) return error(status);
    for (size_t i = 0; i < count && visited < limit; ++i) {
      const char* slot = slots.data() + i * slot_size;
      if (layout_.number(slot, FIBERPROF_FIELD_fiber_sequence) % 2 != 0) {
        ++rewritten;
        continue;
      }
      if (!is_live(slot)) continue;
      ++visited;
      FiberGlance fiber;
      fiber.state = static_cast<uint8_t>(layout_.number(slot, FIBERPROF_FIELD_fiber_state));
      fiber.reason = static_cast<uint8_t>(layout_.number(slot, FIBERPROF_FIELD_fiber_reason));
      fiber.since_ns = layout_.number(slot, FIBERPROF_FIELD_fiber_since);
      fiber.entry = layout_.number(slot, FIBERPROF_FIELD_fiber_entry);
      if (fiber.state == FIBERPROF_FIBER_PARKED)
        fiber.deadline_ns = layout_.number(slot, FIBERPROF_FIELD_fiber_deadline);
      visit(fiber);
    }
    return {};
  });
  if (!done) return tl::unexpected(done.error());
  return rewritten;
}

std::vector<uint64_t> View::stack(const FiberInfo& fiber, size_t max_frames) {
  std::vector<uint64_t> stack;
  StackReader(*this).read({&fiber, 1}, max_frames, [&](size_t, std::span<const uint64_t> frames) {
    stack.assign(frames.begin(), frames.end());
  });
  return stack;
}

std::vector<ArmInfo> View::arms(const FiberInfo& fiber) {
  constexpr uint32_t kMaxArms = 65'536;
  const size_t size = layout_.head.arm_size;
  constexpr size_t kMostBytes = 16 << 20;
  if (fiber.arms == 0 || fiber.arms_len == 0 || fiber.arms_len > kMaxArms || size * fiber.arms_len > kMostBytes)
    return {};
  std::vector<char> bytes(size * fiber.arms_len);
  if (memory_->read(fiber.arms, bytes) != ReadStatus::ok) return {};
  std::vector<ArmInfo> arms(fiber.arms_len);
  for (size_t i = 0; i < arms.size(); ++i) {
    arms[i].resource = layout_.number(bytes.data() + i * size, FIBERPROF_FIELD_arm_resource);
    arms[i].reason = static_cast<uint32_t>(layout_.number(bytes.data() + i * size, FIBERPROF_FIELD_arm_reason));
  }
  return arms;
}

std::optional<FiberInfo> View::again(const FiberInfo& fiber) {
  std::vector<char> slot(layout_.head.fiber_size);
  bool switching = false;
  if (!read_stable(fiber.slot, slot, switching) || !is_live(slot.data())) return {};
  FiberInfo info = fiber_of(slot.data(), fiber.slot);
  if (info.id != fiber.id) return {};
  if (switching) info.sp = 0;
  return info;
}

}  // namespace

Result<std::unique_ptr<RegistryView>> RegistryView::open(std::unique_ptr<TargetMemory> memory, uint64_t address) {
  auto view = std::make_unique<View>(std::move(memory), address);
  if (auto loaded = view->load(); !loaded) return tl::unexpected(loaded.error());
  return view;
}

Result<std::unique_ptr<RegistryView>> RegistryView::open(uint32_t pid, uint64_t address) {
  return open(live_memory(pid), address);
}

}  // namespace fiberprof
