// SPDX-License-Identifier: BSD-2-Clause
#include "deadlock/holdings.h"

#include <fiberprof/registry.h>

#include <algorithm>

namespace fiberprof {
namespace {

// Steps from what is held to who holds it: beyond the first number, at most the second for each thing. What is left out
// then is an explanation.
constexpr uint64_t kSteps = 20'000'000;
constexpr size_t kStepsOfOne = 64;
constexpr int kDeepest = 10'000;  // contexts above one another

const ObjectInfo* object_at(const State& state, uint64_t address) {
  const auto found = state.objects.find(address);
  return found == state.objects.end() || !found->second.readable() ? nullptr : &*found->second.seen[1];
}

}  // namespace

std::vector<Need> needs_of(const State& state, const FiberState& fiber) {
  std::vector<Need> needs;
  const auto add_contexts = [&](uint64_t context) {
    for (int depth = 0; context != 0 && depth < kDeepest; ++depth) {
      const ObjectInfo* node = object_at(state, context);
      if (node == nullptr) return;
      if (node->sources != 0) needs.push_back({context, Right::cancel});
      context = node->parent;
    }
  };
  for (const Alternative& wait : fiber.alternatives) {
    if (wait.resource == 0) continue;
    switch (wait.reason) {
      case FIBERPROF_REASON_CHAN_RECV:
        needs.push_back({wait.resource, Right::send});
        break;
      case FIBERPROF_REASON_CHAN_SEND:
        needs.push_back({wait.resource, Right::receive});
        break;
      case FIBERPROF_REASON_CONTEXT:
        add_contexts(wait.resource);
        break;
      case FIBERPROF_REASON_WAIT_GROUP: {
        const ObjectInfo* group = object_at(state, wait.resource);
        needs.push_back({wait.resource, group != nullptr && group->tokens > 0 ? Right::token : Right::touch});
        break;
      }
      case FIBERPROF_REASON_CONDITION:
      case FIBERPROF_REASON_SEMAPHORE:
      case FIBERPROF_REASON_BARRIER:
        needs.push_back({wait.resource, Right::touch});
        break;
      default:
        break;
    }
  }
  add_contexts(fiber.info.context);
  return needs;
}

HoldingSearch::HoldingSearch(const State& state, const Landmarks& marks, const std::vector<size_t>& dead,
                             const std::vector<char>& searched)
    : state_(state), marks_(marks), dead_(dead), searched_(searched) {
  for (const size_t fiber : dead)
    for (const Need& need : needs_of(state, state.fibers[fiber])) index_.emplace(need, index_.size());
  certain_.resize(index_.size());
  likely_.resize(index_.size());
}

bool HoldingSearch::waits_for(size_t fiber, uint64_t object) const {
  const auto& waits = state_.fibers[fiber].alternatives;
  return std::any_of(waits.begin(), waits.end(), [&](const Alternative& wait) { return wait.resource == object; });
}

void HoldingSearch::hold(const Need& need, Node from, uint64_t place, const FiberState* stack_of) {
  const auto found = index_.find(need);
  if (found == index_.end()) return;
  certain_[found->second].push_back(from);
  if (stack_of == nullptr) return;
  places_.emplace(place, Place{stack_of->info.stack_low, found->second});
  on_stack_[stack_of->info.stack_low].push_back(found->second);
}

void HoldingSearch::enter(std::ptrdiff_t chunk, Node from) {
  const auto index = static_cast<size_t>(chunk);
  if (marks_.heap().chunks()[index].free || searched_[index] != 0) return;
  const auto [block, fresh] = block_of_.try_emplace(chunk, static_cast<Node>(dead_.size() + chunks_.size()));
  if (fresh) {
    chunks_.push_back(chunk);
    sources_.emplace_back();
    // Whoever reaches a block reaches the conditions, wait groups and semaphores in it.
    for (const size_t inside : marks_.in_chunk(chunk))
      hold({marks_.objects()[inside].address, Right::touch}, block->second, 0, nullptr);
  }
  std::vector<Node>& sources = sources_[block->second - dead_.size()];
  if (sources.empty() || sources.back() != from) sources.push_back(from);
}

void HoldingSearch::object_word(const Landmarks::Object& object, uint64_t value, uint64_t place, Node from,
                                const FiberState* stack_of) {
  const auto likely = [&](Right right) {
    if (const auto found = index_.find({object.address, right}); found != index_.end())
      likely_[found->second].push_back(from);
  };
  switch (object.kind) {
    case FIBERPROF_OBJECT_CHANNEL: {
      const uint8_t rights = marks_.rights(object, value, {stack_of, false});
      // A handle of one kind; else a word that the operation under way has, or had, left.
      const bool handle = (rights & bit(Right::send)) == 0 || (rights & bit(Right::receive)) == 0;
      for (const Right right : {Right::send, Right::receive}) {
        if ((rights & bit(right)) == 0) continue;
        if (handle && value != object.address)
          hold({object.address, right}, from, place, stack_of);
        else
          likely(right);
      }
      if ((rights & bit(Right::receive)) != 0 && object.chunk >= 0) enter(object.chunk, from);
      return;
    }
    case FIBERPROF_OBJECT_CONTEXT:
      if ((marks_.rights(object, value, {stack_of, false}) & bit(Right::cancel)) != 0)
        hold({object.address, Right::cancel}, from, place, stack_of);
      if (object.chunk >= 0) enter(object.chunk, from);
      return;
    default:
      // A token is the address of its group; but so is what a wait itself has on the stack.
      if (stack_of != nullptr && waits_for(dead_[from], object.address)) {
        likely(Right::token);
        return;
      }
      if (value == object.address) hold({object.address, Right::token}, from, place, stack_of);
      if (object.stack != nullptr) hold({object.address, Right::touch}, from, place, stack_of);
  }
}

void HoldingSearch::word(uint64_t value, uint64_t place, Node from, const FiberState* stack_of) {
  value = Landmarks::address_of(value);
  if (const std::ptrdiff_t found = marks_.object_at(value); found >= 0) {
    const Landmarks::Object& object = marks_.objects()[static_cast<size_t>(found)];
    object_word(object, value, place, from, stack_of);
    if (object.kind == FIBERPROF_OBJECT_CHANNEL || object.kind == FIBERPROF_OBJECT_CONTEXT) return;
  }
  if (const Range* stack = marks_.stack_at(value)) {
    const bool own = from < dead_.size() && state_.fibers[dead_[from]].info.stack_low == stack->start;
    if (!own && !marks_.is_waiter(value)) references_.push_back({value, from});
    return;
  }
  if (const std::ptrdiff_t chunk = marks_.heap().find(value); chunk >= 0) enter(chunk, from);
}

// Handles are where the compiler put them: a word at every eight bytes.
void HoldingSearch::scan(uint64_t start, uint64_t end, Node from, const FiberState* stack_of) {
  marks_.but_heads((start + 7) & ~uint64_t{7}, end, [&](uint64_t at, std::span<const char> memory) {
    const size_t skipped = std::min<size_t>(-at & 7, memory.size());
    marks_.words(memory.subspan(skipped), 8,
                 [&](uint64_t value, size_t offset) { word(value, at + skipped + offset, from, stack_of); });
  });
}

// Who knows the place of a right on another fiber's stack was given it by reference. Who knows some other place there
// might use it.
void HoldingSearch::by_reference() {
  for (const Reference& reference : references_) {
    const Range* stack = marks_.stack_at(reference.value);
    const auto [first, last] = places_.equal_range(reference.value);
    for (auto place = first; place != last; ++place) certain_[place->second.thing].push_back(reference.from);
    const auto things = on_stack_.find(stack->start);
    if (first != last || things == on_stack_.end()) continue;
    constexpr size_t kThings = 256;  // on one stack: for each reference to it
    for (size_t i = 0; i < things->second.size() && i < kThings; ++i)
      likely_[things->second[i]].push_back(reference.from);
  }
}

std::vector<size_t> HoldingSearch::fibers_behind(std::vector<Node> nodes) {
  ++search_;
  std::vector<size_t> fibers;
  size_t steps = 0;
  while (!nodes.empty() && (steps_ < kSteps || steps < kStepsOfOne)) {
    const Node node = nodes.back();
    nodes.pop_back();
    if (visited_[node] == search_) continue;
    visited_[node] = search_;
    ++steps, ++steps_;
    if (node < dead_.size()) {
      fibers.push_back(dead_[node]);
      continue;
    }
    const std::vector<Node>& sources = sources_[node - dead_.size()];
    const size_t most = steps_ < kSteps ? sources.size() : std::min(sources.size(), kStepsOfOne);
    steps_ += most;
    nodes.insert(nodes.end(), sources.begin(), sources.begin() + static_cast<std::ptrdiff_t>(most));
  }
  std::sort(fibers.begin(), fibers.end());
  return fibers;
}

Holdings HoldingSearch::find() {
  for (size_t i = 0; i < dead_.size(); ++i) {
    const FiberState& fiber = state_.fibers[dead_[i]];
    const auto node = static_cast<Node>(i);
    for (const size_t object : marks_.on_stack(fiber.info.stack_low))
      hold({marks_.objects()[object].address, Right::touch}, node, marks_.objects()[object].address, &fiber);
    const Range stack = marks_.stack_part(fiber.info), own = marks_.own_part(fiber.info);
    scan(stack.start, stack.end, node, &fiber);
    scan(own.start, own.end, node, nullptr);
  }
  for (size_t i = 0; i < chunks_.size(); ++i) {
    const Chunk& chunk = marks_.heap().chunks()[static_cast<size_t>(chunks_[i])];
    scan(chunk.start, chunk.end, static_cast<Node>(dead_.size() + i), nullptr);
  }
  by_reference();
  visited_.assign(dead_.size() + chunks_.size(), 0);
  Holdings holdings;
  for (const auto& [need, thing] : index_) {
    const auto without_waiters = [&](std::vector<size_t> fibers) {
      // Whoever waits for a condition knows where it is, and will not signal it.
      if (need.right == Right::touch) std::erase_if(fibers, [&](size_t one) { return waits_for(one, need.object); });
      return fibers;
    };
    std::vector<size_t> fibers = without_waiters(fibers_behind(certain_[thing]));
    if (fibers.empty() || (fibers.size() == 1 && waits_for(fibers[0], need.object))) {
      std::vector<Node> all = certain_[thing];
      all.insert(all.end(), likely_[thing].begin(), likely_[thing].end());
      std::vector<size_t> perhaps = without_waiters(fibers_behind(std::move(all)));
      if (fibers.empty()) std::erase_if(perhaps, [&](size_t one) { return waits_for(one, need.object); });
      fibers = std::move(perhaps);
    }
    if (!fibers.empty()) holdings.emplace(need, std::move(fibers));
  }
  return holdings;
}

}  // namespace fiberprof
