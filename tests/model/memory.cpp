// SPDX-License-Identifier: BSD-2-Clause
// The memory of an exploration: what every access of explorer.h's variables may see, and leaves behind.
#include <algorithm>
#include <array>
#include <cstdlib>

#include "exploration.h"

namespace model {

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

namespace {

bool acquires(std::memory_order order) {
  return order == std::memory_order_acquire || order == std::memory_order_acq_rel || order == std::memory_order_seq_cst;
}
bool releases(std::memory_order order) {
  return order == std::memory_order_release || order == std::memory_order_acq_rel || order == std::memory_order_seq_cst;
}

}  // namespace

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

}  // namespace model
