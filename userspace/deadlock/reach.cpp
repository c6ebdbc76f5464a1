// SPDX-License-Identifier: BSD-2-Clause
#include "deadlock/reach.h"

#include <fiberprof/registry.h>

#include <algorithm>
#include <cstring>

namespace fiberprof {
namespace {

// What is above the bits of a program's addresses may be a tag.
#if defined(__aarch64__)
constexpr uint64_t kAddressBits = (uint64_t{1} << 48) - 1;
#else
constexpr uint64_t kAddressBits = (uint64_t{1} << 47) - 1;
#endif
constexpr uint64_t kRedZone = 128;

uint8_t bit(Right right) { return static_cast<uint8_t>(right); }

uint64_t end_of(const RegistryLayout& layout, std::initializer_list<fiberprof_field_index> fields) {
  uint64_t end = 0;
  for (const auto field : fields)
    end = std::max<uint64_t>(end, uint64_t{layout.where(field).offset} + layout.where(field).size);
  return end;
}

}  // namespace

ReachEvidence::ReachEvidence(const State& state, const Image& image, const Heap& heap, const RegistryLayout& layout)
    : state_(state), image_(image), heap_(heap), layout_(layout) {
  object_size_ =
      end_of(layout, {FIBERPROF_FIELD_object_kind, FIBERPROF_FIELD_object_lock, FIBERPROF_FIELD_object_owner,
                      FIBERPROF_FIELD_object_waiters, FIBERPROF_FIELD_object_name, FIBERPROF_FIELD_object_count});
  const uint64_t channel_size =
      end_of(layout, {FIBERPROF_FIELD_channel_length, FIBERPROF_FIELD_channel_capacity,
                      FIBERPROF_FIELD_channel_receivers, FIBERPROF_FIELD_channel_creator_pc,
                      FIBERPROF_FIELD_channel_send_handle, FIBERPROF_FIELD_channel_receive_handle});
  const uint64_t context_size =
      end_of(layout, {FIBERPROF_FIELD_context_parent, FIBERPROF_FIELD_context_scope, FIBERPROF_FIELD_context_deadline,
                      FIBERPROF_FIELD_context_sources, FIBERPROF_FIELD_context_cancel_handle});
  for (int field = FIBERPROF_FIELD_fiber_id; field <= FIBERPROF_FIELD_fiber_name; ++field)
    record_size_ = std::max(record_size_, end_of(layout, {static_cast<fiberprof_field_index>(field)}));
  send_ = layout.where(FIBERPROF_FIELD_channel_send_handle);
  receive_ = layout.where(FIBERPROF_FIELD_channel_receive_handle);
  cancel_ = layout.where(FIBERPROF_FIELD_context_cancel_handle);

  for (const auto& [address, object] : state.objects) {
    nodes_.insert(object.nodes.begin(), object.nodes.end());
    if (!object.readable()) continue;
    Known known;
    known.address = address;
    known.kind = object.seen[1]->kind;
    known.size = known.kind == FIBERPROF_OBJECT_CHANNEL   ? channel_size
                 : known.kind == FIBERPROF_OBJECT_CONTEXT ? context_size
                                                          : object_size_;
    known.chunk = heap.find(address);
    known.stack = range_at(image.stacks, address);
    known_.push_back(known);
  }
  std::sort(known_.begin(), known_.end(), [](const Known& a, const Known& b) { return a.address < b.address; });
  for (size_t i = 0; i < known_.size(); ++i) {
    Known& known = known_[i];
    index_.emplace(known.address, i);
    if (known.chunk >= 0)
      in_chunk_[known.chunk].push_back(i);
    else if (known.stack != nullptr)
      on_stack_[known.stack->start].push_back(i);
    else
      known.rights |= bit(Right::touch);  // where everybody can reach
  }
  for (size_t i = 0; i < state.fibers.size(); ++i) fiber_of_stack_.emplace(state.fibers[i].info.stack_low, i);
  entered_.assign(heap.chunks().size(), 0);
  const auto cover = [&](uint64_t start, uint64_t end) {
    for (uint64_t stretch = start >> kStretchBits; stretch <= (end - 1) >> kStretchBits; ++stretch)
      stretches_[stretch & (stretches_.size() - 1)] = 1;
  };
  for (const Known& known : known_) cover(known.address, known.address + known.size);
  for (const Range& range : heap.tracked()) cover(range.start, range.end);
  for (const Range& range : image.stacks) cover(range.start, range.end);
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
  uint64_t top = on_fiber ? 0 : thread.sp - kRedZone;
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

ReachEvidence::Known* ReachEvidence::known_at(uint64_t address) {
  auto after = std::upper_bound(known_.begin(), known_.end(), address,
                                [](uint64_t value, const Known& known) { return value < known.address; });
  if (after == known_.begin()) return nullptr;
  --after;
  return address < after->address + after->size ? &*after : nullptr;
}

const ReachEvidence::Known* ReachEvidence::find(uint64_t object) const {
  const auto found = index_.find(object);
  return found == index_.end() ? nullptr : &known_[found->second];
}

bool ReachEvidence::has(Right right, uint64_t object) const {
  const Known* known = find(object);
  return known == nullptr || (known->rights & bit(right)) != 0;
}

int64_t ReachEvidence::tokens(uint64_t object, int64_t enough) const {
  const Known* known = find(object);
  return known == nullptr ? enough : known->words;
}

void ReachEvidence::gain(Known& known, uint8_t rights) {
  if ((known.rights & rights) == rights) return;
  known.rights |= rights;
  if (changed_ != nullptr) changed_->push_back(known.address);
}

// What those can get at who may receive from a channel, or look at a context.
void ReachEvidence::open(Known& known) {
  if (known.opened) return;
  known.opened = true;
  if (known.chunk < 0) return;
  const Chunk& chunk = heap_.chunks()[static_cast<size_t>(known.chunk)];
  todo_.push_back({known.address + known.size, chunk.end, false, nullptr});
  if (known.address > chunk.start) todo_.push_back({chunk.start, known.address, false, nullptr});
}

void ReachEvidence::known_word(Known& known, uint64_t value, const Source& source) {
  if (known.kind == FIBERPROF_OBJECT_CONTEXT) {
    if (cancel_.size == 0 || (value != known.address && value != known.address + cancel_.offset) || source.running ||
        value == known.address + cancel_.offset)
      gain(known, bit(Right::cancel));
    open(known);
    return;
  }
  uint8_t rights = bit(Right::send) | bit(Right::receive);
  if (send_.size != 0 && value == known.address + send_.offset) {
    rights = bit(Right::send);
  } else if (receive_.size != 0 && value == known.address + receive_.offset) {
    rights = bit(Right::receive);
  } else if (source.parked != nullptr && send_.size != 0) {
    // An operation in progress is the wait itself, and can do no more than that.
    uint8_t operations = 0;
    for (const Alternative& wait : source.parked->alternatives)
      if (wait.resource == known.address)
        operations |= bit(wait.reason == FIBERPROF_REASON_CHAN_SEND ? Right::send : Right::receive);
    if (operations != 0) rights = operations;
  }
  gain(known, rights | bit(Right::touch));
  if ((rights & bit(Right::receive)) != 0) open(known);
}

void ReachEvidence::enter_chunk(std::ptrdiff_t index) {
  if (entered_[static_cast<size_t>(index)] != 0) return;
  entered_[static_cast<size_t>(index)] = 1;
  const Chunk& chunk = heap_.chunks()[static_cast<size_t>(index)];
  if (chunk.free) return;
  if (const auto inside = in_chunk_.find(index); inside != in_chunk_.end())
    for (const size_t known : inside->second) {
      // A channel's or a context's own block: only handles give rights, and they lead to its head.
      if (known_[known].kind == FIBERPROF_OBJECT_CHANNEL || known_[known].kind == FIBERPROF_OBJECT_CONTEXT) {
        open(known_[known]);
        return;
      }
      gain(known_[known], bit(Right::touch));
    }
  todo_.push_back({chunk.start, chunk.end, true, nullptr});
}

// Data of a fiber that waits: whoever reaches it may use it, the fiber waits on.
void ReachEvidence::enter_stack(const Range& stack) {
  const auto found = fiber_of_stack_.find(stack.start);
  if (found == fiber_of_stack_.end()) return;  // no fiber has it now
  const FiberState& fiber = state_.fibers[found->second];
  if (!entered_stacks_.insert(stack.start).second) return;
  if (const auto inside = on_stack_.find(stack.start); inside != on_stack_.end())
    for (const size_t known : inside->second) gain(known_[known], bit(Right::touch));
  const Range part = stack_part(fiber.info);
  todo_.push_back({part.start, part.end, true, &fiber});
}

void ReachEvidence::word(uint64_t value, const Source& source) {
  value &= kAddressBits;
  if (Known* known = known_at(value)) {
    if (value == known->address) {
      ++known->words;
      if (changed_ != nullptr && known->kind == FIBERPROF_OBJECT_WAIT_GROUP) changed_->push_back(known->address);
    }
    if (known->kind == FIBERPROF_OBJECT_CHANNEL || known->kind == FIBERPROF_OBJECT_CONTEXT)
      return known_word(*known, value, source);
  }
  if (const Range* stack = range_at(image_.stacks, value)) {
    if (!nodes_.contains(value)) enter_stack(*stack);
    return;
  }
  if (const std::ptrdiff_t chunk = heap_.find(value); chunk >= 0) enter_chunk(chunk);
}

void ReachEvidence::bytes(std::span<const char> memory, const Source& source) {
  if (memory.size() < 8) return;
  searched_ += memory.size();
  const uint8_t* const stretches = stretches_.data();
  const char* const end = memory.data() + memory.size() - 7;
  for (const char* at = memory.data(); at != end; ++at) {
    uint64_t value = 0;
    std::memcpy(&value, at, sizeof value);
    if (stretches[(value >> kStretchBits) & ((uint64_t{1} << kTableBits) - 1)] != 0) [[unlikely]]
      word(value, source);
  }
}

void ReachEvidence::search(uint64_t start, uint64_t end, const Source& source) {
  image_.each(start, end, [&](uint64_t, std::span<const char> memory) { bytes(memory, source); });
}

void ReachEvidence::search_but_heads(uint64_t start, uint64_t end, const Source& source) {
  auto known = std::lower_bound(known_.begin(), known_.end(), start,
                                [](const Known& one, uint64_t address) { return one.address + one.size <= address; });
  for (; known != known_.end() && known->address < end; ++known) {
    if (known->address > start) search(start, known->address, source);
    start = std::max(start, known->address + known->size);
  }
  if (start < end) search(start, end, source);
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

// The part in use.
Range ReachEvidence::stack_part(const FiberInfo& fiber) const {
  uint64_t from = fiber.sp >= fiber.stack_low && fiber.sp < fiber.stack_high
                      ? std::max(fiber.stack_low, fiber.sp - kRedZone)
                      : fiber.stack_low;
  for (const StoppedThread& thread : image_.threads)
    if (thread.sp >= fiber.stack_low && thread.sp < fiber.stack_high) from = fiber.stack_low;
  return {from, fiber.stack_high};
}

void ReachEvidence::revive(const FiberState& fiber, std::vector<uint64_t>& changed) {
  changed_ = &changed;
  Source source;
  if (fiber.info.state == FIBERPROF_FIBER_PARKED)
    source.parked = &fiber;
  else
    source.running = true;
  entered_stacks_.insert(fiber.info.stack_low);
  if (const auto inside = on_stack_.find(fiber.info.stack_low); inside != on_stack_.end())
    for (const size_t known : inside->second) gain(known_[known], bit(Right::touch));
  const Range part = stack_part(fiber.info);
  search_but_heads(part.start, part.end, source);
  // Behind the record that the registry describes the runtime keeps what is the fiber's own.
  search(fiber.info.slot + record_size_, fiber.info.slot + layout_.head.fiber_size, source);
  work();
  changed_ = nullptr;
}

}  // namespace fiberprof
