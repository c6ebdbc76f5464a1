// SPDX-License-Identifier: BSD-2-Clause
// A list of fibers, linked through Fiber::next: first in, first out. Not thread-safe.
#pragma once

#include <cstdint>

#include "sched/fiber.h"

namespace fiber::detail {

struct FiberList {
  Fiber* head = nullptr;
  Fiber* tail = nullptr;
  std::uint32_t size = 0;
  void push(Fiber* fiber) {
    fiber->next = nullptr;
    (tail == nullptr ? head : tail->next) = fiber;
    tail = fiber;
    ++size;
  }
  Fiber* pop() {
    Fiber* fiber = head;
    if (fiber != nullptr) {
      head = fiber->next;
      if (head == nullptr) tail = nullptr;
      --size;
    }
    return fiber;
  }
  // All of `others` go before those here, and `others` is empty.
  void push_front(FiberList& others) {
    if (others.head == nullptr) return;
    others.tail->next = head;
    if (tail == nullptr) tail = others.tail;
    head = others.head;
    size += others.size;
    others = FiberList{};
  }
};

}  // namespace fiber::detail
