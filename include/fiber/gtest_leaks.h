// SPDX-License-Identifier: BSD-2-Clause
// A GoogleTest listener that fails a test which leaves fibers behind. Header-only: only who includes it needs
// GoogleTest (1.10 or later). In one source file of the test program:
//
//   #include <fiber/gtest_leaks.h>
//   const auto& leaks = fiber::testing::FailOnLeakedFibers::install();
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "fiber/leaks.h"
#include "fiber/runtime.h"

namespace fiber::testing {

// What counts as a leak of a test:
//   - each fiber that has not ended when a fiber::run ends that the test called, also one in a set-up or tear-down;
//   - if the tests run inside a fiber::run (RUN_ALL_TESTS called by a fiber): each fiber spawned during the test, by
//     whomever, that has not ended after it.
// The failure has every leaked fiber with what it waits for, where it was spawned, and its stack. A thread may call
// fiber::run: the failure belongs to the test that is running then.
// It uses the leak hook (set_leak_hook) from the first test to the last: there can be only one at a time.
class FailOnLeakedFibers : public ::testing::EmptyTestEventListener {
 public:
  struct Options {
    // Fibers that are no leaks: their name is one of these, or the demangled name of the function they run contains
    // one.
    std::vector<std::string> allowed = {};
    // How long fibers may take to end: a leak costs that time. 0 to an hour.
    std::chrono::nanoseconds grace = std::chrono::milliseconds(500);
  };

  explicit FailOnLeakedFibers(Options options) : options_(std::move(options)) {}

  // Adds a listener to this test program; GoogleTest owns it. Once, before RUN_ALL_TESTS; also while static variables
  // are initialised.
  static FailOnLeakedFibers& install(Options options) {
    auto* listener = new FailOnLeakedFibers(std::move(options));
    ::testing::UnitTest::GetInstance()->listeners().Append(listener);
    return *listener;
  }
  static FailOnLeakedFibers& install() { return install(Options{}); }

  void OnTestProgramStart(const ::testing::UnitTest&) override {
    set_leak_hook([this](const std::vector<FiberReport>& left) { fail(left); }, options_.grace);
  }
  void OnTestProgramEnd(const ::testing::UnitTest&) override { set_leak_hook(nullptr); }

  void OnTestStart(const ::testing::TestInfo&) override {
    if (processor_count() != 0) mark_.emplace();
  }
  void OnTestEnd(const ::testing::TestInfo&) override {
    if (mark_ && processor_count() != 0) fail(find_leaks(*mark_, options_.grace));
    mark_.reset();
  }

 private:
  bool is_allowed(const FiberReport& fiber) const {
    return std::any_of(options_.allowed.begin(), options_.allowed.end(), [&](const std::string& one) {
      return fiber.name == one || fiber.function.text.find(one) != std::string::npos;
    });
  }

  void fail(std::vector<FiberReport> left) const {
    left.erase(std::remove_if(left.begin(), left.end(), [this](const FiberReport& one) { return is_allowed(one); }),
               left.end());
    if (left.empty()) return;
    ADD_FAILURE() << left.size() << (left.size() == 1 ? " fiber was" : " fibers were") << " left behind\n\n"
                  << to_text(left);
  }

  Options options_;
  std::optional<LeakMark> mark_;
};

}  // namespace fiber::testing
