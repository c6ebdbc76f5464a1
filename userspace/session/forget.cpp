// SPDX-License-Identifier: BSD-2-Clause
// Room in the kernel's maps is given back when processes end: without it, an hour of short-lived ones fills them.
#include <set>
#include <tuple>

#include "session/map_reader.h"
#include "session/reader.h"
#include "session/skeleton.h"

namespace fiberprof {
namespace {

// Deletes the entries whose keys are `unwanted`; `kept` sees the other keys. By key only: one system call each.
template <class Key, class Unwanted, class Kept>
void delete_if(const bpf_map* map, Unwanted unwanted, Kept kept) {
  const int fd = bpf_map__fd(map);
  std::vector<Key> doomed;
  Key key{};
  // Entries that come meanwhile can make the walk start over, hence its bound.
  uint64_t left = uint64_t{bpf_map__max_entries(map)} * 2;
  for (int error = bpf_map_get_next_key(fd, nullptr, &key); !error && left-- > 0;) {
    if (unwanted(key))
      doomed.push_back(key);
    else
      kept(key);
    const Key before = key;
    error = bpf_map_get_next_key(fd, &before, &key);
  }
  for (const Key& each : doomed) bpf_map_delete_elem(fd, &each);
}

}  // namespace

void SnapshotReader::forget(const Snapshot& part) {
  std::set<std::pair<uint32_t, StackId>> blocked;
  std::set<std::tuple<uint32_t, StackId, StackId>> off_cpu, on_cpu;
  std::set<uint32_t> queues;
  std::set<std::pair<uint32_t, uint64_t>> queued;
  std::set<StackId> stacks;
  // Links between wake-ups name the kernel's stacks, too, whichever process they were first seen in.
  const bool linked = bpf_map__max_entries(skeleton_.maps.links) > 1;
  const auto add_kernel_stack = [&](StackId id) {
    if (!linked) stacks.insert(id);
  };
  for (const BlockedEntry& entry : part.blocked) {
    blocked.emplace(entry.pid, entry.stack);
    stacks.insert(entry.stack);
  }
  for (const OffCpuEntry& entry : part.off_cpu) {
    off_cpu.emplace(entry.pid, entry.user_stack, entry.kernel_stack);
    stacks.insert(entry.user_stack);
    add_kernel_stack(entry.kernel_stack);
  }
  for (const OnCpuEntry& entry : part.on_cpu) {
    on_cpu.emplace(entry.pid, entry.user_stack, entry.kernel_stack);
    stacks.insert(entry.user_stack);
    add_kernel_stack(entry.kernel_stack);
  }
  for (const QueueEntry& entry : part.queues) queues.insert(entry.pid);
  for (const QueuedEntry& entry : part.queued) queued.emplace(entry.pid, entry.fiber_entry);
  const auto keep = [&](StackId id) { stacks.erase(id); };
  const auto ignore = [](const auto&) {};
  const auto& maps = skeleton_.maps;
  const auto blocked_is_over = [&](const fp_blocked_key& key) { return blocked.count({key.tgid, key.stack}) != 0; };
  const auto keep_blocked = [&](const fp_blocked_key& key) { keep(key.stack); };
  delete_if<fp_blocked_key>(maps.blocked, blocked_is_over, keep_blocked);
  blocked_.forget(blocked_is_over, keep_blocked);
  delete_if<fp_offcpu_key>(
      maps.offcpu,
      [&](const fp_offcpu_key& key) {
        return off_cpu.count({key.tgid, key.user_stack, key.kernel_stack}) != 0;
      },
      [&](const fp_offcpu_key& key) {
        keep(key.user_stack);
        keep(key.kernel_stack);
      });
  delete_if<fp_oncpu_key>(
      maps.oncpu,
      [&](const fp_oncpu_key& key) {
        return on_cpu.count({key.tgid, key.user_stack, key.kernel_stack}) != 0;
      },
      [&](const fp_oncpu_key& key) {
        keep(key.user_stack);
        keep(key.kernel_stack);
      });
  delete_if<fp_queue_key>(
      maps.queues, [&](const fp_queue_key& key) { return queues.count(key.tgid) != 0; }, ignore);
  delete_if<fp_queued_key>(
      maps.queued,
      [&](const fp_queued_key& key) {
        return queued.count({key.tgid, key.fiber_entry}) != 0;
      },
      ignore);
  for (const auto& [pid, histogram] : part.delays) bpf_map_delete_elem(bpf_map__fd(maps.delays), &pid);
  for (const auto& [pid, time] : part.worker_times) bpf_map_delete_elem(bpf_map__fd(maps.worker_times), &pid);
  for (const auto& [pid, counted] : part.counters) bpf_map_delete_elem(bpf_map__fd(maps.counters), &pid);
  uint32_t leaves = 0;
  // A stack that another process has just come to share is stored again by its next event; what is read of it till then
  // is remembered, for it is the same.
  for (const StackId id : stacks) {
    if (!id) continue;
    bpf_map_delete_elem(bpf_map__fd(stacks_with(id)), &id);
    leaves += bpf_map_delete_elem(bpf_map__fd(maps.leaves), &id) == 0;
  }
  stacks_.erase(stacks);
  stacks_at_.clear();
  auto& full = *skeleton_.bss;
  __atomic_sub_fetch(&full.leaves_kept, leaves, __ATOMIC_RELAXED);
  full.blocked_full = full.offcpu_full = full.stacks_full = full.leaves_full = full.queues_full = full.queued_full = 0;
  full.oncpu_full = full.times_full = full.worker_stacks_full = full.deep_stacks_full = 0;
}

}  // namespace fiberprof
