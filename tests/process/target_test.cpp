// SPDX-License-Identifier: BSD-2-Clause
#include "process/target.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

#include "process/child.h"
#include "process/registry_view.h"

namespace fiberprof {
namespace {

using ::testing::HasSubstr;
using test::Child;
using test::fixture_path;

class EveryTarget : public ::testing::TestWithParam<const char*> {};

TEST_P(EveryTarget, IsFoundWithItsRegistry) {
  Child child({fixture_path(GetParam()), "42"});
  FiberFinder finder;
  const auto process = finder.find(child.pid());
  ASSERT_TRUE(process) << process.error().message();
  EXPECT_EQ(process->pid, child.pid());
  EXPECT_EQ(process->name, std::string(GetParam()).substr(0, 15));
  EXPECT_NE(process->binary.probe("blocked"), nullptr);
  auto view = RegistryView::open(child.pid(), process->registry_address);
  ASSERT_TRUE(view) << view.error().message();
  EXPECT_EQ((*view)->summary()->fibers_created, 42u);
}

INSTANTIATE_TEST_SUITE_P(Process, EveryTarget,
                         ::testing::Values("fiber_target", "fiber_target_no_pie", "fiber_target_no_note",
                                           "fiber_target_stripped", "fiber_target_shared"));

TEST(FiberFinder, SaysWhatIsWrongWithAProcess) {
  FiberFinder finder;
  Child plain({fixture_path("plain")});
  const auto without = finder.find(plain.pid());
  ASSERT_FALSE(without);
  EXPECT_EQ(without.error().message(), "process " + std::to_string(plain.pid()) +
                                           " (plain) has no fiber probes; is it linked with libfiberrt?");
  const auto nobody = finder.find(0x3fffffff);
  ASSERT_FALSE(nobody);
  EXPECT_THAT(nobody.error().message(), HasSubstr("no such process"));
}

TEST(FiberFinder, ListsAllAndOnlyProcessesOnFibers) {
  Child first({fixture_path("fiber_target")}), second({fixture_path("fiber_target")}),
      shared({fixture_path("fiber_target_shared")}), plain({fixture_path("plain")});
  FiberFinder finder;
  for (int round = 0; round < 2; ++round) {  // the second from memory
    std::vector<uint32_t> found;
    for (const FiberProcess& process : finder.find_all()) {
      found.push_back(process.pid);
      EXPECT_THAT(process.binary.path, HasSubstr("/proc/" + std::to_string(process.pid) + "/"));
    }
    EXPECT_THAT(found, ::testing::IsSupersetOf({first.pid(), second.pid(), shared.pid()}));
    EXPECT_THAT(found, ::testing::Not(::testing::Contains(plain.pid())));
    EXPECT_TRUE(std::is_sorted(found.begin(), found.end()));
  }
}

TEST(FiberFinder, ResolvesAPidOrAName) {
  Child child({fixture_path("fiber_target_no_pie")});
  FiberFinder finder;
  const auto by_pid = finder.resolve(std::to_string(child.pid()));
  ASSERT_TRUE(by_pid) << by_pid.error().message();
  EXPECT_EQ(by_pid->pid, child.pid());
  // comm is cut to 15 characters; the executable's name is not
  for (const char* name : {"fiber_target_no", "fiber_target_no_pie", "target_no_p"}) {
    const auto by_name = finder.resolve(name);
    ASSERT_TRUE(by_name) << name << ": " << by_name.error().message();
    EXPECT_EQ(by_name->pid, child.pid()) << name;
  }
}

TEST(FiberFinder, NamesTheCandidatesWhenANameIsNotUnique) {
  Child first({fixture_path("fiber_target_stripped")}), second({fixture_path("fiber_target_stripped")});
  FiberFinder finder;
  const auto result = finder.resolve("fiber_target_stripped");
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error().message(), HasSubstr("2 processes match 'fiber_target_stripped'"));
  EXPECT_THAT(result.error().message(), HasSubstr(std::to_string(first.pid()) + " (fiber_target_st)"));
  EXPECT_THAT(result.error().message(), HasSubstr(std::to_string(second.pid())));
}

TEST(FiberFinder, ExplainsANameThatMatchesNothing) {
  FiberFinder finder;
  const auto result = finder.resolve("no such\x1b[31m name");
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error().message(), HasSubstr("no process on fibers is named 'no such name'"));
  for (const char* bad : {"", "99999999999999999999"}) {
    const auto usage = finder.resolve(bad);
    ASSERT_FALSE(usage);
    EXPECT_EQ(usage.error().code, ExitCode::usage);
  }
}

TEST(ProcessHandle, NoticesTheEnd) {
  Child child({fixture_path("plain")});
  const auto handle = ProcessHandle::open(child.pid());
  ASSERT_TRUE(handle) << handle.error().message();
  EXPECT_TRUE(handle->alive());
  const uint32_t pid = child.pid();
  child.kill_now();
  child.end();
  EXPECT_FALSE(handle->alive());
  EXPECT_FALSE(ProcessHandle::open(pid));
}

TEST(GlobalTids, OfTheSameNamespaceAreTheSame) {
  const auto own = static_cast<uint32_t>(getpid());
  const auto tid = static_cast<uint32_t>(syscall(SYS_gettid));
  EXPECT_EQ(global_tid(own, tid), tid);
  EXPECT_EQ(global_tid(own, 0x3fffffff), 0u);
}

// A process in a pid namespace of its own calls itself 1; its threads are found by that number.
TEST(GlobalTids, AreFoundThroughAPidNamespace) {
  int ready[2], stop[2];
  ASSERT_EQ(pipe(ready), 0);
  ASSERT_EQ(pipe(stop), 0);
  const pid_t outer = fork();
  if (outer == 0) {
    if (unshare(CLONE_NEWPID) != 0) _exit(77);
    const pid_t inner = fork();
    if (inner == 0) {
      close(stop[1]);
      char c;
      const ssize_t end = read(stop[0], &c, 1);
      _exit(static_cast<int>(end));
    }
    if (write(ready[1], &inner, sizeof inner) != sizeof inner) _exit(1);
    close(stop[1]);
    int status = 0;
    waitpid(inner, &status, 0);
    _exit(0);
  }
  close(ready[1]);
  pid_t inner = 0;
  const bool started = read(ready[0], &inner, sizeof inner) == sizeof inner;
  if (started) {
    EXPECT_EQ(global_tid(static_cast<uint32_t>(inner), 1), static_cast<uint32_t>(inner));
    EXPECT_EQ(global_tids(static_cast<uint32_t>(inner)).size(), 1u);
  }
  close(stop[1]);
  int status = 0;
  waitpid(outer, &status, 0);
  for (const int fd : {ready[0], stop[0]}) close(fd);
  if (!started) GTEST_SKIP() << "pid namespaces need CAP_SYS_ADMIN";
}

}  // namespace
}  // namespace fiberprof
