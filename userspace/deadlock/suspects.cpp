// SPDX-License-Identifier: BSD-2-Clause
#include "deadlock/suspects.h"

#include <fiberprof/registry.h>

#include <algorithm>
#include <cstring>

#include "process/stacks.h"

namespace fiberprof {
namespace {

constexpr size_t kBatch = 1024;
constexpr size_t kMaxFrames = 128;
// What is looked into for contexts: the fibers of one stack, of all of them, and of each the inner end of its stack.
constexpr size_t kOfGroup = 8, kFibers = 512;
constexpr uint64_t kStackBytes = 32 * 1024;
constexpr int kDeepest = 64;  // contexts above one another

}  // namespace

SuspectLook Suspects::read(const State& state, uint64_t now_ns) {
  SuspectLook look{state, std::vector<uint32_t>(state.fibers.size()), now_ns, older_ns_, {}, {}};
  StackReader reader(view_);
  std::vector<FiberInfo> batch;
  std::vector<size_t> which;
  const auto flush = [&] {
    reader.read(batch, kMaxFrames, [&](size_t i, std::span<const uint64_t> frames) {
      const uint32_t raw = raw_.number(frames);
      if (raw == 0) return;
      if (raw >= numbers_.size()) numbers_.resize(raw + 1);
      if (numbers_[raw] == 0) numbers_[raw] = number_(frames);
      look.stacks[which[i]] = numbers_[raw];
    });
    batch.clear();
    which.clear();
  };
  for (size_t i = 0; i < state.fibers.size(); ++i) {
    const FiberInfo& fiber = state.fibers[i].info;
    if (fiber.state != FIBERPROF_FIBER_PARKED || (fiber.deadline_ns == 0 && !look.old(i))) continue;
    batch.push_back(fiber);
    which.push_back(i);
    if (batch.size() == kBatch) flush();
  }
  flush();
  ++looks_;
  growth_.look(look);
  return look;
}

void Suspects::glance(const State& state, uint64_t now_ns) { (void)read(state, now_ns); }

Suspicions Suspects::look(const State& state, uint64_t now_ns, const std::vector<size_t>& proved) {
  SuspectLook look = read(state, now_ns);
  look.proved = proved;
  look.polling = polls_.look(state, now_ns, older_ns_);
  for (Polling& one : look.polling)
    if (!one.frames.empty()) one.stack = number_(one.frames);
  Suspicions all;
  all.older_ns = older_ns_;
  all.looks = looks_;
  const auto add = [&](std::vector<Suspicion> found) {
    for (Suspicion& one : found) all.found.push_back(std::move(one));
  };
  add(spinning(look));
  add(ignoring(look));
  add(growth_.found(look));
  add(outliving(look));
  add(old_waits(look));
  return all;
}

// By stack and reason, some of each: what one does the others do, too, but each with a context of its own.
std::vector<Suspicion> Suspects::ignoring(const SuspectLook& look) {
  std::map<std::pair<uint32_t, uint8_t>, std::vector<size_t>> groups;
  for (size_t i = 0; i < look.state.fibers.size(); ++i) {
    const FiberInfo& fiber = look.state.fibers[i].info;
    if (!look.old(i) || look.stacks[i] == 0 || fiber.reason == FIBERPROF_REASON_CONTEXT) continue;
    std::vector<size_t>& group = groups[{look.stacks[i], fiber.reason}];
    if (group.size() < kOfGroup) group.push_back(i);
  }
  std::vector<Suspicion> found;
  size_t left = kFibers;
  for (const auto& [key, fibers] : groups) {
    Suspicion group;
    group.kind = SuspicionKind::ignores_cancel;
    group.stack = key.first;
    group.reason = key.second;
    for (const size_t i : fibers) {
      if (left == 0) break;
      --left;
      ++group.checked;
      if (ignores_cancel(look.state.fibers[i].info, look.now_ns)) group.add(i, look.age(i));
    }
    if (group.count != 0) found.push_back(std::move(group));
  }
  std::ranges::stable_sort(found, std::greater<>(), &Suspicion::oldest_ns);
  return found;
}

bool Suspects::ignores_cancel(const FiberInfo& fiber, uint64_t now_ns) {
  const fiberprof_field kind = view_.layout().where(FIBERPROF_FIELD_object_kind);
  const fiberprof_field handle = view_.layout().where(FIBERPROF_FIELD_context_cancel_handle);
  if (kind.size != sizeof(uint32_t) || handle.size == 0) return false;
  if (fiber.sp < fiber.stack_low || fiber.sp >= fiber.stack_high || fiber.sp % 8 != 0) return false;
  std::vector<uint64_t> words(std::min(kStackBytes, fiber.stack_high - fiber.sp) / 8);
  if (view_.memory().read(fiber.sp, {reinterpret_cast<char*>(words.data()), words.size() * 8}) != ReadStatus::ok)
    return false;
  std::ranges::sort(words);
  words.erase(std::unique(words.begin(), words.end()), words.end());
  std::vector<uint64_t> candidates;
  for (const uint64_t word : words)
    if (word % 8 == 0 && word >= 4096 && word < uint64_t{1} << 56 &&
        (word < fiber.stack_low || word >= fiber.stack_high) &&
        // Who has the right to cancel it is not the one who is to heed it.
        !std::ranges::binary_search(words, word + handle.offset))
      candidates.push_back(word + kind.offset);
  std::vector<uint32_t> kinds(candidates.size());
  std::vector<MemoryRange> ranges;
  for (size_t i = 0; i < candidates.size(); ++i)
    ranges.push_back({candidates[i], sizeof kinds[i], reinterpret_cast<char*>(&kinds[i]), false});
  (void)view_.memory().read_ranges(ranges);  // when the process is gone, nothing was read
  ObjectReader objects(view_);
  for (size_t i = 0; i < ranges.size(); ++i) {
    if (!ranges[i].ok || kinds[i] != FIBERPROF_OBJECT_CONTEXT) continue;
    const uint64_t address = candidates[i] - kind.offset;
    const auto context = objects.read(address, FIBERPROF_OBJECT_CONTEXT);
    if (!context || !cancelled(*context, now_ns)) continue;
    // With one that is above it, the wait heeds what it was told to: the lower one was for something else.
    if (fiber.context != 0 && above(fiber.context, address)) continue;
    const auto now = view_.again(fiber);
    return now && now->switches == fiber.switches && now->state == fiber.state;
  }
  return false;
}

// Whether it is that context, or one it was derived from.
bool Suspects::above(uint64_t context, uint64_t lower) {
  ObjectReader objects(view_);
  for (int depth = 0; lower != 0 && depth < kDeepest; ++depth) {
    if (lower == context) return true;
    const auto info = objects.read(lower, FIBERPROF_OBJECT_CONTEXT);
    lower = info ? info->parent : 0;
  }
  return false;
}

// By itself or one that it was derived from. Memory that only looks like a context, since one was there once, or by
// chance, does not add up.
bool Suspects::cancelled(const ObjectInfo& context, uint64_t now_ns) {
  ObjectReader objects(view_);
  bool is = false;
  std::optional<ObjectInfo> info = context;
  for (int depth = 0; depth < kDeepest; ++depth) {
    if (info->count < 0 || info->count > 2 || info->sources > 1) return false;
    is |= info->count != 0 || (info->deadline_ns > 0 && static_cast<uint64_t>(info->deadline_ns) <= now_ns);
    if (info->parent == 0) return is;
    info = objects.read(info->parent, FIBERPROF_OBJECT_CONTEXT);
    if (!info) return false;
  }
  return false;
}

}  // namespace fiberprof
