// SPDX-License-Identifier: BSD-2-Clause
#include "session/blocked_reader.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "session/map_reader.h"
#include "session/skeleton.h"

namespace fiberprof {

static_assert(FP_BUCKETS == kHistogramBuckets);

namespace {

double variance_of(const fp_blocked_value& value) {
  return (static_cast<double>(value.variance_high) * 0x1p32 + static_cast<double>(value.variance_low)) * 0x1p20;
}

BlockedEntry entry_of(const fp_blocked_key& key) {
  BlockedEntry entry;
  entry.pid = key.tgid;
  entry.reason = static_cast<uint8_t>(key.reason);
  entry.stack = key.stack;
  entry.chain = key.chain;
  return entry;
}

void add(BlockedEntry& entry, const fp_blocked_value& value) {
  entry.parked_ns += value.parked_ns;
  entry.queued_ns += value.queued_ns;
  entry.events += value.events;
  entry.variance_ns2 += variance_of(value);
  entry.count_variance += static_cast<double>(value.count_variance);
  entry.max_ns = std::max<uint64_t>(entry.max_ns, value.max_ns);
}

size_t bytes_of(uint32_t slots) {
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  return (slots * sizeof(fp_blocked_slot) + page - 1) / page * page;
}

}  // namespace

BlockedReader::~BlockedReader() {
  if (slots_ != nullptr) munmap(const_cast<fp_blocked_slot*>(slots_), bytes_of(slot_count_));
}

Result<void> BlockedReader::open() {
  const auto& maps = skeleton_.maps;
  if (bpf_program__autoload(skeleton_.progs.on_blocked_exact)) return {};
  slot_count_ = bpf_map__max_entries(maps.blocked_slots);
  void* memory = mmap(nullptr, bytes_of(slot_count_), PROT_READ, MAP_SHARED, bpf_map__fd(maps.blocked_slots), 0);
  if (memory == MAP_FAILED) return fail("cannot map the kernel's counts of waits", std::strerror(errno));
  slots_ = static_cast<const fp_blocked_slot*>(memory);
  known_.resize(slot_count_);
  for (uint32_t number = 0; number < slot_count_; ++number)
    if (const int error = bpf_map_update_elem(bpf_map__fd(maps.free_slots), nullptr, &number, BPF_ANY))
      return fail("cannot make the list of free slots", std::strerror(-error));
  return {};
}

Result<void> BlockedReader::read(Snapshot& snapshot) {
  snapshot.blocked.reserve(entries_ + entries_ / 8);
  Result<void> done;
  if (slots_ != nullptr)
    read_slots(snapshot);
  else
    done = read_per_cpu(snapshot);
  entries_ = snapshot.blocked.size();
  return done;
}

uint32_t BlockedReader::used() const {
  // The list gives them out in their order, as long as none has come back.
  return static_cast<uint32_t>(
      std::min<uint64_t>(__atomic_load_n(&skeleton_.bss->slots_taken, __ATOMIC_ACQUIRE), slot_count_));
}

void BlockedReader::read_slots(Snapshot& snapshot) {
  for (uint32_t number = 0, end = used(); number < end; ++number) {
    const fp_blocked_slot& slot = slots_[number];
    BlockedEntry& known = known_[number];
    // The kernel side adds to it last: if it is the same, all else was there when it was read.
    const uint64_t events = __atomic_load_n(&slot.value.events, __ATOMIC_ACQUIRE);
    if (events == 0) continue;
    if (events != known.events) {
      known = entry_of(slot.key);
      add(known, slot.value);
      known.events = events;
      known.parked = DurationHistogram(slot.value.histogram);
      known.count = known.parked.sum();
    }
    snapshot.blocked.push_back(known);
  }
}

Result<void> BlockedReader::read_per_cpu(Snapshot& snapshot) {
  return read_map<fp_blocked_key, fp_blocked_value>(skeleton_.maps.blocked, cpus_,
                                                    [&](const fp_blocked_key& key, const fp_blocked_value* values) {
                                                      BlockedEntry entry = entry_of(key);
                                                      Histogram parked{};
                                                      for (int cpu = 0; cpu < cpus_; ++cpu) {
                                                        add(entry, values[cpu]);
                                                        for (size_t i = 0; i < parked.size(); ++i)
                                                          parked[i] += values[cpu].histogram[i];
                                                      }
                                                      if (entry.events == 0) return;
                                                      entry.parked = parked;
                                                      entry.count = entry.parked.sum();
                                                      snapshot.blocked.push_back(std::move(entry));
                                                    });
}

void BlockedReader::forget(const std::function<bool(const fp_blocked_key&)>& unwanted,
                           const std::function<void(const fp_blocked_key&)>& kept) {
  if (slots_ == nullptr) return;
  const auto& maps = skeleton_.maps;
  static const fp_blocked_slot kFree{};
  for (uint32_t number = 0, end = used(); number < end; ++number) {
    const fp_blocked_key key = slots_[number].key;
    if (key.tgid == 0) continue;
    if (!unwanted(key)) {
      kept(key);
      continue;
    }
    // Else it is being taken right now, and not this one's yet.
    uint32_t owned = 0;
    if (bpf_map_lookup_elem(bpf_map__fd(maps.slot_of), &key, &owned) != 0 || owned != number) continue;
    bpf_map_delete_elem(bpf_map__fd(maps.slot_of), &key);
    bpf_map_update_elem(bpf_map__fd(maps.blocked_slots), &number, &kFree, BPF_ANY);
    known_[number] = {};
    bpf_map_update_elem(bpf_map__fd(maps.free_slots), nullptr, &number, BPF_ANY);
  }
}

}  // namespace fiberprof
