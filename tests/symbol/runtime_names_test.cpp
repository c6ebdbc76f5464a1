// SPDX-License-Identifier: BSD-2-Clause
#include "symbol/runtime_names.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace fiberprof {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(RuntimeFunction, IsDecidedByTheFunctionsOwnName) {
  for (const char* name :
       {"fiber::Channel<int>::receive()", "void fiber::detail::park(int)", "fiber_entry", "fiber_switch",
        "fiberprof_site_park", "fiber::spawn<main::{lambda()#1}>(main::{lambda()#1}&&)",
        "fiber::detail::run(fiber::Fiber*)::{lambda()#1}::operator()() const"})
    EXPECT_TRUE(is_runtime_function(name)) << name;
  for (const char* name :
       {"app::consume(fiber::Channel<int>&)", "int app::consume<fiber::Channel<int> >(fiber::Channel<int>&)",
        "fiber::Channel<int> app::make()", "boost::fibers::mutex::lock()", "fibers::run()",
        "main::{lambda(fiber::Context&)#1}::operator()(fiber::Context&) const", "myfiber_entry", "main"})
    EXPECT_FALSE(is_runtime_function(name)) << name;
}

std::vector<std::string> folded(std::initializer_list<const char*> functions) {
  std::vector<Frame> stack;
  for (const char* function : functions) {
    Frame frame;
    frame.function = function;
    frame.runtime = is_runtime_function(function);
    stack.push_back(frame);
  }
  std::vector<std::string> names;
  for (const Frame& frame : fold_runtime_frames(stack)) names.push_back(frame.function);
  return names;
}

TEST(Folding, KeepsTheCallTheProgramMade) {
  EXPECT_THAT(folded({"fiberprof_site_blocked", "fiber::detail::park()", "fiber::Channel<int>::receive()",
                      "app::work()", "app::main_fiber()", "fiber::detail::run()", "fiber_entry"}),
              ElementsAre("fiber::Channel<int>::receive()", "app::work()", "app::main_fiber()"));
}

TEST(Folding, DropsTheGlueBetweenTheEntryAndTheSpawnedFunction) {
  EXPECT_THAT(folded({"fiber::detail::park()", "fiber::Mutex::lock()", "main::{lambda()#1}::operator()() const",
                      "void std::__invoke_impl<void, main::{lambda()#1}&>(std::__invoke_other, main::{lambda()#1}&)",
                      "std::_Function_handler<void (), main::{lambda()#1}>::_M_invoke(std::_Any_data const&)",
                      "std::function<void ()>::operator()() const", "fiber::detail::run()", "fiber_entry"}),
              ElementsAre("fiber::Mutex::lock()", "main::{lambda()#1}::operator()() const"));
}

TEST(Folding, KeepsCallbacksOfTheProgramWithinTheRuntime) {
  EXPECT_THAT(
      folded({"app::on_done()", "fiber::detail::notify()", "fiber::WaitGroup::done()", "app::work()", "fiber_entry"}),
      ElementsAre("app::on_done()", "fiber::WaitGroup::done()", "app::work()"));
}

TEST(Folding, DropsGuardsBetweenTheLockAndTheProgram) {
  EXPECT_THAT(folded({"fiber::detail::park()", "fiber::Mutex::lock()", "std::unique_lock<fiber::Mutex>::lock()",
                      "std::unique_lock<fiber::Mutex>::unique_lock(fiber::Mutex&)", "app::work()", "fiber_entry"}),
              ElementsAre("fiber::Mutex::lock()", "app::work()"));
  EXPECT_THAT(folded({"pthread_mutex_lock", "std::lock_guard<std::mutex>::lock_guard(std::mutex&)", "app::work()",
                      "fiber_entry"}),
              ElementsAre("pthread_mutex_lock", "std::lock_guard<std::mutex>::lock_guard(std::mutex&)", "app::work()"));
}

TEST(Folding, NeverDropsEverything) {
  EXPECT_THAT(
      folded({"fiber::detail::park()", "fiber::Channel<int>::receive()", "fiber::detail::run()", "fiber_entry"}),
      ElementsAre("fiber::Channel<int>::receive()"));
  EXPECT_THAT(folded({"fiber::detail::park()", "fiber_entry"}), ElementsAre("fiber::detail::park()"));
  EXPECT_THAT(folded({"fiber_entry"}), ElementsAre("fiber_entry"));
  EXPECT_THAT(folded({}), IsEmpty());
  EXPECT_THAT(folded({"app::f()"}), ElementsAre("app::f()"));
}

TEST(Folding, LeavesOtherStacksAlone) {
  EXPECT_THAT(folded({"epoll_wait", "fiber::detail::poll()", "fiber::detail::worker()", "start_thread", "clone3"}),
              ElementsAre("epoll_wait", "fiber::detail::worker()", "start_thread", "clone3"));
}

TEST(RuntimeNames, WhatMovesValues) {
  EXPECT_TRUE(moves_values("fiber::detail::channel_send(fiber::detail::ChannelCore*, void*)"));
  EXPECT_TRUE(
      moves_values("fiber::detail::select_arms(fiber::detail::SelectArm const*, unsigned long, fiber::Limit const&)"));
  EXPECT_FALSE(moves_values("fiber::detail::channel_try_receive(fiber::detail::ChannelCore*, void*)"));
  EXPECT_FALSE(moves_values("fiber::detail::poll_arms(fiber::detail::SelectArm const*, unsigned long)"));
  EXPECT_TRUE(is_yield("fiber::yield()"));
  EXPECT_FALSE(is_yield("app::yield()"));
}

TEST(RuntimeNames, TheProgramsOwnFrames) {
  const auto own = [](const char* function, const char* binary = "/usr/bin/app", bool runtime = false) {
    Frame frame;
    frame.function = function;
    frame.binary = binary;
    frame.runtime = runtime;
    return is_program_frame(frame);
  };
  EXPECT_TRUE(own("app::work()"));
  EXPECT_TRUE(own("main::{lambda(int)#1}::operator()(int) const"));
  EXPECT_FALSE(own("std::optional<app::Job>::has_value() const"));
  EXPECT_FALSE(own("fiber::yield()", "/usr/bin/app", true));
  EXPECT_FALSE(own("syscall", "/lib/x86_64-linux-gnu/libc.so.6"));
  EXPECT_FALSE(own("app+0x3561"));
}

}  // namespace
}  // namespace fiberprof
