// SPDX-License-Identifier: BSD-2-Clause
// Channels, as in Go: typed, unbuffered or bounded, closable, many senders and receivers.
//
// Values leave a channel in the order in which they were sent. Those who wait to send are served in the order of
// arrival, and so are those who wait to receive; a select has its place among those of each of its channels. Nobody who
// comes later is served before, but in what order those who were served go on is up to the scheduler.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <new>
#include <optional>
#include <type_traits>
#include <utility>

#include "fiber/config.h"
#include "fiber/limit.h"

namespace fiber {

namespace detail {

struct ChannelCore;

// How to handle one element: all the core knows about T.
struct ElementType {
  std::size_t size;
  std::size_t align;
  bool word;                           // moving it is copying 8 bytes, and destroying it is nothing
  void (*move)(void* to, void* from);  // constructs *to from std::move(*from)
  void (*destroy)(void* element);
};

template <class T>
inline constexpr ElementType element_type = {
    sizeof(T), alignof(T), sizeof(T) == 8 && std::is_trivially_copyable_v<T>,
    [](void* to, void* from) { new (to) T(std::move(*static_cast<T*>(from))); },
    [](void* element) { static_cast<T*>(element)->~T(); }};

// What a handle may do. A core lives as long as there is any right to it; how many of each are left tells who may still
// end a wait. Values: what a handle adds to ChannelCore::rights.
enum class ChannelRight : std::uint64_t { send = 1, receive = std::uint64_t{1} << 32 };

// A handle is a word that tells what it may do, so that whoever finds one in memory knows, too: the address of the core
// plus this (fiberprof_channel::send_handle and receive_handle in fiberprof/registry.h). That of a nil channel is this
// alone.
constexpr std::uintptr_t handle_offset(ChannelRight right) { return right == ChannelRight::send ? 112 : 116; }

// With one right of each kind, both the caller's.
FIBER_API ChannelCore* channel_make(std::size_t capacity, const ElementType& type, const char* name);
FIBER_API void channel_retain(ChannelCore* core, ChannelRight right);
FIBER_API void channel_release(ChannelCore* core, ChannelRight right);
// Send: done, or not without waiting longer. Closed ends the process.
FIBER_API void channel_send(ChannelCore* core, void* element);
FIBER_API Status channel_try_send(ChannelCore* core, void* element);
FIBER_API Status channel_send_limited(ChannelCore* core, void* element, const Limit& limit);
// Receive: done (the element was constructed), closed, or not without waiting longer.
FIBER_API Status channel_receive(ChannelCore* core, void* element);
FIBER_API Status channel_try_receive(ChannelCore* core, void* element);
FIBER_API Status channel_receive_limited(ChannelCore* core, void* element, const Limit& limit);
FIBER_API void channel_close(ChannelCore* core);
FIBER_API std::size_t channel_length(const ChannelCore* core);
FIBER_API std::size_t channel_capacity(const ChannelCore* core);

// One right to a core, which it does not keep alive.
template <ChannelRight right>
class ChannelWord {
 public:
  ChannelWord() = default;
  explicit ChannelWord(ChannelCore* core) : word_(reinterpret_cast<std::uintptr_t>(core) + kNil) {}
  ChannelCore* get() const { return reinterpret_cast<ChannelCore*>(word_ - kNil); }

 private:
  static constexpr std::uintptr_t kNil = handle_offset(right);
  std::uintptr_t word_ = kNil;
};

// One right to a core, counted.
template <ChannelRight right>
class ChannelRef {
 public:
  ChannelRef() = default;
  explicit ChannelRef(ChannelCore* owned) : word_(owned) {}
  ChannelRef(const ChannelRef& other) : word_(other.word_) {
    if (get() != nullptr) channel_retain(get(), right);
  }
  ChannelRef(ChannelRef&& other) noexcept : word_(std::exchange(other.word_, {})) {}
  ChannelRef& operator=(ChannelRef other) noexcept {
    std::swap(word_, other.word_);
    return *this;
  }
  ~ChannelRef() {
    if (get() != nullptr) channel_release(get(), right);
  }
  ChannelCore* get() const { return word_.get(); }

 private:
  ChannelWord<right> word_;
};
using SendRef = ChannelRef<ChannelRight::send>;
using ReceiveRef = ChannelRef<ChannelRight::receive>;

// Storage for an element that may or may not arrive.
template <class T>
struct Slot {
  alignas(T) unsigned char bytes[sizeof(T)];
  T* get() { return std::launder(reinterpret_cast<T*>(bytes)); }
  std::optional<T> take() {
    std::optional<T> value(std::move(*get()));
    get()->~T();
    return value;
  }
};

}  // namespace detail

// What a receive with a limit gives: a value, or why there is none.
template <class T>
struct Received : std::optional<T> {
  Status status;
};

// The right to send and to close. Copies share the channel. A default-constructed handle is the nil channel: sending
// on it waits for ever.
template <class T>
class Sender {
 public:
  Sender() = default;
  explicit Sender(detail::SendRef core) : core_(std::move(core)) {}

  // Waits until a receiver or buffer space takes the value. Sending on a closed channel prints a message and aborts.
  // Fibers; a thread that is no fiber may send too, and then blocks the thread.
  void send(T value) { detail::channel_send(core_.get(), &value); }
  // Waits no longer than `limit`: done, timed_out or cancelled. The value is untouched unless it was sent.
  Status send(T& value, Limit limit) { return detail::channel_send_limited(core_.get(), &value, limit); }
  Status send(T&& value, Limit limit) { return send(value, limit); }
  Status send(const T& value, Limit limit) {
    T copy(value);
    return send(copy, limit);
  }
  // False, and the value is untouched, when that would have to wait. Any thread.
  bool try_send(T& value) { return detail::channel_try_send(core_.get(), &value) == Status::done; }
  bool try_send(T&& value) { return try_send(value); }
  // No more values will come: receivers drain what is there, then get nothing. Closing twice aborts. Any thread.
  void close() { detail::channel_close(core_.get()); }
  std::size_t size() const { return detail::channel_length(core_.get()); }
  std::size_t capacity() const { return detail::channel_capacity(core_.get()); }
  explicit operator bool() const { return core_.get() != nullptr; }
  detail::ChannelCore* core() const { return core_.get(); }

 private:
  detail::SendRef core_;
};

// The right to receive. Copies share the channel. A default-constructed handle is the nil channel: receiving from it
// waits for ever. A Receiver cannot be turned into a Sender.
template <class T>
class Receiver {
 public:
  Receiver() = default;
  explicit Receiver(detail::ReceiveRef core) : core_(std::move(core)) {}

  // Waits for a value; nothing once the channel is closed and drained. Fibers, or a thread, which it blocks.
  std::optional<T> receive() {
    detail::Slot<T> slot;
    if (detail::channel_receive(core_.get(), slot.bytes) != Status::done) return {};
    return slot.take();
  }
  // The same, but waits no longer than `limit`.
  Received<T> receive(Limit limit) {
    detail::Slot<T> slot;
    const Status status = detail::channel_receive_limited(core_.get(), slot.bytes, limit);
    if (status != Status::done) return {std::nullopt, status};
    return {slot.take(), status};
  }
  // A value if one is there now. Any thread.
  std::optional<T> try_receive() {
    detail::Slot<T> slot;
    if (detail::channel_try_receive(core_.get(), slot.bytes) != Status::done) return {};
    return slot.take();
  }
  std::size_t size() const { return detail::channel_length(core_.get()); }
  std::size_t capacity() const { return detail::channel_capacity(core_.get()); }
  explicit operator bool() const { return core_.get() != nullptr; }
  detail::ChannelCore* core() const { return core_.get(); }

  // for (T& value : receiver): until the channel is closed and drained.
  class Iterator {
   public:
    explicit Iterator(Receiver* from) : from_(from) { ++*this; }
    Iterator& operator++() {
      value_ = from_->receive();
      return *this;
    }
    T& operator*() { return *value_; }
    bool operator==(std::default_sentinel_t) const { return !value_.has_value(); }

   private:
    Receiver* from_;
    std::optional<T> value_;
  };
  Iterator begin() { return Iterator(this); }
  std::default_sentinel_t end() { return {}; }

 private:
  detail::ReceiveRef core_;
};

// Both rights at once, and counts as one handle of each kind. Converts to Sender<T> and Receiver<T>.
template <class T>
class Channel : public Sender<T>, public Receiver<T> {
 public:
  // A new channel with that many slots; 0: unbuffered. A capacity whose buffer cannot be allocated prints a message and
  // aborts. The name is for tools and messages; static lifetime. Tools also show where the channel was made, hence the
  // inlining.
  [[gnu::always_inline]] explicit Channel(std::size_t slots = 0, const char* name = nullptr)
      : Channel(detail::channel_make(slots, detail::element_type<T>, name)) {}

  Sender<T> sender() const { return *this; }
  Receiver<T> receiver() const { return *this; }
  using Sender<T>::size;
  using Sender<T>::capacity;
  using Sender<T>::core;
  using Sender<T>::operator bool;

 private:
  explicit Channel(detail::ChannelCore* made)
      : Sender<T>(detail::SendRef(made)), Receiver<T>(detail::ReceiveRef(made)) {}
};

}  // namespace fiber
