// SPDX-License-Identifier: BSD-2-Clause
// What a test expects of an exploration.
#pragma once

#include <gtest/gtest.h>

#include <cstdio>

#include "explorer.h"

namespace model {

// With AddressSanitizer only a part is explored: nothing was found in as much as is meant to be.
inline bool cut_short(const Result& result) { return FIBER_ASAN && !result.failed && result.states > kMaxStates; }

// Everything was explored, and nothing found.
inline void expect_holds(const char* name, const Result& result) {
  std::printf("  %-28s %9llu states, %9llu schedules, up to %llu decisions\n", name,
              static_cast<unsigned long long>(result.states), static_cast<unsigned long long>(result.schedules),
              static_cast<unsigned long long>(result.longest));
  EXPECT_FALSE(result.failed) << name << ": " << result.message;
  EXPECT_TRUE(result.failed || result.exhausted || cut_short(result)) << name << ": too many states to try all of them";
}

// The bug that was put in is found, and is the one meant.
inline void expect_found(const char* name, const Result& result, const char* what) {
  const char* outcome = cut_short(result) ? "not looked for beyond" : "found after";
  std::printf("  %-32s %s %llu schedules: %s\n", name, outcome, static_cast<unsigned long long>(result.schedules),
              result.message.substr(0, result.message.find('\n')).c_str());
  if (cut_short(result)) return;
  EXPECT_TRUE(result.failed) << name << ": the explorer does not see this bug";
  EXPECT_NE(result.message.find(what), std::string::npos) << name << ": " << result.message;
}

}  // namespace model
