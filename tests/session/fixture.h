// SPDX-License-Identifier: BSD-2-Clause
// The conformance target (tests/programs/contract_target.cpp) under a session.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "process/target.h"
#include "session/session.h"
#include "support/child.h"
#include "support/require_bpf.h"

namespace fiberprof::test {

inline const std::string kTarget = FIBERPROF_TARGET_DIR "/tests/programs/contract_target";

class SessionTest : public ::testing::Test {
 protected:
  void SetUp() override { FIBERPROF_REQUIRE_BPF(); }

  // Starts the target and waits until it is ready.
  static std::unique_ptr<Child> start_target(const std::string& workers = "2") {
    auto child = std::make_unique<Child>(std::vector<std::string>{kTarget, workers});
    EXPECT_EQ(child->line(), "ready");
    return child;
  }
  static FiberProcess find(const Child& child) {
    FiberFinder finder;
    auto process = finder.find(static_cast<uint32_t>(child.pid()));
    EXPECT_TRUE(process) << process.error().message();
    return process ? *process : FiberProcess{};
  }
  static SessionOptions options_for(const Child& child, Tier tier = Tier::exact) {
    SessionOptions options;
    options.processes = {find(child)};
    options.tier = tier;
    return options;
  }
};

}  // namespace fiberprof::test
