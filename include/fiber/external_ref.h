// SPDX-License-Identifier: BSD-2-Clause
// Tells tools about pointers that they cannot see.
//
// `fiberprof deadlock --prove` says that a fiber waits for ever when nobody who may still run can reach, in memory,
// what would end the wait. It follows every word that may be a pointer: into objects, with tags in the low or the
// highest bits, at odd addresses. It cannot follow what does not look like one: the links of an XOR list, pointers that
// are compressed, encrypted or kept as offsets or indices, those that were written to a file or a pipe, or handed to a
// library that keeps them so. Whatever such a pointer leads to would seem lost, and a fiber that waits for it would be
// reported, wrongly. An ExternalRef says that there is one.
//
//   struct Node { std::uintptr_t both; fiber::Sender<int> reply; fiber::ExternalRef listed; };
//   node->listed = fiber::ExternalRef(node);      // while it can only be reached through `both`
#pragma once

#include <utility>

#include "fiber/channel.h"
#include "fiber/config.h"

namespace fiber {

namespace detail {

struct HiddenPointer;
// Null for null.
FIBER_API HiddenPointer* hide_pointer(const void* target);
FIBER_API void forget_pointer(HiddenPointer* pointer);

}  // namespace detail

// While it lives, tools take it that somebody who runs has that pointer: they count what it points to, and everything
// that can be reached from there, as in use. It keeps nothing alive and changes nothing for the program. To be made
// before the last visible pointer goes, and to end not before the hidden ones are gone, or visible again; what it names
// may be freed while it exists. Where it lies itself does not matter.
//
// Costs an allocation of 32 bytes and a short lock when it is made, the lock when it ends. Any thread; one object is
// not to be used by two at a time. Programs that have none pay nothing.
class ExternalRef {
 public:
  ExternalRef() = default;
  // To memory of any kind: an object that holds handles, a mutex, a context, a wait group's token, a whole list. All of
  // the block that was allocated with it counts, or the whole stack or all globals.
  explicit ExternalRef(const void* target) : pointer_(detail::hide_pointer(target)) {}
  // To a channel, with the rights of the handle. For when there is no handle left in memory, such as one that is on its
  // way through a pipe; else point to the handle.
  template <class T>
  explicit ExternalRef(const Sender<T>& handle) : ExternalRef(word(handle.core(), detail::ChannelRight::send)) {}
  template <class T>
  explicit ExternalRef(const Receiver<T>& handle) : ExternalRef(word(handle.core(), detail::ChannelRight::receive)) {}
  template <class T>
  explicit ExternalRef(const Channel<T>& handle) : ExternalRef(static_cast<const void*>(handle.core())) {}

  ExternalRef(ExternalRef&& other) noexcept : pointer_(std::exchange(other.pointer_, nullptr)) {}
  ExternalRef& operator=(ExternalRef other) noexcept {
    std::swap(pointer_, other.pointer_);
    return *this;
  }
  ~ExternalRef() {
    if (pointer_ != nullptr) detail::forget_pointer(pointer_);
  }

 private:
  static const void* word(const detail::ChannelCore* core, detail::ChannelRight right) {
    return core == nullptr ? nullptr : reinterpret_cast<const char*>(core) + detail::handle_offset(right);
  }

  detail::HiddenPointer* pointer_ = nullptr;
};

}  // namespace fiber
