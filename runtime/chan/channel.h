// SPDX-License-Identifier: BSD-2-Clause
// The type-erased channel behind Sender<T> and Receiver<T>, shared with select.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "fiber/channel.h"
#include "sync/waiter.h"

namespace fiber::detail {

// Begins as fiberprof_channel.
struct ChannelCore {
  Object object{ObjectKind::channel};  // its waiters are senders: the buffer is full, or nobody receives
  std::size_t length = 0;              // elements in the buffer
  std::size_t capacity = 0;
  WaitQueue receivers;  // waiting because it is empty
  std::uint32_t closed = 0;
  std::uint32_t timers = 0;           // armed ones that will send
  std::atomic<std::uint64_t> rights;  // how many handles may send, and how many receive; see ChannelRight
  std::uint64_t creator_pc = 0;
  std::uint32_t send_handle = 0, receive_handle = 0;
  std::size_t first = 0;        // slot of the oldest element
  std::byte* buffer = nullptr;  // capacity slots, behind this object
  ElementType type{};

  ObjectLock& lock() { return object.lock; }
  WaitQueue& senders() { return object.waiters; }
  void* slot(std::size_t index) { return buffer + index * type.size; }
  std::size_t after(std::size_t index) const { return index + 1 == capacity ? 0 : index + 1; }
  // The slot behind the newest element.
  std::size_t end() const { return first + length >= capacity ? first + length - capacity : first + length; }
};

[[noreturn]] void send_on_closed(const ChannelCore* core);

}  // namespace fiber::detail
