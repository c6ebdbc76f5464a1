// SPDX-License-Identifier: BSD-2-Clause
// The GoogleTest listener: it fails who leaves fibers behind, with their stacks, and nobody else.
#include <fiber/all.h>
#include <fiber/gtest_leaks.h>
#include <gtest/gtest-spi.h>

#include <stdexcept>

namespace {

using namespace std::chrono_literals;
using fiber::testing::FailOnLeakedFibers;

[[gnu::noinline]] void never_gets_a_value() {
  fiber::Channel<int>().receive();
  asm volatile("");
}

void leaves_one_behind() {
  fiber::run([] { fiber::go({.name = "orphan"}, [] { never_gets_a_value(); }); });
}
void leaves_nobody_behind() {
  fiber::run([] { fiber::spawn([] { fiber::yield(); }); });
}

// Between the start and the end of a test program that has it.
class Listener : public testing::Test {
 protected:
  void start(FailOnLeakedFibers::Options options) {
    listener_.emplace(std::move(options));
    listener_->OnTestProgramStart(*testing::UnitTest::GetInstance());
  }
  void TearDown() override { listener_->OnTestProgramEnd(*testing::UnitTest::GetInstance()); }
  void test_starts() { listener_->OnTestStart(*testing::UnitTest::GetInstance()->current_test_info()); }
  void test_ends() { listener_->OnTestEnd(*testing::UnitTest::GetInstance()->current_test_info()); }

  std::optional<FailOnLeakedFibers> listener_;
};

TEST_F(Listener, FailsATestWhoseRunLeavesAFiberBehind) {
  start({.grace = 20ms});
  EXPECT_NONFATAL_FAILURE(leaves_one_behind(), "1 fiber was left behind");
  EXPECT_NONFATAL_FAILURE(leaves_one_behind(), "\"orphan\" [chan receive: channel");
  EXPECT_NONFATAL_FAILURE(leaves_one_behind(), "never_gets_a_value()");
  EXPECT_NONFATAL_FAILURE(leaves_one_behind(), "spawned by fiber ");
}

TEST_F(Listener, PassesCleanRuns) {
  start({.grace = 20s});
  for (int i = 0; i < 300; ++i) leaves_nobody_behind();
}

TEST_F(Listener, FailsATestWithinALongRun) {
  start({.grace = 20ms});
  fiber::run([this] {
    fiber::Channel<int> channel;
    fiber::go({.name = "there before"}, [=]() mutable { channel.receive(); });
    test_starts();
    auto leaked = fiber::spawn({.name = "of the test"}, [=]() mutable { channel.receive(); });
    testing::TestPartResultArray failures;
    {
      testing::ScopedFakeTestPartResultReporter reporter(
          testing::ScopedFakeTestPartResultReporter::INTERCEPT_ALL_THREADS, &failures);
      test_ends();
    }
    ASSERT_EQ(failures.size(), 1);
    const std::string message = failures.GetTestPartResult(0).message();
    EXPECT_NE(message.find("1 fiber was left behind"), std::string::npos) << message;
    EXPECT_NE(message.find("\"of the test\""), std::string::npos) << message;
    channel.close();
    test_starts();
    fiber::spawn([] {}).join();
    test_ends();  // nothing
  });
}

TEST_F(Listener, PassesWhatIsAllowed) {
  start({.allowed = {"orphan"}, .grace = 20ms});
  leaves_one_behind();
  listener_->OnTestProgramEnd(*testing::UnitTest::GetInstance());
  start({.allowed = {"leaves_one_behind()"}, .grace = 20ms});  // the function
  leaves_one_behind();
  listener_->OnTestProgramEnd(*testing::UnitTest::GetInstance());
  start({.allowed = {"orpha", "somebody else"}, .grace = 20ms});
  EXPECT_NONFATAL_FAILURE(leaves_one_behind(), "1 fiber was left behind");
}

}  // namespace
