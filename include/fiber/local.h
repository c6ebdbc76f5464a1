// SPDX-License-Identifier: BSD-2-Clause
// Fiber-local values: what thread_local is to threads. (A thread_local read before and after a wait may be two
// threads'.)
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

#include "fiber/config.h"

namespace fiber {

namespace detail {
using LocalKey = std::uint64_t;
FIBER_API LocalKey local_register();
FIBER_API void local_unregister(LocalKey key);
// The caller's value, or null.
FIBER_API void* local_get(LocalKey key);
// Gives the caller a value, destroying the one it has. Null: none.
FIBER_API void local_set(LocalKey key, void* value, void (*destroy)(void* value));
}  // namespace detail

// One value of type T per fiber, made when that fiber first asks for it, and destroyed on that fiber at its end, before
// a join returns. A destructor may wait, and may make local values again, four times
// over. A thread that is no fiber has a value of its own, too, destroyed at the thread's end. Fibers abandoned by the
// end of run() do not destroy theirs.
//
// Usually a global or static object. At most 256 at a time: one more ends the process with a message. Values that
// fibers have when a Local is destroyed are destroyed with their fibers.
template <class T>
class Local {
 public:
  // Values are default-constructed, or what `make` returns; it runs on the fiber that asks.
  Local() : Local([] { return std::make_unique<T>(); }, nullptr) {}
  template <class F>
  explicit Local(F make) : Local([make = std::move(make)] { return std::make_unique<T>(make()); }, nullptr) {}
  Local(const Local&) = delete;
  Local& operator=(const Local&) = delete;
  ~Local() { detail::local_unregister(key_); }

  // The calling fiber's value. The reference is good until that fiber's end or reset(), for that fiber only.
  T& operator*() {
    if (void* value = detail::local_get(key_)) return *static_cast<T*>(value);
    return make();
  }
  T* operator->() { return &**this; }
  // Whether the calling fiber has a value already.
  bool has_value() const { return detail::local_get(key_) != nullptr; }
  // Destroys the calling fiber's value; it gets a new one when it asks again.
  void reset() { detail::local_set(key_, nullptr, nullptr); }

 private:
  Local(std::function<std::unique_ptr<T>()> make, std::nullptr_t) : make_(std::move(make)) {}
  [[gnu::noinline]] T& make() {
    std::unique_ptr<T> made = make_();
    if (void* value = detail::local_get(key_)) return *static_cast<T*>(value);  // make_ has asked for it itself
    T* value = made.get();
    detail::local_set(key_, value, [](void* old) { delete static_cast<T*>(old); });
    made.release();
    return *value;
  }
  std::function<std::unique_ptr<T>()> make_;
  detail::LocalKey key_ = detail::local_register();
};

}  // namespace fiber
