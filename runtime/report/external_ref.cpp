// SPDX-License-Identifier: BSD-2-Clause
// Pointers that the program hides, where whoever looks for pointers finds them: in a list that begins in a global.
#include "fiber/external_ref.h"

#include <mutex>

#include "sched/spinlock.h"

namespace fiber::detail {

// Apart from the ExternalRef itself, which may be in what is hidden; and with nothing else that would count as in use.
struct HiddenPointer {
  const void* target;
  HiddenPointer* next;
  HiddenPointer** link;  // what points to this one
};

namespace {

constinit SpinLock lock;
constinit HiddenPointer* first = nullptr;

}  // namespace

HiddenPointer* hide_pointer(const void* target) {
  if (target == nullptr) return nullptr;
  auto* pointer = new HiddenPointer{target, nullptr, &first};
  std::lock_guard guard(lock);
  pointer->next = first;
  if (first != nullptr) first->link = &pointer->next;
  // Tools may stop the process anywhere: it is complete before it is in the list.
  __atomic_store_n(&first, pointer, __ATOMIC_RELEASE);
  return pointer;
}

void forget_pointer(HiddenPointer* pointer) {
  {
    std::lock_guard guard(lock);
    if (pointer->next != nullptr) pointer->next->link = pointer->link;
    *pointer->link = pointer->next;
  }
  delete pointer;
}

}  // namespace fiber::detail
