// SPDX-License-Identifier: BSD-2-Clause
// The values of one fiber, or thread, by key.
#pragma once

#include <cstdint>
#include <vector>

#include "sched/fiber.h"

namespace fiber::detail {

struct Locals {
  struct Slot {
    void* value = nullptr;
    void (*destroy)(void*) = nullptr;
    std::uint32_t generation = 0;  // of the key; a key's index is used again
  };
  std::vector<Slot> slots;

  // Destroys all values. What their destructors make is destroyed as well, a few times over.
  void destroy_all();
};

// Destroys the values of the calling fiber, which is about to end.
void end_of_locals(Fiber* self);

}  // namespace fiber::detail
