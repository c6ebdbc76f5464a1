// SPDX-License-Identifier: BSD-2-Clause
#include "explorer.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <unordered_set>
#include <utility>
#include <vector>

#include "context/context.h"

namespace model {

namespace {

using detail::Value;

constexpr int kMaxThreads = 6, kMaxLocations = 64;
constexpr std::size_t kStackSize = 64 * 1024, kStateSize = 64 * 1024;

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

std::uint64_t mix(std::uint64_t hash, std::uint64_t value) {
  const auto product = static_cast<unsigned __int128>(hash ^ value ^ 0x9e3779b97f4a7c15u) * 0xd6e8feb86659fd93u;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64) ^ (value << 32);
}

class Explorer {
 public:
  Result explore(const Options& options, const std::function<void(Scenario&)>& setup, const char* replay);

  // --- what Scenario and the atomics call
  void add_thread(const char* name, std::function<void()> body);
  void* allocate(std::size_t size, void (*destroy)(void*));
  int new_location(Value initial, bool plain, std::uintptr_t object);
  Location& alive(int location) {
    if (!locations_[location].alive) fail("a variable was used after its end of life");
    return locations_[location];
  }
  void step();
  int choose(int count);
  [[noreturn]] void end_of_run();
  void fail(const std::string& what);
  void trace(const char* what, int location, Value value);
  bool mutated(Mutation mutation, int location) const {
    return options_->mutation == mutation && (options_->mutated_location < 0 || options_->mutated_location == location);
  }
  void learn(Value value) { thread_->history = mix(thread_->history, value + 1); }
  void read(int location, std::size_t index, std::memory_order order);
  void write(int location, Value value, std::memory_order order, const Store* continues);
  void fence(Thread& thread, std::memory_order order);
  bool in_thread() const { return thread_ != nullptr; }
  // Whether there are views.
  bool weak() const { return thread_ != nullptr && !options_->sequential; }

  std::function<void()> at_end_, at_rest_;
  Thread* thread_ = nullptr;  // that runs; null: setup, or the checks at the end
  std::array<Thread, kMaxThreads> threads_;
  int thread_count_ = 0;
  std::array<Location, kMaxLocations> locations_;
  int location_count_ = 0;
  View sequential_;
  [[noreturn]] static void enter();

 private:
  void run_once(const std::function<void(Scenario&)>& setup);
  bool enabled(const Thread& thread) const;
  std::uint64_t fingerprint();
  void report();

  const Options* options_ = nullptr;
  std::vector<Choice> choices_;
  std::size_t position_ = 0;
  std::unordered_set<std::uint64_t> seen_;
  Result result_;
  std::uintptr_t scheduler_ = 0;
  bool over_ = false, tracing_ = false;
  std::string trace_;
  alignas(128) std::array<std::byte, kStateSize> state_;
  std::size_t state_used_ = 0;
  void (*destroy_)(void*) = nullptr;
};

Explorer* explorer = nullptr;

void Explorer::enter() {
  explorer->thread_->body();
  explorer->thread_->ended = true;
  explorer->end_of_run();
}

// Back to the scheduler, not to return.
void Explorer::end_of_run() {
  std::uintptr_t abandoned;
  fiber_switch(&abandoned, scheduler_);
  std::abort();
}

void Explorer::fail(const std::string& what) {
  if (!result_.failed) {
    result_.failed = true;
    result_.message = what;
    if (in_thread()) result_.message += std::string(" (in thread ") + thread_->name + ")";
  }
  over_ = true;
  if (in_thread()) end_of_run();
}

void Explorer::add_thread(const char* name, std::function<void()> body) {
  if (thread_count_ == kMaxThreads) std::abort();
  Thread& thread = threads_[thread_count_++];
  thread.name = name;
  thread.body = std::move(body);
  thread.history = 0;
  thread.steps = 0;
  thread.sections = 0;
  thread.ended = thread.paused = false;
  thread.awaited = thread.last_loaded = -1;
  thread.waits_for = nullptr;
  // As make_context does, but for another entry: `enter` begins like a function that was called.
  std::uintptr_t top = reinterpret_cast<std::uintptr_t>(thread.stack.get() + kStackSize) & ~std::uintptr_t{15};
#if defined(__x86_64__)
  top -= 8;
#endif
  fiber::InitialFrame frame{};
  frame.return_address = reinterpret_cast<std::uintptr_t>(&Explorer::enter);
  std::memcpy(reinterpret_cast<void*>(top - sizeof(frame)), &frame, sizeof(frame));
  thread.context = top - sizeof(frame) + offsetof(fiber::InitialFrame, frame_pointer);
}

void* Explorer::allocate(std::size_t size, void (*destroy)(void*)) {
  if (state_used_ != 0 || size > kStateSize) std::abort();
  state_used_ = size;
  destroy_ = destroy;
  return state_.data();
}

int Explorer::new_location(Value initial, bool plain, std::uintptr_t object) {
  const int count = plain ? 2 : 1;
  if (location_count_ + count > kMaxLocations) std::abort();
  const int first = location_count_;
  for (int i = 0; i < count; ++i) {
    Location& location = locations_[location_count_++];
    location.stores.clear();
    location.stores.push_back({i == 0 ? initial : 0, View{}});
    location.plain = plain;
    location.alive = true;
    location.version = 0;
    location.object = object;
    location.reads = first + 1;
  }
  if (in_thread()) learn(static_cast<Value>(first));
  return first;
}

int Explorer::choose(int count) {
  if (count == 1) return 0;
  if (position_ < choices_.size()) return choices_[position_++].taken;
  choices_.push_back({0, static_cast<std::uint8_t>(count)});
  ++position_;
  return 0;
}

// The scheduling point before every access.
void Explorer::step() {
  if (!in_thread()) return;
  if (options_->sequential && thread_->sections > 0 && thread_->awaited < 0) return;
  if (++thread_->steps > options_->max_steps) fail("a thread went round in circles");
  fiber_switch(&thread_->context, scheduler_);
}

bool Explorer::enabled(const Thread& thread) const {
  if (thread.ended) return false;
  if (thread.awaited < 0) return true;
  const Location& location = locations_[thread.awaited];
  if (thread.paused) {
    return options_->sequential ? location.version > thread.last_version : location.last() > thread.last_index;
  }
  return thread.ready(location.stores.back().value, thread.operand);
}

std::uint64_t Explorer::fingerprint() {
  // What no thread can read any more does not count.
  View oldest;
  for (int i = 0; i < location_count_; ++i) oldest.at[i] = static_cast<std::uint8_t>(locations_[i].last());
  for (int t = 0; t < thread_count_; ++t) {
    if (threads_[t].ended) continue;
    for (int i = 0; i < location_count_; ++i) oldest.at[i] = std::min(oldest.at[i], threads_[t].view.at[i]);
  }
  std::uint64_t hash = static_cast<std::uint64_t>(location_count_);
  const auto add_view = [&](const View& view) {
    std::array<std::uint8_t, kMaxLocations> relative{};
    for (int i = 0; i < location_count_; ++i) relative[i] = std::max(view.at[i], oldest.at[i]) - oldest.at[i];
    for (int i = 0; i < location_count_; i += 8) {
      std::uint64_t word;
      std::memcpy(&word, &relative[i], 8);
      hash = mix(hash, word);
    }
  };
  for (int t = 0; t < thread_count_; ++t) {
    const Thread& thread = threads_[t];
    hash = mix(hash, thread.history);
    hash = mix(hash, thread.steps * 4 + thread.ended * 2 + thread.paused);
    if (options_->sequential) {
      hash = mix(hash, thread.last_loaded >= 0 && locations_[thread.last_loaded].version > thread.last_version);
      continue;
    }
    // What an ended thread knows still counts: a heavy barrier makes it known to the caller.
    add_view(thread.view);
    if (thread.ended) continue;
    hash = mix(hash, thread.last_loaded >= 0 && locations_[thread.last_loaded].last() > thread.last_index);
    add_view(thread.acquirable);
    add_view(thread.released);
  }
  add_view(sequential_);
  for (int i = 0; i < location_count_; ++i) {
    const Location& location = locations_[i];
    if (options_->sequential) {
      hash = mix(hash, location.stores.back().value * 2 + location.alive);
      continue;
    }
    hash = mix(hash, location.alive + 2 * (location.last() - oldest.at[i]));
    for (std::size_t index = oldest.at[i]; index < location.stores.size(); ++index) {
      hash = mix(hash, location.stores[index].value);
      if (!location.plain) add_view(location.stores[index].view);
    }
  }
  return hash;
}

void Explorer::run_once(const std::function<void(Scenario&)>& setup) {
  position_ = 0;
  thread_count_ = location_count_ = 0;
  state_used_ = 0;
  over_ = false;
  at_end_ = at_rest_ = nullptr;
  thread_ = nullptr;
  sequential_ = View{};
  Scenario run;
  setup(run);
  // Whatever setup stored is known to all.
  for (int i = 0; i < location_count_; ++i) {
    auto& stores = locations_[i].stores;
    stores.front() = {stores.back().value, View{}};
    stores.resize(1);
  }
  for (int t = 0; t < thread_count_; ++t) threads_[t].view = threads_[t].acquirable = threads_[t].released = View{};

  while (!over_) {
    std::array<int, kMaxThreads> able;
    int count = 0;
    bool all_ended = true;
    for (int t = 0; t < thread_count_; ++t) {
      all_ended &= threads_[t].ended;
      if (enabled(threads_[t])) able[static_cast<std::size_t>(count++)] = t;
    }
    if (count == 0) {
      if (all_ended || at_rest_) break;
      std::string waiting = "deadlock:";
      for (int t = 0; t < thread_count_; ++t) {
        if (!threads_[t].ended)
          waiting += std::string(" ") + threads_[t].name + " waits for " + threads_[t].waits_for + ";";
      }
      fail(waiting);
      break;
    }
    // Beyond the decisions that are being repeated every state is new, or has been dealt with.
    if (position_ == choices_.size() && !tracing_ && !seen_.insert(fingerprint()).second) {
      over_ = true;
      break;
    }
    thread_ = &threads_[able[static_cast<std::size_t>(choose(count))]];
    fiber_switch(&scheduler_, thread_->context);
    thread_ = nullptr;
  }
  if (!over_) {
    if (at_rest_) at_rest_();
    if (at_end_) at_end_();
  }
  if (destroy_ != nullptr) std::exchange(destroy_, nullptr)(state_.data());
}

Result Explorer::explore(const Options& options, const std::function<void(Scenario&)>& setup, const char* replay) {
  options_ = &options;
  if (replay != nullptr) {
    tracing_ = true;
    for (const char* digit = replay; *digit != 0; ++digit) {
      choices_.push_back({static_cast<std::uint8_t>(*digit - '0'), 255});
    }
    run_once(setup);
    result_.message += "\n" + trace_;
    return result_;
  }
  for (;;) {
    run_once(setup);
    ++result_.schedules;
    result_.longest = std::max<std::uint64_t>(result_.longest, choices_.size());
    if (result_.failed) {
      for (std::size_t i = 0; i < position_; ++i) result_.replay += static_cast<char>('0' + choices_[i].taken);
      break;
    }
    while (!choices_.empty() && choices_.back().taken + 1 == choices_.back().count) choices_.pop_back();
    if (choices_.empty()) {
      result_.exhausted = true;
      break;
    }
    ++choices_.back().taken;
    if (seen_.size() > options.max_states) break;
  }
  result_.states = seen_.size();
  return result_;
}

void Explorer::trace(const char* what, int location, Value value) {
  if (!tracing_ || !in_thread()) return;
  char line[160];
  std::snprintf(line, sizeof(line), "  %-10s %-22s #%-3d %llx\n", thread_->name, what, location,
                static_cast<unsigned long long>(value));
  trace_ += line;
}

bool acquires(std::memory_order order) {
  return order == std::memory_order_acquire || order == std::memory_order_acq_rel || order == std::memory_order_seq_cst;
}
bool releases(std::memory_order order) {
  return order == std::memory_order_release || order == std::memory_order_acq_rel || order == std::memory_order_seq_cst;
}

// The running thread reads that store.
void Explorer::read(int location, std::size_t index, std::memory_order order) {
  if (!in_thread()) return;
  if (!weak()) {
    thread_->last_loaded = location;
    thread_->last_version = locations_[location].version;
    learn(locations_[location].stores[index].value);
    return;
  }
  const Store& from = locations_[location].stores[index];
  thread_->view.at[location] = std::max(thread_->view.at[location], static_cast<std::uint8_t>(index));
  thread_->acquirable.join(from.view, location_count_);
  if (acquires(order) && !mutated(Mutation::relaxed_loads, location)) thread_->view.join(from.view, location_count_);
  thread_->last_loaded = location;
  thread_->last_index = index;
  learn(from.value);
}

// `continues`: what a read-modify-write has read; an acquiring load of the new value synchronises with that one too.
void Explorer::write(int location, Value value, std::memory_order order, const Store* continues) {
  auto& stores = locations_[location].stores;
  if (!weak()) {
    if (in_thread()) {
      stores.back().value = value;
      ++locations_[location].version;
    } else {
      stores.push_back({value, View{}});
    }
    return;
  }
  const std::size_t index = stores.size();
  if (index > 250) fail("too many stores to one location");
  View view = continues == nullptr ? View{} : continues->view;
  thread_->view.at[location] = static_cast<std::uint8_t>(index);
  view.join(releases(order) && !mutated(Mutation::relaxed_stores, location) ? thread_->view : thread_->released,
            location_count_);
  view.at[location] = static_cast<std::uint8_t>(index);
  if (order == std::memory_order_seq_cst) sequential_.at[location] = static_cast<std::uint8_t>(index);
  stores.push_back({value, view});
}

void Explorer::fence(Thread& thread, std::memory_order order) {
  if (acquires(order)) thread.view.join(thread.acquirable, location_count_);
  if (order == std::memory_order_seq_cst) {
    thread.view.join(sequential_, location_count_);
    sequential_ = thread.view;
  }
  if (releases(order)) thread.released = thread.view;
}

}  // namespace

namespace detail {

int new_location(Value initial, bool plain, std::uintptr_t object) {
  return explorer->new_location(initial, plain, object);
}

int location_of(int location, std::uintptr_t object) {
  // The number itself is in memory that may be in use for something else by now.
  if (location < 0 || location >= explorer->location_count_ || explorer->locations_[location].object != object) {
    explorer->fail("a variable was used after its end of life");
  }
  return location;
}

void end_location(int location) {
  // The run's state is taken down after the run; a thread's own variable ends while others may still hold its address.
  if (explorer->in_thread()) explorer->locations_[location].alive = false;
}

Value load(int location, std::memory_order order) {
  explorer->step();
  Location& at = explorer->alive(location);
  std::size_t index = at.last();
  if (explorer->weak()) {
    std::size_t oldest = explorer->thread_->view.at[location];
    if (order == std::memory_order_seq_cst) oldest = std::max<std::size_t>(oldest, explorer->sequential_.at[location]);
    index = at.last() - static_cast<std::size_t>(explorer->choose(static_cast<int>(at.last() - oldest + 1)));
  }
  explorer->trace(index == at.last() ? "load" : "load (stale)", location, at.stores[index].value);
  explorer->read(location, index, order);
  return at.stores[index].value;
}

void store(int location, Value value, std::memory_order order) {
  explorer->step();
  explorer->alive(location);
  explorer->trace("store", location, value);
  explorer->write(location, value, order, nullptr);
}

Value read_modify_write(int location, Operate operate, Value operand, std::memory_order order) {
  if (explorer->in_thread() && explorer->mutated(Mutation::split_rmw, location)) {
    const Value old = load(location, order);
    store(location, operate(old, operand), order);
    return old;
  }
  explorer->step();
  Location& at = explorer->alive(location);
  const Store old = at.stores.back();
  explorer->trace("read-modify-write", location, operate(old.value, operand));
  explorer->read(location, at.last(), order);
  explorer->write(location, operate(old.value, operand), order, &old);
  return old.value;
}

bool compare_exchange(int location, Value& expected, Value desired, std::memory_order success,
                      std::memory_order failure) {
  if (explorer->in_thread() && explorer->mutated(Mutation::blind_cas, location)) {
    store(location, desired, success);
    return true;
  }
  if (explorer->in_thread() && explorer->mutated(Mutation::split_rmw, location)) {
    const Value old = load(location, success);
    if (old != expected) {
      expected = old;
      return false;
    }
    store(location, desired, success);
    return true;
  }
  explorer->step();
  Location& at = explorer->alive(location);
  // It may fail because of an older store that differs; it can only succeed on the last.
  std::array<std::size_t, 256> candidates;
  int count = 0;
  candidates[static_cast<std::size_t>(count++)] = at.last();
  if (explorer->weak()) {
    for (std::size_t i = explorer->thread_->view.at[location]; i < at.last(); ++i) {
      if (at.stores[i].value != expected) candidates[static_cast<std::size_t>(count++)] = i;
    }
  }
  const std::size_t index = candidates[static_cast<std::size_t>(explorer->choose(count))];
  const Store found = at.stores[index];
  if (index == at.last() && found.value == expected) {
    explorer->trace("compare_exchange", location, desired);
    explorer->read(location, index, success);
    explorer->write(location, desired, success, &found);
    return true;
  }
  explorer->trace("compare_exchange fails", location, found.value);
  explorer->read(location, index, failure);
  expected = found.value;
  return false;
}

Value await(int location, bool (*ready)(Value, Value), Value operand, const char* what, const Value* then_store) {
  Thread* thread = explorer->thread_;
  if (thread == nullptr) std::abort();
  thread->awaited = location;
  thread->ready = ready;
  thread->operand = operand;
  thread->waits_for = what;
  explorer->step();
  thread->awaited = -1;
  Location& at = explorer->alive(location);
  const Store found = at.stores.back();
  explorer->trace("awaited", location, found.value);
  explorer->read(location, at.last(), std::memory_order_acquire);
  if (then_store != nullptr) explorer->write(location, *then_store, std::memory_order_relaxed, &found);
  return found.value;
}

void fence(std::memory_order order) {
  if (!explorer->weak() || explorer->mutated(Mutation::no_fences, -1)) return;
  explorer->step();
  explorer->trace("fence", 0, 0);
  explorer->fence(*explorer->thread_, order);
}

// The other threads' fences come one at a time, in every order, and at any moment of theirs.
void heavy_barrier() {
  if (!explorer->weak()) return;
  explorer->step();
  Thread& caller = *explorer->thread_;
  explorer->trace("heavy barrier", 0, 0);
  explorer->fence(caller, std::memory_order_seq_cst);
  std::array<int, kMaxThreads> left;
  int count = 0;
  for (int t = 0; t < explorer->thread_count_; ++t) {
    if (&explorer->threads_[static_cast<std::size_t>(t)] != &caller) left[static_cast<std::size_t>(count++)] = t;
  }
  while (count > 0) {
    explorer->step();
    const auto chosen = static_cast<std::size_t>(explorer->choose(count));
    Thread& thread = explorer->threads_[static_cast<std::size_t>(left[chosen])];
    left[chosen] = left[static_cast<std::size_t>(--count)];
    explorer->trace("interrupts a thread", 0, static_cast<Value>(&thread - explorer->threads_.data()));
    explorer->fence(thread, std::memory_order_seq_cst);
    explorer->learn(static_cast<Value>(&thread - explorer->threads_.data()));
  }
  explorer->step();
  explorer->fence(caller, std::memory_order_seq_cst);
}

void enter_section() {
  if (explorer->in_thread()) ++explorer->thread_->sections;
}

void leave_section() {
  if (explorer->in_thread()) --explorer->thread_->sections;
}

Value plain_read(int location) {
  Location& at = explorer->alive(location);
  if (!explorer->in_thread()) return at.stores.back().value;
  if (!explorer->weak()) {
    explorer->learn(at.stores.back().value);
    return at.stores.back().value;
  }
  Thread& thread = *explorer->thread_;
  if (thread.view.at[location] != at.last()) explorer->fail("a data race: a read is not ordered behind the last write");
  const int reads = at.reads;
  explorer->locations_[reads].stores.push_back({0, View{}});
  thread.view.at[reads] = static_cast<std::uint8_t>(explorer->locations_[reads].last());
  explorer->learn(at.stores.back().value);
  explorer->trace("plain read", location, at.stores.back().value);
  return at.stores.back().value;
}

void plain_write(int location, Value value) {
  Location& at = explorer->alive(location);
  explorer->trace("plain write", location, value);
  if (!explorer->weak()) {
    at.stores.back().value = value;
    return;
  }
  {
    Thread& thread = *explorer->thread_;
    if (thread.view.at[location] != at.last())
      explorer->fail("a data race: a write is not ordered behind the last write");
    if (thread.view.at[at.reads] != explorer->locations_[at.reads].last()) {
      explorer->fail("a data race: a write is not ordered behind a read");
    }
    thread.view.at[location] = static_cast<std::uint8_t>(at.stores.size());
  }
  at.stores.push_back({value, View{}});
}

}  // namespace detail

void Scenario::thread(const char* name, std::function<void()> body) { explorer->add_thread(name, std::move(body)); }
void Scenario::at_end(std::function<void()> check_all) { explorer->at_end_ = std::move(check_all); }
void Scenario::at_rest(std::function<void()> check_all) { explorer->at_rest_ = std::move(check_all); }
void* Scenario::allocate(std::size_t size, void (*destroy)(void*)) { return explorer->allocate(size, destroy); }

void check(bool holds, const char* what) {
  if (!holds) explorer->fail(what);
}

void forget(std::uint64_t place, std::uint64_t state) {
  Thread* thread = explorer->thread_;
  thread->history = mix(mix(0, place), state);
  thread->steps = 0;
}

void split() {
  Thread* thread = explorer->thread_;
  const int sections = std::exchange(thread->sections, 0);
  explorer->step();
  thread->sections = sections;
}

void pause() {
  Thread* thread = explorer->thread_;
  thread->awaited = thread->last_loaded;
  thread->paused = true;
  thread->waits_for = "another value of what it has loaded";
  explorer->step();
  thread->paused = false;
  // Stores become visible after a finite time.
  thread->view.at[thread->awaited] = static_cast<std::uint8_t>(explorer->locations_[thread->awaited].last());
  thread->awaited = -1;
}

Result explore(const Options& options, const std::function<void(Scenario&)>& setup) {
  const char* wanted = std::getenv("FIBER_MODEL_REPLAY");
  const std::string prefix = std::string(options.name) + ":";
  const char* replay = nullptr;
  if (wanted != nullptr && std::strncmp(wanted, prefix.c_str(), prefix.size()) == 0) replay = wanted + prefix.size();
  const auto run = [&](const char* string) {
    const auto made = std::make_unique<Explorer>();
    explorer = made.get();
    Result result = explorer->explore(options, setup, string);
    explorer = nullptr;
    return result;
  };
  if (replay != nullptr) {
    const Result result = run(replay);
    std::fprintf(stderr, "%s\n", result.message.c_str());
    return result;
  }
  Result result = run(nullptr);
  if (result.failed)
    result.message = run(result.replay.c_str()).message + "  FIBER_MODEL_REPLAY=" + prefix + result.replay;
  return result;
}

}  // namespace model
