// SPDX-License-Identifier: BSD-2-Clause
// Stacks of real parked fibers, from the registry through the symbolizer.
#include <fiberprof/registry.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <time.h>

#include <map>

#include "process/child.h"
#include "process/registry_view.h"
#include "process/target.h"
#include "symbol/demangle.h"
#include "symbol/symbolizer.h"

namespace fiberprof {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class ParkedFibers : public ::testing::Test {
 protected:
  static constexpr size_t kFibers = 8;

  void SetUp() override {
    const std::string path = FIBERPROF_TARGET_DIR "/tests/programs/parked";
    pid = fork();
    if (pid == 0) {
      execl(path.c_str(), path.c_str(), nullptr);
      _exit(127);
    }
    // Until every fiber stands where it will stay. The registry says so itself; the limit only ends a broken run.
    for (int attempt = 0; attempt < 3000 && fibers.size() != kFibers; ++attempt) {
      timespec pause{0, 10'000'000};
      nanosleep(&pause, nullptr);
      read();
    }
    ASSERT_EQ(fibers.size(), kFibers);
  }
  void TearDown() override {
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
  }

  void read() {
    FiberFinder finder;
    const auto process = finder.find(static_cast<uint32_t>(pid));
    if (!process) return;
    auto opened = RegistryView::open(process->pid, process->registry_address);
    if (!opened) return;
    view = std::move(*opened);
    fibers.clear();
    (void)view->fibers(
        [&](const FiberInfo& fiber) {
          if (fiber.state == FIBERPROF_FIBER_PARKED && fiber.name != "ticker") fibers[fiber.name] = fiber;
        },
        1000);
  }

  pid_t pid = -1;
  std::unique_ptr<RegistryView> view;
  std::map<std::string, FiberInfo> fibers;
};

std::vector<std::string> names(const std::vector<Frame>& stack) {
  std::vector<std::string> result;
  for (const Frame& frame : stack) result.push_back(short_name(frame.function));
  return result;
}

TEST_F(ParkedFibers, HaveTheirReasons) {
  const std::map<std::string, int> expected{
      {"receive", FIBERPROF_REASON_CHAN_RECV},   {"send", FIBERPROF_REASON_CHAN_SEND},
      {"select", FIBERPROF_REASON_SELECT},       {"mutex", FIBERPROF_REASON_MUTEX},
      {"condition", FIBERPROF_REASON_CONDITION}, {"group", FIBERPROF_REASON_WAIT_GROUP},
      {"sleep", FIBERPROF_REASON_SLEEP},         {"deep", FIBERPROF_REASON_CHAN_RECV}};
  for (const auto& [name, reason] : expected) {
    ASSERT_TRUE(fibers.contains(name)) << name;
    EXPECT_EQ(fibers[name].reason, reason) << name;
  }
}

TEST_F(ParkedFibers, HaveCompleteStacksFromTheWaitToTheFiberEntry) {
  const auto symbols = ProcessSymbols::open(static_cast<uint32_t>(pid));
  ASSERT_TRUE(symbols);
  for (const auto& [name, fiber] : fibers) {
    const auto addresses = view->stack(fiber);
    ASSERT_GT(addresses.size(), 3u) << name;
    const auto stack = (*symbols)->stack(addresses, false, true);
    EXPECT_EQ(stack.back().function, "fiber_entry") << name;
    for (const Frame& frame : stack) {
      EXPECT_NE(frame.function, "[unknown]") << name;
      EXPECT_THAT(frame.function, Not(HasSubstr("+0x"))) << name;
    }
  }
}

TEST_F(ParkedFibers, FoldToTheCallTheProgramMadeAndItsCallers) {
  const auto symbols = ProcessSymbols::open(static_cast<uint32_t>(pid));
  ASSERT_TRUE(symbols);
  const std::map<std::string, std::string> waits{
      {"receive", "app::wait_to_receive"},      {"send", "app::wait_to_send"},
      {"select", "app::wait_in_select"},        {"mutex", "app::wait_for_mutex"},
      {"condition", "app::wait_for_condition"}, {"group", "app::wait_for_group"},
      {"sleep", "app::wait_for_time"},          {"deep", "app::wait_to_receive"}};
  for (const auto& [name, function] : waits) {
    const auto stack = names((*symbols)->stack(view->stack(fibers[name]), true, true));
    ASSERT_GE(stack.size(), 3u) << name << ": " << ::testing::PrintToString(stack);
    EXPECT_THAT(stack[0], StartsWith("fiber::")) << name;
    EXPECT_EQ(stack[1], function) << ::testing::PrintToString(stack);
    EXPECT_THAT(stack.back(), HasSubstr("main::{lambda"))
        << "the spawned function: " << ::testing::PrintToString(stack);
  }
}

TEST_F(ParkedFibers, HaveEveryFrameOfADeepStack) {
  const auto symbols = ProcessSymbols::open(static_cast<uint32_t>(pid));
  ASSERT_TRUE(symbols);
  const auto stack = names((*symbols)->stack(view->stack(fibers["deep"]), true, true));
  EXPECT_EQ(std::count(stack.begin(), stack.end(), "app::wait_deep_down"), 41);
}

TEST_F(ParkedFibers, NameTheirEntryAndTheirCreator) {
  const auto symbols = ProcessSymbols::open(static_cast<uint32_t>(pid));
  ASSERT_TRUE(symbols);
  for (const auto& [name, fiber] : fibers) {
    EXPECT_THAT(short_name((*symbols)->resolve(fiber.entry, false).back().function), HasSubstr("main::{lambda"))
        << name;
    std::vector<std::string> creators;
    for (const Frame& frame : (*symbols)->resolve(fiber.creator_pc, true)) creators.push_back(frame.function);
    EXPECT_THAT(creators, Contains(HasSubstr("main"))) << name;
  }
}

}  // namespace
}  // namespace fiberprof
