// SPDX-License-Identifier: BSD-2-Clause
// The search over schedules: the threads of a run as coroutines, which of them goes on, what is tried next, and which
// states need not be entered again.
#include "explorer.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "context/context.h"
#include "exploration.h"

namespace model {

namespace sanitizer = fiber::detail::sanitizer;

Explorer* explorer = nullptr;

void Explorer::enter() {
  sanitizer::arrived(explorer->thread_->sanitizer);
  explorer->thread_->body();
  explorer->thread_->ended = true;
  explorer->end_of_run();
}

// Back to the scheduler, not to return.
void Explorer::end_of_run() {
  std::uintptr_t abandoned;
  sanitizer::leave(thread_->sanitizer, sanitizer_, true);
  fiber::fiber_switch(&abandoned, scheduler_);
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
  sanitizer::fiber_born(thread.sanitizer, {thread.stack.get(), thread.stack.get() + kStackSize});
  // As make_context does, but for another entry: `enter` begins like a function that was called.
  std::uintptr_t top = reinterpret_cast<std::uintptr_t>(thread.stack.get() + kStackSize) & ~std::uintptr_t{15};
#if defined(__x86_64__)
  top -= 8;
#endif
  fiber::InitialFrame frame;
  frame.return_address = reinterpret_cast<std::uintptr_t>(&Explorer::enter);
  thread.context = top - sizeof(frame);
  std::memcpy(reinterpret_cast<void*>(thread.context), &frame, sizeof(frame));
}

void* Explorer::allocate(std::size_t size, void (*destroy)(void*)) {
  if (state_used_ != 0 || size > kStateSize) std::abort();
  state_used_ = size;
  destroy_ = destroy;
  return state_.data();
}

int Explorer::choose(int count) {
  if (count == 1) return 0;
  if (position_ < choices_.size()) return choices_[position_++].taken;
  choices_.push_back({0, static_cast<std::uint8_t>(count)});
  ++position_;
  return 0;
}

void Explorer::step() {
  if (!in_thread()) return;
  if (options_->sequential && thread_->sections > 0 && thread_->awaited < 0) return;
  if (++thread_->steps > options_->max_steps) fail("a thread went round in circles");
  sanitizer::leave(thread_->sanitizer, sanitizer_, false);
  fiber::fiber_switch(&thread_->context, scheduler_);
  sanitizer::arrived(thread_->sanitizer);
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
    sanitizer::leave(sanitizer_, thread_->sanitizer, false);
    fiber::fiber_switch(&scheduler_, thread_->context);
    sanitizer::arrived(sanitizer_);
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
  sanitizer::thread_started(sanitizer_);
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
  if (thread == nullptr) return;
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

#if FIBER_ASAN
// Threads of a schedule that is given up are not unwound: what their stacks own is lost, on purpose.
extern "C" const char* __lsan_default_suppressions();  // NOLINT(bugprone-reserved-identifier): the sanitizer's name
extern "C" const char* __lsan_default_suppressions() { return "leak:model::Explorer::enter\n"; }
#endif
