// SPDX-License-Identifier: BSD-2-Clause
#include "render/shown_stacks.h"

#include <algorithm>

#include "render/stack_view.h"
#include "session/names.h"

namespace fiberprof {
namespace {

constexpr size_t kMostKnown = 100'000;  // stacks

bool is_means(const Frame& frame) { return is_library(frame.function, frame.binary, frame.runtime); }

bool same(const Frame& a, const Frame& b) {
  return a.address == b.address && a.inlined == b.inlined && a.runtime == b.runtime && a.line == b.line &&
         a.function == b.function && a.file == b.file && a.binary == b.binary && a.build_id == b.build_id;
}

size_t hash_of(const std::vector<Frame>& frames) {
  size_t hash = frames.size();
  for (const Frame& frame : frames)
    hash = (hash ^ std::hash<std::string>()(frame.function) ^ frame.line) * 0x9e3779b97f4a7c15u;
  return hash;
}

bool reads_like(const ShownStack& stack, const std::vector<Frame>& frames) {
  return std::equal(stack.frames.begin(), stack.frames.end(), frames.begin(), frames.end(),
                    [](const auto& a, const Frame& b) { return a->function == b.function && a->line == b.line; });
}

}  // namespace

std::shared_ptr<const ShownStack> ShownStacks::make(std::vector<Frame> frames) {
  ShownStack stack;
  stack.culprit = culprit(frames.size(), [&](size_t i) { return is_means(frames[i]); });
  const auto ours = [](const Frame& frame) { return !is_means(frame); };
  if (const auto inner = std::find_if(frames.begin(), frames.end(), ours); inner != frames.end()) {
    stack.function = inner->function;
    stack.site = std::find_if(frames.rbegin(), frames.rend(), ours)->function;
  } else if (!frames.empty()) {
    stack.site = kMainFiber;
  }
  stack.id = ++last_id_;
  for (Frame& frame : frames) {
    const auto [begin, end] = frames_.equal_range(frame.address);
    auto found = std::find_if(begin, end, [&](const auto& each) { return same(*each.second, frame); });
    if (found == end) found = frames_.emplace(frame.address, std::make_shared<const Frame>(std::move(frame)));
    stack.frames.push_back(found->second);
  }
  return std::make_shared<const ShownStack>(std::move(stack));
}

const std::shared_ptr<const ShownStack>& ShownStacks::of(uint32_t pid, StackId id, const SessionStacks& stacks,
                                                         const Symbolize& symbolize) {
  static const auto kNone = std::make_shared<const ShownStack>();
  const auto [slot, added] = known_.try_emplace({pid, id});
  if (!added) return slot->second;
  const auto* addresses = stacks.find(id);
  if (addresses == nullptr || addresses->empty()) return slot->second = kNone;
  std::vector<Frame> frames = symbolize(pid, *addresses);
  const size_t hash = hash_of(frames);
  const auto [begin, end] = by_text_.equal_range(hash);
  auto shown = std::find_if(begin, end, [&](const auto& each) { return reads_like(*each.second, frames); });
  if (shown == end) shown = by_text_.emplace(hash, make(std::move(frames)));
  return slot->second = shown->second;
}

bool ShownStacks::tidy() {
  if (known_.size() < kMostKnown) return false;
  known_.clear();
  by_text_.clear();
  frames_.clear();
  return true;
}

}  // namespace fiberprof
