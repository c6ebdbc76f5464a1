// SPDX-License-Identifier: BSD-2-Clause
// Contexts: one request's cancellation, deadline and values, handed down from caller to callee, as in Go.
//
//   fiber::CancelSource stop = fiber::with_cancel(request);            // cancels when it goes out of scope, or earlier
//   fiber::Context step = fiber::with_timeout(stop.context(), 50ms);
//   if (auto row = rows.receive(step)) ...                             // every wait takes a context: see fiber/limit.h
//
// A context is cancelled when its CancelSource, or that of any context it was derived from, says so, and when its
// deadline, or an earlier one it inherited, has passed. That is for ever, and so is the reason. A deadline is nothing
// but a time: it arms no timer until somebody waits with it.
//
// Everything here may be called by any fiber and any thread, also while the runtime does not run.
#pragma once

#include <cstdint>
#include <utility>

#include "fiber/config.h"
#include "fiber/limit.h"

namespace fiber {

// Why a context is cancelled.
enum class Why : std::uint8_t { not_cancelled, cancelled, deadline_exceeded };

// Names a value that contexts carry. The object's address is its identity: make it a constant with static lifetime.
//   inline constexpr fiber::ContextKey<User> current_user;
template <class T>
struct ContextKey {
  constexpr ContextKey() = default;
  ContextKey(const ContextKey&) = delete;
  ContextKey& operator=(const ContextKey&) = delete;
};

namespace detail {
struct ContextValue {
  const void* key;
  void* value;
  void (*destroy)(void* value);
};
// The results are owned references; `parent` null: the background.
FIBER_API ContextCore* context_with_cancel(ContextCore* parent);
FIBER_API ContextCore* context_with_deadline(ContextCore* parent, Deadline deadline);
FIBER_API ContextCore* context_with_value(ContextCore* parent, const ContextValue& value);
FIBER_API void context_retain(ContextCore* core);
FIBER_API void context_release(ContextCore* core);
FIBER_API void context_cancel(ContextCore* core);
FIBER_API Why context_why(ContextCore* core);
FIBER_API Deadline context_deadline(const ContextCore* core);
FIBER_API const void* context_value(const ContextCore* core, const void* key);
FIBER_API Status context_wait(ContextCore* core, const Limit& limit);

// Says in memory that here is the right to cancel: the address of the core plus this (fiberprof_context::cancel_handle
// in fiberprof/registry.h), or 0.
inline constexpr std::uintptr_t kCancelHandle = 84;
}  // namespace detail

// The right to watch: copies share it, and cost one atomic increment. Default-constructed: the background, which is
// never cancelled, has no deadline and no values.
class Context {
 public:
  Context() = default;
  Context(const Context& other) : core_(other.core_) {
    if (core_ != nullptr) detail::context_retain(core_);
  }
  Context(Context&& other) noexcept : core_(std::exchange(other.core_, nullptr)) {}
  Context& operator=(Context other) noexcept {
    std::swap(core_, other.core_);
    return *this;
  }
  ~Context() {
    if (core_ != nullptr) detail::context_release(core_);
  }

  // Reads the clock when the context has a deadline, else two words.
  Why why() const { return core_ == nullptr ? Why::not_cancelled : detail::context_why(core_); }
  bool cancelled() const { return why() != Why::not_cancelled; }
  // The earliest of its own and all inherited deadlines. Deadline::max(): none.
  Deadline deadline() const { return core_ == nullptr ? Deadline::max() : detail::context_deadline(core_); }
  // What with_value() put under that key, here or in what this was derived from; null: nothing. Lives as long as this
  // context. Linear in the number of derivations.
  template <class T>
  const T* value(const ContextKey<T>& key) const {
    return core_ == nullptr ? nullptr : static_cast<const T*>(detail::context_value(core_, &key));
  }
  // Waits until it is cancelled: done. Anything else says that `limit` came first.
  Status wait(Limit limit = {}) const { return detail::context_wait(core_, limit); }

  // Takes over a reference; the runtime's own.
  static Context adopt(detail::ContextCore* core) {
    Context context;
    context.core_ = core;
    return context;
  }
  detail::ContextCore* core() const { return core_; }

 private:
  detail::ContextCore* core_ = nullptr;
};

// The right to cancel one context. Move-only; its end of life cancels. Whoever waits with that context, or one derived
// from it, wakes; O(waiters and derived contexts that have a source of their own).
class CancelSource {
 public:
  CancelSource() = default;  // none; has the background as its context
  explicit CancelSource(const Context& parent)
      : context_(Context::adopt(detail::context_with_cancel(parent.core()))),
        right_(reinterpret_cast<std::uintptr_t>(context_.core()) + detail::kCancelHandle) {}
  CancelSource(CancelSource&& other) noexcept
      : context_(std::move(other.context_)), right_(std::exchange(other.right_, 0)) {}
  CancelSource& operator=(CancelSource&& other) noexcept {
    if (this != &other) {
      cancel();
      context_ = std::move(other.context_);
      right_ = std::exchange(other.right_, 0);
    }
    return *this;
  }
  ~CancelSource() { cancel(); }

  const Context& context() const { return context_; }
  // The second time and later: nothing.
  void cancel() {
    if (right_ != 0) detail::context_cancel(context_.core());
  }

 private:
  Context context_;
  std::uintptr_t right_ = 0;  // see kCancelHandle
};

[[nodiscard]] inline CancelSource with_cancel(const Context& parent = {}) { return CancelSource(parent); }

[[nodiscard]] inline Context with_deadline(const Context& parent, Deadline deadline) {
  return Context::adopt(detail::context_with_deadline(parent.core(), deadline));
}

template <class Rep, class Period>
[[nodiscard]] Context with_timeout(const Context& parent, std::chrono::duration<Rep, Period> time) {
  return with_deadline(parent, detail::deadline_after(time));
}

// The value is moved in, and destroyed with the last context derived from this one.
template <class T, class U>
[[nodiscard]] Context with_value(const Context& parent, const ContextKey<T>& key, U&& value) {
  auto* held = new T(std::forward<U>(value));
  return Context::adopt(
      detail::context_with_value(parent.core(), {&key, held, [](void* old) { delete static_cast<T*>(old); }}));
}

inline Limit::Limit(const Context& context) : context_(context.core()) {}
inline Limit::Limit(const Context& context, Deadline deadline) : deadline_(deadline), context_(context.core()) {}

}  // namespace fiber
