// SPDX-License-Identifier: BSD-2-Clause
#include "session/asleep.h"

#include <bpf/bpf.h>
#include <fiberprof/registry.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <memory>
#include <set>
#include <string_view>
#include <vector>

#include "process/target_memory.h"
#include "session/reader.h"
#include "session/skeleton.h"
#include "support/unique_fd.h"

namespace fiberprof {
namespace {

// Of the stack, from its innermost end on. What is further out is cut.
constexpr size_t kMaxStackBytes = 65536;
constexpr size_t kPage = 4096;
// A worker that has run between two visits is not asleep for good.
constexpr int kVisits = 4;

Result<std::vector<fp_asleep>> visit(const bpf_link& link) {
  const UniqueFd iterator(bpf_iter_create(bpf_link__fd(&link)));
  if (iterator.get() < 0) return fail("cannot visit the threads of this machine", std::strerror(errno));
  std::vector<fp_asleep> found;
  std::vector<char> bytes;
  char block[64 * sizeof(fp_asleep)];
  for (ssize_t got; (got = ::read(iterator.get(), block, sizeof block)) != 0;) {
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (got < 0) return fail("cannot visit the threads of this machine", std::strerror(errno));
    bytes.insert(bytes.end(), block, block + got);
  }
  found.resize(bytes.size() / sizeof(fp_asleep));
  if (!found.empty()) std::memcpy(found.data(), bytes.data(), found.size() * sizeof(fp_asleep));
  return found;
}

std::unique_ptr<LeafSnapshot> leaf_of(const fp_asleep& worker, TargetMemory& memory) {
  auto leaf = std::make_unique<LeafSnapshot>();
  leaf->ip = worker.ip;
  leaf->sp = worker.sp;
  leaf->fp = worker.fp;
  leaf->lr = worker.lr;
  leaf->from = worker.fp;
  leaf->stack.resize(kMaxStackBytes);
  size_t length = 0;
  // Page by page: the next one may be beyond the end of the stack.
  while (length < kMaxStackBytes) {
    const size_t piece = std::min<size_t>(kPage - (worker.sp + length) % kPage, kMaxStackBytes - length);
    if (memory.read(worker.sp + length, {reinterpret_cast<char*>(leaf->stack.data()) + length, piece}) !=
        ReadStatus::ok)
      break;
    length += piece;
  }
  leaf->stack.resize(length);
  return leaf;
}

// By frame pointers, from the registers on; the inner end is completed with unwind tables, as that of any stack.
std::vector<uint64_t> chain_of(const LeafSnapshot& leaf) {
  std::vector<uint64_t> frames{leaf.ip};
  for (uint64_t record = leaf.fp; frames.size() < FP_MAX_FRAMES;) {
    uint64_t words[2];  // the caller's frame record, the return address
    if (record < leaf.sp || record % 8 != 0 || leaf.stack.size() < sizeof words ||
        record - leaf.sp > leaf.stack.size() - sizeof words)
      break;
    std::memcpy(words, leaf.stack.data() + (record - leaf.sp), sizeof words);
    if (words[1] == 0) break;
    frames.push_back(words[1]);
    if (words[0] <= record) break;
    record = words[0];
  }
  return frames;
}

// The same stack has another key than when the kernel side finds it; a report puts equal stacks together.
StackId key_of(const fp_asleep& worker) {
  const uint64_t words[] = {worker.tgid, worker.tid, worker.switches, worker.ip, worker.sp};
  const std::string_view bytes(reinterpret_cast<const char*>(words), sizeof words);
  return std::hash<std::string_view>()(bytes) | FP_KEY_WORKER;
}

}  // namespace

Result<AsleepWorkers> AsleepWorkers::open(const fiberprof_bpf& skeleton, const FiberSelection& fibers,
                                          SnapshotReader& reader) {
  UniqueLink link(bpf_program__attach_iter(skeleton.progs.on_task, nullptr));
  if (!link) return fail("cannot look for workers that sleep", std::strerror(errno));
  return AsleepWorkers(skeleton, fibers, reader, std::move(link));
}

Result<void> AsleepWorkers::note() const {
  std::set<uint32_t> told;
  std::map<uint32_t, std::unique_ptr<TargetMemory>> memories;
  for (int i = 0; i < kVisits; ++i) {
    const auto found = visit(*link_);
    if (!found) return tl::unexpected(found.error());
    if (found->empty()) break;
    for (const fp_asleep& worker : *found) {
      auto& memory = memories[worker.tgid];
      if (!memory) memory = live_memory(worker.tgid);
      struct {
        uint64_t current_fiber, fiber_entry, fiber;
      } record{};
      if (memory->read_value(worker.record + offsetof(fiberprof_worker, current_fiber), record) != ReadStatus::ok)
        continue;
      char name[FIBERPROF_NAME_SIZE] = {};
      if (record.current_fiber && record.fiber) {
        (void)memory->read_value(record.fiber + offsetof(fiberprof_fiber, entry), record.fiber_entry);
        (void)memory->read_value(record.fiber + offsetof(fiberprof_fiber, name), name);
      }
      fp_asleep_on on{};
      on.switches = worker.switches;
      on.fiber = record.current_fiber;
      on.fiber_entry = record.current_fiber ? record.fiber_entry : 0;
      on.unwanted = fibers_->is_for_all() ? 0
                    : !on.fiber           ? 1
                                : !fibers_->wants(worker.tgid, on.fiber_entry, {name, strnlen(name, sizeof name)});
      if (on.fiber && !on.unwanted) {
        on.user_stack = key_of(worker);
        auto leaf = leaf_of(worker, *memory);
        auto chain = chain_of(*leaf);
        reader_->add_stack(on.user_stack, std::move(chain), std::move(leaf));
      }
      if (bpf_map__update_elem(skeleton_->maps.asleep, &worker.tid, sizeof worker.tid, &on, sizeof on, BPF_ANY) == 0)
        told.insert(worker.tid);
    }
  }
  for (const uint32_t tid : told) bpf_map__delete_elem(skeleton_->maps.asleep, &tid, sizeof tid, 0);
  return {};
}

}  // namespace fiberprof
