// SPDX-License-Identifier: BSD-2-Clause
// Fibers: spawn, join, and what a fiber may say about itself.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <string_view>
#include <type_traits>
#include <utility>

#include "fiber/config.h"
#include "fiber/limit.h"

namespace fiber {

// What a single spawn may choose.
struct SpawnOptions {
  std::string_view name = {};  // shown by every tool; the first 31 bytes are kept; copied
};

namespace detail {

struct Fiber;

// A fiber that has a stack but does not run yet, and room for its closure at the top of that stack.
struct NewFiber {
  Fiber* fiber;
  void* closure;
};
using Body = void (*)(void* closure);

FIBER_API NewFiber new_fiber(std::size_t closure_size, std::size_t closure_align, Body body, const void* entry,
                             const void* creator_pc, const SpawnOptions& options);
FIBER_API void start_fiber(Fiber* fiber);
// Prints which fiber let the exception out, and what it was, and aborts. Called inside a handler.
[[noreturn]] FIBER_API void unhandled_exception() noexcept;

// The code address of a callable's body, for names in profiles: a lambda's own operator(), not a wrapper. Null: it has
// no single one.
template <class F>
const void* entry_of(const F& f) {
  if constexpr (std::is_function_v<F>) {
    return reinterpret_cast<const void*>(&f);
  } else if constexpr (std::is_pointer_v<F> && std::is_function_v<std::remove_pointer_t<F>>) {
    return reinterpret_cast<const void*>(f);
  } else if constexpr (requires { &F::operator(); }) {
    auto member = &F::operator();
    const void* address;
    static_assert(sizeof(member) >= sizeof(address));
    std::memcpy(&address, &member, sizeof(address));
    return address;
  } else {
    return nullptr;
  }
}

// Calls f so that its body keeps a stack frame of its own: the frame that names the fiber.
template <class F>
decltype(auto) call_named(F& f) {
  if constexpr (requires { &F::operator(); }) {
    auto member = &F::operator();
    asm volatile("" : "+m"(member));
    return (f.*member)();
  } else {
    return f();
  }
}

// The part a joinable fiber shares with its handle.
struct JoinCore {
  std::atomic<std::uint32_t> references{2};
  std::atomic<std::uintptr_t> waiter{0};  // who waits, or how far the end has come: runtime/sched/join.h
  std::uint64_t fiber_id = 0;
  std::exception_ptr error;
};
FIBER_API void join_wait(JoinCore* core);
FIBER_API void* allocate_small(std::size_t size);
FIBER_API void free_small(void* memory, std::size_t size);
FIBER_API Status join_wait_limited(JoinCore* core, const Limit& limit);
FIBER_API void join_finish(JoinCore* core);
FIBER_API std::uint64_t fiber_id(const Fiber* fiber);

template <class R>
struct JoinState : JoinCore {
  std::conditional_t<std::is_void_v<R>, std::optional<bool>, std::optional<R>> value;
  void release() {
    // The last one need not lock the word: nobody else is left.
    if (references.load(std::memory_order_acquire) == 1 || references.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      delete this;
    }
  }
  static void* operator new(std::size_t size) { return allocate_small(size); }
  static void operator delete(void* memory, std::size_t size) { free_small(memory, size); }
};

}  // namespace detail

// The right to wait for one fiber's end and take its result. Move-only; dropping it detaches the fiber.
template <class R>
class JoinHandle {
 public:
  JoinHandle() = default;
  explicit JoinHandle(detail::JoinState<R>* state) : state_(state) {}
  JoinHandle(JoinHandle&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
  JoinHandle& operator=(JoinHandle&& other) noexcept {
    if (this != &other) {
      reset();
      state_ = std::exchange(other.state_, nullptr);
    }
    return *this;
  }
  ~JoinHandle() { reset(); }

  bool joinable() const { return state_ != nullptr; }
  std::uint64_t id() const { return state_->fiber_id; }

  // Waits for the fiber's end, as often as you like; join() then gives its result without a wait. One waiter at a time;
  // a thread that is no fiber may wait, too. The fiber goes on when the limit comes first.
  Status wait(Limit limit = {}) { return detail::join_wait_limited(state_, limit); }

  // Waits for the fiber's end; returns its result or rethrows the exception that ended it. Once.
  R join() {
    detail::join_wait(state_);
    std::unique_ptr<detail::JoinState<R>, void (*)(detail::JoinState<R>*)> state(
        std::exchange(state_, nullptr), [](detail::JoinState<R>* s) { s->release(); });
    // Moved out: it ends here, with whoever handles it, not with the fiber.
    if (state->error) std::rethrow_exception(std::move(state->error));
    if constexpr (!std::is_void_v<R>) return std::move(*state->value);
  }

 private:
  void reset() {
    if (state_ != nullptr) std::exchange(state_, nullptr)->release();
  }
  detail::JoinState<R>* state_ = nullptr;
};

// Starts a fiber that nobody joins. An exception that leaves it ends the process with a message. Any thread while
// the runtime runs.
template <class F>
[[gnu::noinline]] void go(const SpawnOptions& options, F&& function) {
  using Closure = std::decay_t<F>;
  detail::NewFiber made = detail::new_fiber(
      sizeof(Closure), alignof(Closure),
      [](void* raw) {
        Closure* closure = static_cast<Closure*>(raw);
        try {
          detail::call_named(*closure);
        } catch (...) {
          detail::unhandled_exception();
        }
        closure->~Closure();
      },
      detail::entry_of<Closure>(function), __builtin_return_address(0), options);
  new (made.closure) Closure(std::forward<F>(function));
  detail::start_fiber(made.fiber);
}

template <class F>
void go(F&& function) {
  go(SpawnOptions{}, std::forward<F>(function));
}

// Starts a fiber and returns the handle that joins it. Any thread while the runtime runs.
template <class F>
[[gnu::noinline]] auto spawn(const SpawnOptions& options, F&& function)
    -> JoinHandle<std::invoke_result_t<std::decay_t<F>&>> {
  using Function = std::decay_t<F>;
  using R = std::invoke_result_t<Function&>;
  auto state = std::make_unique<detail::JoinState<R>>();
  struct Closure {
    Function function;
    detail::JoinState<R>* state;
  };
  detail::NewFiber made = detail::new_fiber(
      sizeof(Closure), alignof(Closure),
      [](void* raw) {
        Closure* closure = static_cast<Closure*>(raw);
        detail::JoinState<R>* done = closure->state;
        try {
          if constexpr (std::is_void_v<R>) {
            detail::call_named(closure->function);
          } else {
            done->value.emplace(detail::call_named(closure->function));
          }
        } catch (...) {
          done->error = std::current_exception();
        }
        closure->~Closure();
        detail::join_finish(done);
        done->release();
      },
      detail::entry_of<Function>(function), __builtin_return_address(0), options);
  state->fiber_id = detail::fiber_id(made.fiber);
  new (made.closure) Closure{std::forward<F>(function), state.get()};
  detail::start_fiber(made.fiber);
  return JoinHandle<R>(state.release());
}

template <class F>
auto spawn(F&& function) {
  return spawn(SpawnOptions{}, std::forward<F>(function));
}

// Lets other runnable fibers go first. Fibers only; on another thread it yields the thread.
FIBER_API void yield();

// Id of the calling fiber: never 0, never reused in this process; 0 on a thread that is no fiber.
FIBER_API std::uint64_t current_id();

// Names the calling fiber, for tools. Keeps the first 31 bytes. No effect outside a fiber.
FIBER_API void set_name(std::string_view name);

}  // namespace fiber
