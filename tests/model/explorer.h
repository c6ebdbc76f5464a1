// SPDX-License-Identifier: BSD-2-Clause
// Explores every interleaving of a few threads over the C++ memory model.
//
// A scenario sets up shared state and threads. The threads run as coroutines on one real thread; every access to a
// model::Atomic is a point where the explorer decides who goes on, and for a load, which of the values that C++ allows
// it to see. All decisions are tried, depth first, by running the scenario again from the start with another decision.
//
// Memory. Each location keeps its stores in the order in which they were executed; each thread has a view, the oldest
// store of each location that it may still read. A load reads any store not older than the view. An acquiring load
// takes over the view that a releasing store left with its value; fences and seq_cst order as C++20 says (a seq_cst
// load sees at least the last seq_cst store; seq_cst fences are totally ordered). So a store may stay invisible to
// other threads for as long as nothing orders it: all that store buffers (TSO) do, and what acquire/release hardware
// does to loads. Not modelled: stores to one location taking effect in another order than executed, loads that see
// stores from the future, and spurious failures of compare_exchange_weak.
//
// Pruning. What a thread does depends only on what it has read. A state is therefore known by each thread's history of
// values read, the stores that can still be read, and the views; a schedule that arrives at a state seen before is cut
// short. States are compared by a 64-bit hash: with a million states the chance of a wrong cut is about 3e-8. Objects
// must thus live at the same addresses in every run: in Scenario::make, or on a thread's stack.
//
// What is found: a failed check, a deadlock (threads wait and none can go on: a lost wake-up), a data race on a
// model::Plain, an access to an atomic after its end of life, a thread that goes round in circles.
//
// A failing schedule has a replay string; with it in FIBER_MODEL_REPLAY the scenario runs once and prints every access.
// Coroutines are abandoned where they stand when a schedule is cut short: nothing on their stacks may own memory.
#pragma once

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <type_traits>

#include "context/sanitizer.h"

namespace model {

// A known bug, put in on purpose: what an access does instead.
enum class Mutation {
  none,
  relaxed_loads,   // loads and read-modify-writes do not acquire
  relaxed_stores,  // stores and read-modify-writes do not release
  no_fences,
  blind_cas,  // compare_exchange stores without comparing
  split_rmw,  // read-modify-writes are a load, and a store later
};

struct Result {
  bool failed = false;
  std::string message;  // what went wrong, the replay string and the last accesses
  std::string replay;
  std::uint64_t schedules = 0;  // run, in full or until they met a known state
  std::uint64_t states = 0;
  std::uint64_t longest = 0;  // decisions
  bool exhausted = false;     // all of them were tried
};

// One run, as its setup function sees it.
class Scenario {
 public:
  // The scenario's shared state; destroyed after the run. Once per run.
  template <class State, class... Arguments>
  State& make(Arguments&&... arguments) {
    void* memory = allocate(sizeof(State), [](void* state) { static_cast<State*>(state)->~State(); });
    return *new (memory) State(std::forward<Arguments>(arguments)...);
  }
  void thread(const char* name, std::function<void()> body);
  // Runs after all threads have ended, and sees everything.
  void at_end(std::function<void()> check);
  // Threads may wait for ever: when none can go on, this runs. Without it that is a deadlock.
  void at_rest(std::function<void()> check);

 private:
  static void* allocate(std::size_t size, void (*destroy)(void*));
};

// AddressSanitizer looks for what a schedule does wrong with memory, and slows each down: a part of them is enough for
// it.
inline constexpr std::uint64_t kMaxStates = FIBER_ASAN ? 200'000 : 20'000'000;

struct Options {
  const char* name;
  Mutation mutation = Mutation::none;
  int mutated_location = -1;  // in the order of construction; -1: all
  std::uint64_t max_states = kMaxStates;
  unsigned max_steps = 300;  // of one thread
  // Every load sees the last store, and data races are not looked for: far fewer states. For protocols too large to
  // explore in full; what fences and orders are for must then be seen in a smaller part of them.
  bool sequential = false;
};

// Runs `setup` for every schedule. Stops at the first failure.
Result explore(const Options& options, const std::function<void(Scenario&)>& setup);

// --- for threads and checks ------------------------------------------------------------------------------------------

// Ends the run as failed.
void check(bool holds, const char* what);
// Inside a critical section that is one step (see Lock): here it is not.
void split();
// A loop that waits for another thread to store to what this thread has loaded last.
void pause();

// The calling thread's future, and what it leaves behind for the checks at the end, depends on nothing it has read so
// far but on where it is and on `state`. Lets states meet again that differ only in how they were reached.
void forget(std::uint64_t place, std::uint64_t state = 0);

namespace detail {
using Value = std::uint64_t;
int new_location(Value initial, bool plain, std::uintptr_t object);
// The location, if `object` is alive and has that one; else the run has failed.
int location_of(int location, std::uintptr_t object);
void end_location(int location);
Value load(int location, std::memory_order order);
void store(int location, Value value, std::memory_order order);
// Stores operate(last value) unless that is not wanted; returns what was there.
using Operate = Value (*)(Value old, Value operand);
Value read_modify_write(int location, Operate operate, Value operand, std::memory_order order);
bool compare_exchange(int location, Value& expected, Value desired, std::memory_order success,
                      std::memory_order failure);
Value await(int location, bool (*ready)(Value value, Value operand), Value operand, const char* what,
            const Value* then_store = nullptr);
void fence(std::memory_order order);
void heavy_barrier();
void enter_section();
void leave_section();
Value plain_read(int location);
void plain_write(int location, Value value);

template <class T>
Value to_value(T value) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= sizeof(Value));
  if constexpr (std::is_pointer_v<T>) {
    return reinterpret_cast<Value>(value);
  } else {
    return static_cast<Value>(value);
  }
}
template <class T>
T from_value(Value value) {
  if constexpr (std::is_pointer_v<T>) {
    return reinterpret_cast<T>(value);
  } else {
    return static_cast<T>(value);
  }
}
}  // namespace detail

// Stands in for std::atomic.
template <class T>
class Atomic {
 public:
  Atomic(T initial = T{})
      : location_(detail::new_location(detail::to_value(initial), false, reinterpret_cast<std::uintptr_t>(this))) {
  }  // NOLINT: as std::atomic
  ~Atomic() { detail::end_location(location_); }
  Atomic(const Atomic&) = delete;
  Atomic& operator=(const Atomic&) = delete;

  T load(std::memory_order order = std::memory_order_seq_cst) const {
    return detail::from_value<T>(detail::load(at(), order));
  }
  void store(T value, std::memory_order order = std::memory_order_seq_cst) {
    detail::store(at(), detail::to_value(value), order);
  }
  T exchange(T value, std::memory_order order = std::memory_order_seq_cst) {
    return modify([](detail::Value, detail::Value operand) { return operand; }, value, order);
  }
  T fetch_add(T value, std::memory_order order = std::memory_order_seq_cst) {
    return modify(
        [](detail::Value old, detail::Value operand) {
          return detail::to_value(static_cast<T>(detail::from_value<T>(old) + detail::from_value<T>(operand)));
        },
        value, order);
  }
  T fetch_sub(T value, std::memory_order order = std::memory_order_seq_cst) {
    return modify(
        [](detail::Value old, detail::Value operand) {
          return detail::to_value(static_cast<T>(detail::from_value<T>(old) - detail::from_value<T>(operand)));
        },
        value, order);
  }
  T fetch_or(T value, std::memory_order order = std::memory_order_seq_cst) {
    return modify([](detail::Value old, detail::Value operand) { return old | operand; }, value, order);
  }
  T fetch_and(T value, std::memory_order order = std::memory_order_seq_cst) {
    return modify([](detail::Value old, detail::Value operand) { return old & operand; }, value, order);
  }
  bool compare_exchange_strong(T& expected, T desired, std::memory_order success, std::memory_order failure) {
    detail::Value value = detail::to_value(expected);
    const bool done = detail::compare_exchange(at(), value, detail::to_value(desired), success, failure);
    expected = detail::from_value<T>(value);
    return done;
  }
  bool compare_exchange_strong(T& expected, T desired, std::memory_order order = std::memory_order_seq_cst) {
    const std::memory_order failure = order == std::memory_order_acq_rel   ? std::memory_order_acquire
                                      : order == std::memory_order_release ? std::memory_order_relaxed
                                                                           : order;
    return compare_exchange_strong(expected, desired, order, failure);
  }
  template <class... Orders>
  bool compare_exchange_weak(T& expected, T desired, Orders... orders) {
    return compare_exchange_strong(expected, desired, orders...);
  }
  // Not of std::atomic: waits, without spinning, until the last value stored is this one, and acquires it. What a
  // futex or a blocking lock comes down to.
  void await(T value, const char* what) const {
    detail::await(
        at(), [](detail::Value now, detail::Value wanted) { return now == wanted; }, detail::to_value(value), what);
  }
  // The same, and stores another value in the same step.
  void await(T value, const char* what, T then) {
    const detail::Value stored = detail::to_value(then);
    detail::await(
        at(), [](detail::Value now, detail::Value wanted) { return now == wanted; }, detail::to_value(value), what,
        &stored);
  }
  void await_not(T value, const char* what) const {
    detail::await(
        at(), [](detail::Value now, detail::Value unwanted) { return now != unwanted; }, detail::to_value(value), what);
  }

 private:
  T modify(detail::Operate operate, T operand, std::memory_order order) {
    return detail::from_value<T>(detail::read_modify_write(at(), operate, detail::to_value(operand), order));
  }
  // Also of one that is dead, which the model is to find.
  [[gnu::no_sanitize_address]] int at() const {
    return detail::location_of(location_, reinterpret_cast<std::uintptr_t>(this));
  }
  int location_;
};

// A variable that is not atomic: reading or writing it unordered with another thread's write is a failure.
template <class T>
class Plain {
 public:
  Plain(T initial = T{})
      : location_(detail::new_location(detail::to_value(initial), true, reinterpret_cast<std::uintptr_t>(this))) {
  }  // NOLINT
  ~Plain() { detail::end_location(location_); }
  Plain(const Plain&) = delete;
  Plain& operator=(const Plain&) = delete;
  T get() const { return detail::from_value<T>(detail::plain_read(at())); }
  void set(T value) { detail::plain_write(at(), detail::to_value(value)); }
  // As a variable of the code under test.
  operator T() const { return get(); }  // NOLINT
  T operator=(T value) {                // NOLINT
    set(value);
    return value;
  }
  T operator++() { return *this = static_cast<T>(get() + 1); }

 private:
  [[gnu::no_sanitize_address]] int at() const {
    return detail::location_of(location_, reinterpret_cast<std::uintptr_t>(this));
  }
  int location_;
};

// The policy for templates over atomics (runtime/sched/atomics.h).
struct Atomics {
  template <class T>
  using atomic = Atomic<T>;
  static void fence(std::memory_order order) { detail::fence(order); }
  // Threads run in program order here: what keeps a compiler from moving accesses has nothing to do.
  static void light_barrier() {}
  // membarrier(2): every other thread executes a seq_cst fence at some moment of the call.
  static void heavy_barrier() { detail::heavy_barrier(); }
};

// What spin_lock (runtime/sched/spinlock.h) does between two looks.
template <class T>
void spin_wait(const Atomic<T>&, int) {
  pause();
}

// A lock that waits without spinning. When everything is sequential a critical section is one step, which is exact when
// at most one access in it is to something that others access without the lock (Lipton's reduction); where there are
// more, put a split() between them.
class Lock {
 public:
  void lock() {
    held_.await(0, "a lock", 1);
    detail::enter_section();
  }
  void unlock() {
    held_.store(0, std::memory_order_release);
    detail::leave_section();
  }

 private:
  Atomic<std::uint32_t> held_{0};
};

}  // namespace model
