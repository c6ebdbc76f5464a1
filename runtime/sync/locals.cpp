// SPDX-License-Identifier: BSD-2-Clause
#include "sync/locals.h"

#include <array>
#include <mutex>
#include <utility>

#include "fiber/local.h"
#include "sched/park.h"
#include "sched/this_worker.h"

namespace fiber::detail {

namespace {

constexpr std::uint32_t kMaxKeys = 256;
constexpr int kRounds = 4;  // as PTHREAD_DESTRUCTOR_ITERATIONS

// Constant-initialised: Locals with static lifetime register before main, in any order.
constinit std::mutex keys_mutex;
constinit std::array<std::uint32_t, kMaxKeys> generations{};  // odd: in use

std::uint32_t index_of(LocalKey key) { return static_cast<std::uint32_t>(key >> 32); }
std::uint32_t generation_of(LocalKey key) { return static_cast<std::uint32_t>(key); }

struct OfThread {
  Locals* locals = nullptr;
  ~OfThread() {
    if (locals == nullptr) return;
    locals->destroy_all();
    delete std::exchange(locals, nullptr);
  }
};
thread_local OfThread of_thread;

// Never inlined: the address of a thread_local must not survive a wait.
[[gnu::noinline]] Locals*& of_this_thread() { return of_thread.locals; }

Locals*& of_caller() {
  Fiber* fiber = this_fiber();
  return fiber != nullptr ? fiber->locals : of_this_thread();
}

}  // namespace

void Locals::destroy_all() {
  for (int round = 0; round < kRounds && !slots.empty(); ++round) {
    for (const Slot& slot : std::exchange(slots, {})) {
      if (slot.value != nullptr) slot.destroy(slot.value);
    }
  }
}

void end_of_locals(Fiber* self) {
  self->locals->destroy_all();
  delete std::exchange(self->locals, nullptr);
}

LocalKey local_register() {
  std::lock_guard guard(keys_mutex);
  for (std::uint32_t index = 0; index < kMaxKeys; ++index) {
    if (generations[index] % 2 == 0) return std::uint64_t{index} << 32 | ++generations[index];
  }
  fatal("more than %u fiber::Local objects at a time", kMaxKeys);
}

void local_unregister(LocalKey key) {
  std::lock_guard guard(keys_mutex);
  ++generations[index_of(key)];
}

void* local_get(LocalKey key) {
  const Locals* locals = of_caller();
  const std::uint32_t index = index_of(key);
  if (locals == nullptr || index >= locals->slots.size()) return nullptr;
  const Locals::Slot& slot = locals->slots[index];
  return slot.generation == generation_of(key) ? slot.value : nullptr;
}

void local_set(LocalKey key, void* value, void (*destroy)(void*)) {
  Locals*& locals = of_caller();
  const std::uint32_t index = index_of(key);
  if (locals == nullptr) {
    if (value == nullptr) return;
    locals = new Locals;
  }
  if (index >= locals->slots.size()) locals->slots.resize(index + 1);
  const Locals::Slot old = std::exchange(locals->slots[index], {value, destroy, generation_of(key)});
  if (old.value != nullptr) old.destroy(old.value);
}

}  // namespace fiber::detail
