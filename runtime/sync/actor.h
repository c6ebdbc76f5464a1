// SPDX-License-Identifier: BSD-2-Clause
// Who holds an object: a fiber, by its id, or a thread that is no fiber, by its tid and a bit that no fiber id has.
#pragma once

#include <array>
#include <cstdint>

#include "fiber/object.h"
#include "sched/this_worker.h"

namespace fiber::detail {

std::uint64_t this_thread_id();

// The caller's. Never 0.
inline std::uint64_t this_actor_id() {
  const Fiber* fiber = this_fiber();
  return fiber == nullptr ? this_thread_id() : fiber->record.id;
}

// For messages.
struct Text {
  std::array<char, 128> text;
  const char* c_str() const { return text.data(); }
};
// "fiber 12 "name"", "thread 1234" or "nobody"
Text describe_actor(std::uint64_t id);
// "mutex 0x1234" or "mutex 0x1234 "accounts""
Text describe(const Object& object);

// The caller is about to wait for what only it can give: ends the process, unless Options::self_lock_check is off.
void waits_for_itself(const Object& object, const char* how);

}  // namespace fiber::detail
