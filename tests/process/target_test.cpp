// SPDX-License-Identifier: BSD-2-Clause
#include "process/target.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <thread>

#include "process/child.h"
#include "process/registry_view.h"

namespace fiberprof {
namespace {

using test::Child;
using test::fixture_path;
using ::testing::HasSubstr;

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
  EXPECT_EQ(without.error().message(),
            "process " + std::to_string(plain.pid()) + " (plain) has no fiber probes; is it linked with libfiberrt?");
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
      struct stat file {};
      EXPECT_EQ(stat(process.binary.path.c_str(), &file), 0) << process.binary.path;
      EXPECT_EQ(file.st_ino, process.binary.inode);
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

// Runs `check` as nobody, in a process of its own; what it returns is the test's message, empty when all is well.
template <class Check>
std::string as_nobody(Check check) {
  int result[2];
  if (pipe(result) != 0) return "no pipe";
  const pid_t child = fork();
  if (child == 0) {
    std::string text = setgid(65534) == 0 && setuid(65534) == 0 ? check() : "cannot become nobody";
    text.resize(std::min<size_t>(text.size(), 4000));
    _exit(write(result[1], text.data(), text.size()) == static_cast<ssize_t>(text.size()) ? 0 : 1);
  }
  close(result[1]);
  std::string text(4096, '\0');
  const ssize_t size = read(result[0], text.data(), text.size());
  text.resize(size > 0 ? static_cast<size_t>(size) : 0);
  close(result[0]);
  int status = 0;
  waitpid(child, &status, 0);
  return status == 0 ? text : "the check crashed";
}

TEST(FiberFinder, SaysWhoseAProcessIsThatMayNotBeRead) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root, to have a process that belongs to somebody else";
  Child child({fixture_path("fiber_target")});
  const std::string message = as_nobody([&] {
    FiberFinder finder;
    const auto process = finder.find(child.pid());
    return process ? std::string("found") : process.error().message();
  });
  EXPECT_EQ(message, "cannot look into process " + std::to_string(child.pid()) +
                         " (fiber_target): not permitted, it belongs to uid 0; run as root or with CAP_SYS_PTRACE");
  const std::string by_name = as_nobody([&] {
    FiberFinder finder;
    const auto process = finder.resolve("fiber_target");
    return process ? std::string("found") : process.error().message();
  });
  EXPECT_THAT(by_name, HasSubstr("could not be read, run as root or with CAP_SYS_PTRACE"));
}

// A container's file system: the binary's path means nothing in ours.
TEST(FiberFinder, FindsABinaryThatOnlyTheTargetsMountNamespaceHas) {
  if (geteuid() != 0) GTEST_SKIP() << "mount namespaces need root";
  char directory[] = "/tmp/fiberprof-mount-XXXXXX";
  ASSERT_NE(mkdtemp(directory), nullptr);
  const std::string script = "mount -t tmpfs none " + std::string(directory) + " && cp " +
                             fixture_path("fiber_target_no_pie") + " " + directory + "/hidden && exec " + directory +
                             "/hidden 7";
  {
    Child child({"/usr/bin/unshare", "-m", "/bin/sh", "-c", script});
    EXPECT_NE(access((std::string(directory) + "/hidden").c_str(), F_OK), 0);
    FiberFinder finder;
    const auto process = finder.find(child.pid());
    ASSERT_TRUE(process) << process.error().message();
    EXPECT_EQ(process->binary_path, std::string(directory) + "/hidden");
    EXPECT_EQ(access(process->binary.path.c_str(), R_OK), 0) << process->binary.path;
    EXPECT_EQ(finder.resolve("hidden")->pid, child.pid());
  }
  rmdir(directory);
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

size_t thread_count(pid_t pid) {
  const std::filesystem::directory_iterator tasks("/proc/" + std::to_string(pid) + "/task");
  return static_cast<size_t>(std::distance(begin(tasks), end(tasks)));
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
    const auto tids = global_tids(static_cast<uint32_t>(inner));
    EXPECT_EQ(tids.at(1), static_cast<uint32_t>(inner));
    // ThreadSanitizer gives every process a thread of its own
    EXPECT_EQ(tids.size(), thread_count(inner));
  }
  close(stop[1]);
  int status = 0;
  waitpid(outer, &status, 0);
  for (const int fd : {ready[0], stop[0]}) close(fd);
  if (!started) GTEST_SKIP() << "pid namespaces need CAP_SYS_ADMIN";
}

}  // namespace
}  // namespace fiberprof
