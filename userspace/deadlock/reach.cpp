// SPDX-License-Identifier: BSD-2-Clause
#include "deadlock/reach.h"

#include <fiberprof/registry.h>

#include <algorithm>

namespace fiberprof {

ReachEvidence::ReachEvidence(const State& state, const Landmarks& marks)
    : state_(state), marks_(marks), image_(marks.image()), heap_(marks.heap()), gained_(marks.objects().size()) {
  for (size_t i = 0; i < gained_.size(); ++i)
    if (marks.objects()[i].chunk < 0 && marks.objects()[i].stack == nullptr)
      gained_[i].rights |= bit(Right::touch);  // where everybody can reach
  entered_.assign(heap_.chunks().size(), 0);
  roots();
}

// The worker that is this thread; null: it is none.
const WorkerInfo* ReachEvidence::worker_on(const StoppedThread& thread) const {
  for (const WorkerInfo& worker : state_.summary.workers)
    if (const auto tid = image_.tids.find(worker.tid); tid != image_.tids.end() && tid->second == thread.tid)
      return &worker;
  return nullptr;
}

// Whether a worker is idle and nothing else: a signal handler may run on top of it, whose frame is larger than all that
// sleeping takes.
bool ReachEvidence::sleeps(const WorkerInfo* worker, const StoppedThread& thread) const {
  constexpr uint64_t kDepth = 1024;  // a signal frame of x86-64 and its red zone take 1,080 bytes at the least
  return worker != nullptr && worker->idle && thread.sp <= worker->stack_top && worker->stack_top - thread.sp <= kDepth;
}

// The part of a thread's stack that holds nothing of the program's: what is below its stack pointer and, of a worker
// that runs a fiber or sleeps, the runtime's own frames. Empty where the stack cannot be told from what lies beside it.
Range ReachEvidence::free_stack(const StoppedThread& thread) const {
  const WorkerInfo* worker = worker_on(thread);
  const bool on_fiber = range_at(image_.stacks, thread.sp) != nullptr;
  uint64_t top = on_fiber ? 0 : thread.sp - Landmarks::kRedZone;
  if (worker != nullptr && worker->stack_top != 0 && (on_fiber || sleeps(worker, thread))) top = worker->stack_top;
  const Mapping* mapping = find_mapping(image_.maps, top);
  if (top == 0 || mapping == nullptr || !mapping->writable) return {};
  if (mapping->path == "[stack]") return {mapping->start, top};
  // Made by the thread library, a stack has a guard below and the thread's own variables above.
  const Mapping* below = find_mapping(image_.maps, mapping->start - 1);
  const bool guarded = below != nullptr && !below->readable && !below->writable;
  if (!guarded || thread.thread_pointer <= top || thread.thread_pointer >= mapping->end) return {};
  return {mapping->start, top};
}

void ReachEvidence::roots() {
  std::vector<Range> out = heap_.tracked();
  out.insert(out.end(), image_.stacks.begin(), image_.stacks.end());
  out.insert(out.end(), image_.slabs.begin(), image_.slabs.end());
  for (const StoppedThread& thread : image_.threads)
    if (const Range free = free_stack(thread); free.start < free.end) out.push_back(free);
  std::sort(out.begin(), out.end(), [](const Range& a, const Range& b) { return a.start < b.start; });
  Source source;
  source.running = true;
  for (const Piece& piece : image_.pieces) {
    uint64_t at = piece.start;
    for (const Range& range : out) {
      if (range.end <= at) continue;
      if (range.start >= piece.end()) break;
      if (range.start > at) search_but_heads(at, range.start, source);
      at = std::max(at, range.end);
    }
    if (at < piece.end()) search_but_heads(at, piece.end(), source);
  }
  for (const StoppedThread& thread : image_.threads) {
    bytes(thread.registers, source);
    // Vector registers do not outlive a call, and an idle worker is in calls of the runtime.
    if (!sleeps(worker_on(thread), thread)) bytes(thread.vector_registers, source);
  }
  for (const uint64_t value : image_.words) word(value, source);
  work();
}

bool ReachEvidence::has(Right right, uint64_t object) const {
  const std::ptrdiff_t found = marks_.find(object);
  return found < 0 || (gained_[static_cast<size_t>(found)].rights & bit(right)) != 0;
}

int64_t ReachEvidence::tokens(uint64_t object, int64_t enough) const {
  const std::ptrdiff_t found = marks_.find(object);
  return found < 0 ? enough : gained_[static_cast<size_t>(found)].words;
}

void ReachEvidence::gain(size_t object, uint8_t rights) {
  uint8_t& has = gained_[object].rights;
  if ((has & rights) == rights) return;
  has |= rights;
  if (changed_ != nullptr) changed_->push_back(marks_.objects()[object].address);
}

// What those can get at who may receive from a channel, or look at a context.
void ReachEvidence::open(size_t index) {
  if (gained_[index].opened) return;
  gained_[index].opened = true;
  const Landmarks::Object& object = marks_.objects()[index];
  if (object.chunk < 0) return;
  const Chunk& chunk = heap_.chunks()[static_cast<size_t>(object.chunk)];
  todo_.push_back({object.address + object.size, chunk.end, false, nullptr});
  if (object.address > chunk.start) todo_.push_back({chunk.start, object.address, false, nullptr});
}

void ReachEvidence::enter_chunk(std::ptrdiff_t index) {
  if (entered_[static_cast<size_t>(index)] != 0) return;
  entered_[static_cast<size_t>(index)] = 1;
  const Chunk& chunk = heap_.chunks()[static_cast<size_t>(index)];
  if (chunk.free) return;
  for (const size_t inside : marks_.in_chunk(index)) {
    // A channel's or a context's own block: only handles give rights, and they lead to its head.
    const uint32_t kind = marks_.objects()[inside].kind;
    if (kind == FIBERPROF_OBJECT_CHANNEL || kind == FIBERPROF_OBJECT_CONTEXT) {
      open(inside);
      return;
    }
    gain(inside, bit(Right::touch));
  }
  todo_.push_back({chunk.start, chunk.end, true, nullptr});
}

// Data of a fiber that waits: whoever reaches it may use it, the fiber waits on.
void ReachEvidence::enter_stack(const Range& stack) {
  const FiberState* fiber = marks_.fiber_on(stack);
  if (fiber == nullptr || !entered_stacks_.insert(stack.start).second) return;
  for (const size_t object : marks_.on_stack(stack.start)) gain(object, bit(Right::touch));
  const Range part = marks_.stack_part(fiber->info);
  todo_.push_back({part.start, part.end, true, fiber});
}

void ReachEvidence::word(uint64_t value, const Source& source) {
  value = Landmarks::address_of(value);
  if (const std::ptrdiff_t found = marks_.object_at(value); found >= 0) {
    const auto index = static_cast<size_t>(found);
    const Landmarks::Object& object = marks_.objects()[index];
    if (value == object.address) {
      ++gained_[index].words;
      if (changed_ != nullptr && object.kind == FIBERPROF_OBJECT_WAIT_GROUP) changed_->push_back(object.address);
    }
    if (object.kind == FIBERPROF_OBJECT_CHANNEL || object.kind == FIBERPROF_OBJECT_CONTEXT) {
      const uint8_t rights = marks_.rights(object, value, source);
      gain(index, rights);
      if (object.kind == FIBERPROF_OBJECT_CONTEXT || (rights & bit(Right::receive)) != 0) open(index);
      return;
    }
  }
  if (const Range* stack = marks_.stack_at(value)) {
    if (!marks_.is_waiter(value)) enter_stack(*stack);
    return;
  }
  if (const std::ptrdiff_t chunk = heap_.find(value); chunk >= 0) enter_chunk(chunk);
}

void ReachEvidence::bytes(std::span<const char> memory, const Source& source) {
  searched_ += memory.size();
  marks_.words(memory, 1, [&](uint64_t value, size_t) { word(value, source); });
}

void ReachEvidence::search(uint64_t start, uint64_t end, const Source& source) {
  image_.each(start, end, [&](uint64_t, std::span<const char> memory) { bytes(memory, source); });
}

void ReachEvidence::search_but_heads(uint64_t start, uint64_t end, const Source& source) {
  marks_.but_heads(start, end, [&](uint64_t, std::span<const char> memory) { bytes(memory, source); });
}

void ReachEvidence::work() {
  while (!todo_.empty()) {
    const Todo todo = todo_.back();
    todo_.pop_back();
    const Source source{todo.parked, false};
    if (todo.but_heads)
      search_but_heads(todo.start, todo.end, source);
    else
      search(todo.start, todo.end, source);
  }
}

void ReachEvidence::revive(const FiberState& fiber, std::vector<uint64_t>& changed) {
  changed_ = &changed;
  Source source;
  if (fiber.info.state == FIBERPROF_FIBER_PARKED)
    source.parked = &fiber;
  else
    source.running = true;
  entered_stacks_.insert(fiber.info.stack_low);
  for (const size_t object : marks_.on_stack(fiber.info.stack_low)) gain(object, bit(Right::touch));
  const Range part = marks_.stack_part(fiber.info);
  search_but_heads(part.start, part.end, source);
  const Range own = marks_.own_part(fiber.info);
  search(own.start, own.end, source);
  work();
  changed_ = nullptr;
}

}  // namespace fiberprof
