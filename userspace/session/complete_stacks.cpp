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

void StackCompleter::complete(Snapshot& snapshot, const std::map<uint32_t, std::unique_ptr<ProcessSymbols>>& symbols) {
  const auto replace = [&](StackId id, const auto& make) {
    const auto stack = snapshot.stacks.find(id);
    if (stack == snapshot.stacks.end()) return;
    const auto known = known_.find(id);
    stack->second = known != known_.end() ? known->second : known_.emplace(id, make(stack->second)).first->second;
  };
  const auto complete_one = [&](uint32_t pid, StackId id) {
    const auto process = symbols.find(pid);
    if (process == symbols.end() || !process->second) return;
    const auto leaf = snapshot.leaves.find(id);
    replace(id, [&](const std::vector<uint64_t>& stack) {
      return completed(stack, leaf == snapshot.leaves.end() ? nullptr : leaf->second.get(), *process->second);
    });
  };
  for (const OffCpuEntry& entry : snapshot.off_cpu) complete_one(entry.pid, entry.user_stack);
  for (const OnCpuEntry& entry : snapshot.on_cpu) complete_one(entry.pid, entry.user_stack);
}

}  // namespace fiberprof
