// SPDX-License-Identifier: BSD-2-Clause
#include "fiber/leaks.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <utility>

#include "fiber/time.h"
#include "registry/registry.h"
#include "report/inspector.h"
#include "report/run_end.h"
#include "sched/park.h"
#include "sched/scheduler.h"

namespace fiber {

namespace detail {

namespace {

constexpr std::chrono::nanoseconds kFirstPause = std::chrono::microseconds(50), kPause = std::chrono::milliseconds(10);
constexpr std::chrono::nanoseconds kMostGrace = std::chrono::hours(1);

using Alive = std::vector<std::pair<std::uint64_t, const Fiber*>>;

// By id. Never the caller, and nobody that `known` has.
Alive alive_besides(const LeakMark* known) {
  Alive all;
  registry_for_each([&](const Fiber* fiber) {
    const std::uint64_t id = __atomic_load_n(&fiber->record.id, __ATOMIC_RELAXED);
    if (is_alive(fiber) && id != current_id() && (known == nullptr || !known->contains(id)))
      all.emplace_back(id, fiber);
  });
  std::sort(all.begin(), all.end());
  return all;
}

// Who is still there after the grace period.
Alive wait_for_ends(const LeakMark* known, std::chrono::nanoseconds grace) {
  if (grace < std::chrono::nanoseconds(0) || grace > kMostGrace) {
    fatal("a grace period of %lld ns for fibers to end: want 0 to an hour", static_cast<long long>(grace.count()));
  }
  const Deadline end = Clock::now() + grace;
  std::chrono::nanoseconds pause = kFirstPause;
  for (;;) {
    Alive left = alive_besides(known);
    const Deadline now = Clock::now();
    if (left.empty() || now >= end) return left;
    sleep_until(std::min(now + pause, end));
    pause = std::min(2 * pause, kPause);
  }
}

std::vector<FiberReport> report(const Alive& fibers) {
  std::vector<FiberReport> reports;
  if (fibers.empty()) return reports;
  Inspector inspector;
  for (const auto& [id, fiber] : fibers) {
    if (auto one = inspector.report(fiber, id)) reports.push_back(std::move(*one));
  }
  return reports;
}

std::atomic<bool> hook_is_set{false};

}  // namespace

struct RunEnd::Hook {
  LeakHook call;
  std::chrono::nanoseconds grace;
};

// Changes it first, if so asked.
std::shared_ptr<const RunEnd::Hook> RunEnd::in_force(std::shared_ptr<const Hook> next, bool change) {
  static std::mutex mutex;
  static std::shared_ptr<const Hook> hook;
  const std::lock_guard guard(mutex);
  if (change) {
    hook_is_set.store(next != nullptr, std::memory_order_relaxed);
    hook = std::move(next);
  }
  return hook;
}

void RunEnd::let_others_end() {
  if (!hook_is_set.load(std::memory_order_relaxed)) return;
  hook_ = in_force(nullptr, false);
  if (hook_ != nullptr) wait_for_ends(nullptr, hook_->grace);
}

void RunEnd::look() {
  if (hook_ != nullptr) left_ = report(alive_besides(nullptr));
}

void RunEnd::tell() const {
  if (hook_ != nullptr) hook_->call(left_);
}

}  // namespace detail

LeakMark::LeakMark() {
  detail::registry_for_each([this](const detail::Fiber* fiber) {
    if (detail::is_alive(fiber)) alive_.push_back(__atomic_load_n(&fiber->record.id, __ATOMIC_RELAXED));
  });
  std::sort(alive_.begin(), alive_.end());
}

bool LeakMark::contains(std::uint64_t fiber_id) const {
  return std::binary_search(alive_.begin(), alive_.end(), fiber_id);
}

std::vector<FiberReport> find_leaks(const LeakMark& since, std::chrono::nanoseconds grace) {
  return detail::report(detail::wait_for_ends(&since, grace));
}

void set_leak_hook(LeakHook hook, std::chrono::nanoseconds grace) {
  using Hook = detail::RunEnd::Hook;
  detail::RunEnd::in_force(hook ? std::make_shared<const Hook>(Hook{std::move(hook), grace}) : nullptr, true);
}

}  // namespace fiber
