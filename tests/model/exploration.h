// SPDX-License-Identifier: BSD-2-Clause
// What the two halves of the explorer share: the search over schedules (explorer.cpp) and the memory that the threads
// see (memory.cpp).
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_set>
#include <vector>

#include "context/sanitizer.h"
#include "explorer.h"

namespace model {

using detail::Value;

inline constexpr int kMaxThreads = 6, kMaxLocations = 128;
inline constexpr std::size_t kStackSize = 64 * 1024, kStateSize = 64 * 1024;

// For each location, the index of a store in its history.
struct View {
  std::array<std::uint8_t, kMaxLocations> at{};
  void join(const View& other, int count) {
    for (int i = 0; i < count; ++i) at[i] = std::max(at[i], other.at[i]);
  }
};

struct Store {
  Value value;
  View view;  // what an acquiring load of it takes over
};

struct Location {
  std::vector<Store> stores;
  std::uintptr_t object = 0;
  bool plain = false;
  bool alive = true;
  std::uint64_t version = 0;  // when there are no views: how often stored to
  // Of a plain one: a location beside it that counts reads. A write must know of the last one; that is enough, for any
  // read is the last one in some schedule.
  int reads = 0;
  std::size_t last() const { return stores.size() - 1; }
};

struct Thread {
  const char* name = nullptr;
  std::function<void()> body;
  std::unique_ptr<std::byte[]> stack{new std::byte[kStackSize]};
  std::uintptr_t context = 0;
  [[no_unique_address]] fiber::detail::SanitizerStack sanitizer;
  View view, acquirable, released;  // acquirable: by the next fence; released: at the last one
  std::uint64_t history = 0;
  unsigned steps = 0;
  bool ended = false;
  int sections = 0;  // critical ones it is in
  int last_loaded = -1;
  std::size_t last_index = 0;      // the store it saw there, when there are views
  std::uint64_t last_version = 0;  // when there are no views: of what was loaded
  // what must hold of a location's last value before it goes on
  int awaited = -1;
  bool (*ready)(Value, Value) = nullptr;
  Value operand = 0;
  bool paused = false;
  const char* waits_for = nullptr;
};

struct Choice {
  std::uint8_t taken, count;
};

inline std::uint64_t mix(std::uint64_t hash, std::uint64_t value) {
  const auto product = static_cast<unsigned __int128>(hash ^ value ^ 0x9e3779b97f4a7c15u) * 0xd6e8feb86659fd93u;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64) ^ (value << 32);
}

class Explorer {
 public:
  Result explore(const Options& options, const std::function<void(Scenario&)>& setup, const char* replay);

  // --- the search (explorer.cpp)
  void add_thread(const char* name, std::function<void()> body);
  void* allocate(std::size_t size, void (*destroy)(void*));
  // The scheduling point before every access.
  void step();
  // One of so many ways to go on.
  int choose(int count);
  void fail(const std::string& what);
  void trace(const char* what, int location, Value value);
  // The running thread has seen that.
  void learn(Value value) { thread_->history = mix(thread_->history, value + 1); }
  bool in_thread() const { return thread_ != nullptr; }
  bool mutated(Mutation mutation, int location) const {
    return options_->mutation == mutation && (options_->mutated_location < 0 || options_->mutated_location == location);
  }
  // Whether there are views.
  bool weak() const { return thread_ != nullptr && !options_->sequential; }

  std::function<void()> at_end_, at_rest_;
  Thread* thread_ = nullptr;  // that runs; null: setup, or the checks at the end
  std::array<Thread, kMaxThreads> threads_;
  int thread_count_ = 0;

  // --- the memory (memory.cpp)
  int new_location(Value initial, bool plain, std::uintptr_t object);
  Location& alive(int location) {
    if (!locations_[location].alive) fail("a variable was used after its end of life");
    return locations_[location];
  }
  // The running thread reads that store.
  void read(int location, std::size_t index, std::memory_order order);
  // `continues`: what a read-modify-write has read; an acquiring load of the new value synchronises with that one too.
  void write(int location, Value value, std::memory_order order, const Store* continues);
  void fence(Thread& thread, std::memory_order order);

  std::array<Location, kMaxLocations> locations_;
  int location_count_ = 0;
  View sequential_;

 private:
  [[noreturn]] static void enter();
  [[noreturn]] void end_of_run();
  void run_once(const std::function<void(Scenario&)>& setup);
  bool enabled(const Thread& thread) const;
  std::uint64_t fingerprint();

  const Options* options_ = nullptr;
  std::vector<Choice> choices_;
  std::size_t position_ = 0;
  std::unordered_set<std::uint64_t> seen_;
  Result result_;
  std::uintptr_t scheduler_ = 0;
  [[no_unique_address]] fiber::detail::SanitizerStack sanitizer_;  // of the scheduler's stack
  bool over_ = false, tracing_ = false;
  std::string trace_;
  alignas(128) std::array<std::byte, kStateSize> state_;
  std::size_t state_used_ = 0;
  void (*destroy_)(void*) = nullptr;
};

// The one that runs.
extern Explorer* explorer;

}  // namespace model
