// SPDX-License-Identifier: BSD-2-Clause
// What a filter leaves out is neither recorded nor counted as lost, and its stack is never taken.
#include <fiberprof/registry.h>

#include "fixture.h"

namespace fiberprof::test {
namespace {

class FilterTest : public SessionTest {
 protected:
  // One wait that is wanted, after sixty that are not, each at a depth of its own: if their stacks were taken there
  // would be no room for all of them, and that would be counted.
  static void expect_one_wait(SessionOptions options, const std::string& unwanted, const std::string& wanted) {
    const uint32_t pid = options.processes[0].pid;
    options.max_stacks = 1;
    options.on_cpu = false;
    auto session = Session::start(std::move(options));
    ASSERT_TRUE(session) << session.error().message();
    for (int depth = 1; depth <= 60; ++depth)
      ASSERT_EQ(target_->ask(unwanted + " " + std::to_string(depth)), "fired 1") << "filtered by the kernel side";
    ASSERT_EQ(target_->ask(wanted + " 3"), "fired 1");
    const auto snapshot = session->snapshot();
    ASSERT_TRUE(snapshot);
    EXPECT_EQ(snapshot->losses.total(), 0u);
    ASSERT_EQ(snapshot->blocked.size(), 1u);
    EXPECT_EQ(snapshot->blocked[0].pid, pid);
    EXPECT_EQ(snapshot->blocked[0].count, 1u);
    EXPECT_TRUE(snapshot->stacks.contains(snapshot->blocked[0].stack));
  }
  void SetUp() override {
    SessionTest::SetUp();
    if (!IsSkipped()) target_ = start_target("3");
  }
  static inline std::unique_ptr<Child> target_;
  void TearDown() override { target_.reset(); }
};

SessionOptions without_off_cpu(SessionOptions options) {
  options.off_cpu = false;
  return options;
}

TEST_F(FilterTest, ByTime) {
  SessionOptions options = without_off_cpu(options_for(*target_));
  options.min_wait_ns = 1000;
  expect_one_wait(options, "blocked 1 2 400 599", "blocked 1 2 400 600");
}

TEST_F(FilterTest, ByReason) {
  SessionOptions options = without_off_cpu(options_for(*target_));
  options.reasons = 1u << FIBERPROF_REASON_MUTEX;
  expect_one_wait(options, "blocked 1 2 400 600", "blocked 1 4 400 600");
}

TEST_F(FilterTest, ByName) {
  SessionOptions options = options_for(*target_);
  options.fibers.names = {"nobody", "on worker 1"};
  expect_one_wait(options, "on 2 blocked 1 2 400 600", "on 1 blocked 1 2 400 600");
}

TEST_F(FilterTest, ByTheBeginningOfAName) {
  SessionOptions options = options_for(*target_);
  options.fibers.names = {"on work*"};
  auto session = Session::start(options);
  ASSERT_TRUE(session) << session.error().message();
  ASSERT_EQ(target_->ask("on 2 blocked 7 2 400 600 2"), "fired 7");
  ASSERT_EQ(target_->ask("on 1 blocked 7 2 400 600 2"), "fired 7");
  const auto snapshot = session->snapshot();
  ASSERT_TRUE(snapshot);
  uint64_t count = 0;
  for (const BlockedEntry& entry : snapshot->blocked) count += entry.count;
  EXPECT_EQ(count, 14u);
}

TEST_F(FilterTest, BySite) {
  SessionOptions options = options_for(*target_);
  options.fibers.sites = {"contract_fiber_entry"};
  options.fibers.names = {"on worker 1"};  // both must fit
  expect_one_wait(options, "on 2 blocked 1 2 400 600", "on 1 blocked 1 2 400 600");

  options.fibers.names.clear();
  options.fibers.sites = {"contract_recurse"};  // a function, but none that fibers are spawned with
  auto session = Session::start(options);
  ASSERT_TRUE(session) << session.error().message();
  ASSERT_EQ(target_->ask("blocked 5 2 400 600 3"), "fired 5");
  const auto snapshot = session->snapshot();
  ASSERT_TRUE(snapshot);
  EXPECT_TRUE(snapshot->blocked.empty());
  EXPECT_TRUE(snapshot->off_cpu.empty());
  EXPECT_EQ(snapshot->losses.total(), 0u);
}

TEST_F(FilterTest, WhatMatchesNothingIsSaidWithWhatIsThere) {
  SessionOptions options = options_for(*target_);
  ASSERT_EQ(target_->ask("park 4 10"), "ok");
  options.fibers.sites = {"no_such_function"};
  const auto session = Session::start(options);
  ASSERT_FALSE(session);
  EXPECT_NE(session.error().message().find("no_such_function"), std::string::npos);
  EXPECT_NE(session.error().message().find("contract_fiber_entry"), std::string::npos) << session.error().message();
  options.fibers = {{"*middle*"}, {}};
  EXPECT_FALSE(Session::start(options));
  options.fibers = {{"a name that is longer than any fiber's can be"}, {}};
  EXPECT_FALSE(Session::start(options));
}

TEST(FiberFilter, ASiteIsNamedByTheEndOfItsNameOrTheFunctionAroundALambda) {
  EXPECT_TRUE(is_site("kvd::Log::run(int)", "kvd::Log::run"));
  EXPECT_TRUE(is_site("kvd::Log::run(int)", "Log::run"));
  EXPECT_TRUE(is_site("kvd::Log::run(int)::{lambda()#1}::operator()() const", "Log::run"));
  EXPECT_FALSE(is_site("kvd::Log::run(int)", "og::run"));
  EXPECT_FALSE(is_site("kvd::Log::run_all(int)", "Log::run"));
  EXPECT_FALSE(is_site("kvd::Log::run(int)", "kvd::Log"));
  EXPECT_FALSE(is_site("kvd::Log::run(int)", ""));
}

}  // namespace
}  // namespace fiberprof::test
