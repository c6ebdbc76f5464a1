// SPDX-License-Identifier: BSD-2-Clause
// The type-erased channel behind Sender<T> and Receiver<T>, shared with select.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "fiber/channel.h"
#include "sync/waiter.h"

namespace fiber::detail {

struct ChannelCore {
  struct Queue {
    Waiter* head = nullptr;
    Waiter* tail = nullptr;
  };

  SpinWord lock{0};
  bool closed = false;
  std::size_t length = 0;  // elements in the buffer
  std::size_t first = 0;   // slot of the oldest
  std::size_t capacity = 0;
  ElementType type{};
  Queue senders;    // waiting because the buffer is full, or nobody receives
  Queue receivers;  // waiting because it is empty
  std::atomic<std::uint32_t> references{1};
  std::byte* buffer = nullptr;  // capacity slots, behind this object

  void* slot(std::size_t index) { return buffer + index * type.size; }
};

// Both with the lock held; they never wait, but time out. A waiter that must still be woken, after unlocking, is put
// into `wake`.
Status try_send_locked(ChannelCore* core, void* element, Fiber** wake);
Status try_receive_locked(ChannelCore* core, void* element, Fiber** wake);

[[noreturn]] void send_on_closed(const ChannelCore* core);

}  // namespace fiber::detail
