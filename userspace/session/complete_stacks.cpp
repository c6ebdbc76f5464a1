// SPDX-License-Identifier: BSD-2-Clause
#include "session/complete_stacks.h"

#include "symbol/runtime_names.h"

namespace fiberprof {
namespace {

std::vector<uint64_t> completed(const std::vector<uint64_t>& stack, const LeafSnapshot* leaf, ProcessSymbols& symbols) {
  std::vector<uint64_t> whole = leaf ? symbols.complete(*leaf, stack) : stack;
  for (size_t i = 0; i < whole.size(); ++i)
    if (is_worker_loop(symbols.resolve(whole[i], i > 0).back().function)) whole.resize(i + 1);
  return whole;
}

}  // namespace

void complete_stacks(Snapshot& snapshot, const std::map<uint32_t, std::unique_ptr<ProcessSymbols>>& symbols) {
  const auto complete_one = [&](uint32_t pid, StackId id) {
    const auto process = symbols.find(pid);
    if (process == symbols.end() || !process->second) return;
    snapshot.stacks.complete(id, [&](const std::vector<uint64_t>& stack, const LeafSnapshot* leaf) {
      return completed(stack, leaf, *process->second);
    });
  };
  for (const OffCpuEntry& entry : snapshot.off_cpu) complete_one(entry.pid, entry.user_stack);
  for (const OnCpuEntry& entry : snapshot.on_cpu) complete_one(entry.pid, entry.user_stack);
}

}  // namespace fiberprof
