// SPDX-License-Identifier: BSD-2-Clause
// Tests that need the kernel: skip with the reason on a laptop, fail under CI (FIBERPROF_REQUIRE_BPF=1).
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <string>

#include "session/preflight.h"

namespace fiberprof::test {

// Empty when BPF programs can be used here; else why not.
inline std::string why_no_bpf() {
  const auto ready = preflight();
  return ready ? std::string() : ready.error().message();
}

inline bool bpf_is_required() {
  const char* value = std::getenv("FIBERPROF_REQUIRE_BPF");
  return value && std::strcmp(value, "1") == 0;
}

}  // namespace fiberprof::test

// First line of a test (or of SetUp) that attaches to anything.
#define FIBERPROF_REQUIRE_BPF()                                                   \
  do {                                                                            \
    if (const auto why_not = ::fiberprof::test::why_no_bpf(); !why_not.empty()) { \
      if (::fiberprof::test::bpf_is_required()) FAIL() << why_not;                \
      GTEST_SKIP() << why_not;                                                    \
    }                                                                             \
  } while (false)
