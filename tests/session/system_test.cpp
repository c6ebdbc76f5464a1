// SPDX-License-Identifier: BSD-2-Clause
// Everything on the machine that is on fibers: found whenever and however it starts, counted apart, gone when it ends.
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>

#include "fixture.h"
#include "session/system_watch.h"

namespace fiberprof::test {
namespace {

const std::string kFixtures = FIBERPROF_BUILD_DIR "/tests/fixtures/";

class SystemTest : public SessionTest {
 protected:
  void SetUp() override {
    SessionTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    char name[] = "/tmp/fiberprof-system-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    directory_ = name;
  }
  void TearDown() override {
    watch_.reset();
    if (!directory_.empty()) std::filesystem::remove_all(directory_);
  }

  // Another binary: the same program under another inode.
  std::string copy(const std::string& name) const {
    std::filesystem::copy_file(kTarget, directory_ + "/" + name);
    return directory_ + "/" + name;
  }
  static std::unique_ptr<Child> start(const std::vector<std::string>& command) {
    auto child = std::make_unique<Child>(command);
    EXPECT_EQ(child->line(), "ready");
    return child;
  }

  void watch() {
    SessionOptions options;
    options.tier = Tier::exact;
    auto started = SystemWatch::start(std::move(options));
    ASSERT_TRUE(started) << started.error().message();
    watch_ = std::move(*started);
  }
  // Sleeps for events until the condition holds; the test's own time limit ends it otherwise.
  void until(const std::function<bool()>& condition) {
    watch_->update();
    while (!condition()) {
      pollfd events{watch_->fd(), POLLIN, 0};
      ASSERT_EQ(poll(&events, 1, 60'000), 1) << "nothing came";
      watch_->update();
    }
  }
  bool is_running(const Child& child) const { return watch_->running().count(static_cast<uint32_t>(child.pid())) != 0; }
  void until_running(const Child& child) {
    until([&] { return is_running(child); });
  }

  // Waits counted, by process id and name of the program, all readings together.
  using Counts = std::map<std::pair<uint32_t, std::string>, uint64_t>;
  Counts counts() {
    auto reading = watch_->read();
    EXPECT_TRUE(reading) << reading.error().message();
    EXPECT_EQ(reading->unknown, 0u);
    Counts now = ended_;
    const auto add = [](Counts& to, const std::vector<SystemWatch::Part>& parts) {
      for (const auto& part : parts)
        for (const BlockedEntry& entry : part.snapshot.blocked) {
          to[{part.program->process.pid, part.program->process.name}] += entry.count;
          EXPECT_EQ(entry.pid, part.program->process.pid);
          const auto* stack = part.snapshot.stacks.find(entry.stack);
          ASSERT_NE(stack, nullptr);
          const auto frames = part.program->symbols->stack(*stack, false);
          EXPECT_TRUE(std::any_of(frames.begin(), frames.end(),
                                  [](const Frame& frame) {
                                    // The latter: somebody else's program, on libfiberrt, which none of these is.
                                    return frame.function.starts_with("contract_fiber_entry") ||
                                           frame.function == "fiber_entry";
                                  }))
              << part.program->process.name << " ended: " << part.program->ended;
        }
    };
    add(ended_, reading->ended);
    add(now, reading->ended);
    add(now, reading->running);
    return now;
  }
  static uint64_t of(const Counts& counts, uint32_t pid, const std::string& name = "contract_target") {
    const auto found = counts.find({pid, name});
    return found == counts.end() ? 0 : found->second;
  }
  static uint32_t pid(const Child& child) { return static_cast<uint32_t>(child.pid()); }

  std::string directory_;
  std::unique_ptr<SystemWatch> watch_;
  Counts ended_;
};

TEST_F(SystemTest, WhatRunsAndWhatStartsLaterFromWhateverBinary) {
  const auto before = start_target();
  watch();
  EXPECT_TRUE(is_running(*before));
  const auto same = start_target();
  const auto other = start({copy("other_program"), "1"});
  const auto linked = start({kFixtures + "contract_linked", "1"});
  Child loads({kFixtures + "loads_library", kFixtures + "libcontract.so", "1"});
  ASSERT_EQ(loads.line(), "waiting");
  until_running(*other);
  until_running(*linked);
  EXPECT_FALSE(is_running(loads)) << "it is not on fibers yet";
  ASSERT_EQ(loads.ask("go"), "ready");
  until_running(loads);
  ASSERT_EQ(before->ask("blocked 10 2 10 1 1"), "fired 10");
  ASSERT_EQ(same->ask("blocked 20 2 10 1 1"), "fired 20");
  ASSERT_EQ(other->ask("blocked 30 2 10 1 1"), "fired 30");
  ASSERT_EQ(linked->ask("blocked 40 2 10 1 1"), "fired 40");
  ASSERT_EQ(loads.ask("blocked 50 2 10 1 1"), "fired 50");
  const auto now = counts();
  EXPECT_EQ(of(now, pid(*before)), 10u);
  EXPECT_EQ(of(now, pid(*same)), 20u);
  EXPECT_EQ(of(now, pid(*other), "other_program"), 30u);
  EXPECT_EQ(of(now, pid(*linked), "contract_linked"), 40u);
  EXPECT_EQ(of(now, pid(loads), "loads_library"), 50u);
  EXPECT_THAT(watch_->take_warnings(), testing::Not(testing::Contains(testing::HasSubstr("contract"))));
}

// Code mapped so many times on each CPU, each time an event.
void map_code(int times) {
  cpu_set_t all;
  ASSERT_EQ(sched_getaffinity(0, sizeof all, &all), 0);
  const int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &all)) continue;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
    for (int i = 0; i < times; ++i) {
      void* code = mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, self, 0);
      ASSERT_NE(code, MAP_FAILED);
      munmap(code, 4096);
    }
  }
  ASSERT_EQ(sched_setaffinity(0, sizeof all, &all), 0);
  close(self);
}

TEST_F(SystemTest, WhoCameWhileEventsWereLostIsFoundAndThatIsSaid) {
  watch();
  map_code(5'000);  // more than the rings hold
  const auto unseen = start_target();
  watch_->update();
  map_code(1);  // that something was lost is told with the next event there is room for
  until_running(*unseen);
  ASSERT_EQ(unseen->ask("blocked 10 2 10 1 1"), "fired 10");
  EXPECT_EQ(of(counts(), pid(*unseen)), 10u);
  EXPECT_THAT(watch_->take_warnings(), testing::Contains(testing::HasSubstr("faster than they could be followed")));
}

// As when process ids have come around: the same number, another process.
TEST_F(SystemTest, AProcessIdUsedAgainIsAnotherProcess) {
  std::ofstream last("/proc/sys/kernel/ns_last_pid");
  if (!last) GTEST_SKIP() << "process ids cannot be chosen here";
  watch();
  auto first = start_target("1");
  const pid_t id = first->pid();
  until_running(*first);
  ASSERT_EQ(first->ask("blocked 10 2 10 1 1"), "fired 10");
  first->send("quit");
  first->wait();
  const std::string other = copy("other_program");
  std::unique_ptr<Child> second;
  for (int tries = 0; tries < 200; ++tries) {  // others start processes, too
    last << id - 1 << std::flush;
    second = std::make_unique<Child>(std::vector<std::string>{other, "1"});
    if (second->pid() == id) break;
  }
  if (second->pid() != id) GTEST_SKIP() << "process " << id << " was taken by another";
  ASSERT_EQ(second->line(), "ready");
  until([&] {
    const auto found = watch_->running().find(pid(*second));
    return found != watch_->running().end() && found->second->process.name == "other_program";
  });
  ASSERT_EQ(second->ask("blocked 30 2 10 1 1"), "fired 30");
  const auto now = counts();
  EXPECT_EQ(of(now, static_cast<uint32_t>(id)), 10u);
  EXPECT_EQ(of(now, static_cast<uint32_t>(id), "other_program"), 30u);
}

TEST_F(SystemTest, AHundredAndTwentyProcessesAreOneAttach) {
  std::vector<std::unique_ptr<Child>> children;
  for (int i = 0; i < 60; ++i) children.push_back(start_target("1"));
  watch();
  for (int i = 0; i < 60; ++i) children.push_back(start_target("1"));
  until_running(*children.back());
  uint64_t n = 0;
  for (const auto& child : children) {
    ++n;
    ASSERT_EQ(child->ask("blocked " + std::to_string(n) + " 2 10 1 1"), "fired " + std::to_string(n));
  }
  const auto now = counts();
  n = 0;
  for (const auto& child : children) EXPECT_EQ(of(now, pid(*child)), ++n);
  for (const auto& child : {children.front().get(), children.back().get()})
    EXPECT_THAT(child->ask("semaphores"), testing::HasSubstr(" 1 ")) << "the file is attached to once";
  for (const auto& child : children) EXPECT_THAT(child->ask("semaphores"), testing::Not(testing::HasSubstr("2")));
  // They end, and the kernel's maps are empty again.
  children.clear();
  until([&] { return watch_->ended() >= 120; });
  counts();
  const auto left = watch_->session().snapshot();
  ASSERT_TRUE(left);
  EXPECT_EQ(std::count_if(left->blocked.begin(), left->blocked.end(),
                          [&](const auto& entry) { return of(now, entry.pid) != 0; }),
            0);
  EXPECT_TRUE(left->stacks.size() == 0 || left->blocked.size() + left->off_cpu.size() + left->on_cpu.size() > 0);
}

TEST_F(SystemTest, ShortLivedOnesAreCountedToTheLastWaitWithTheirNames) {
  const auto keeper = start_target();  // so that the binary is known
  watch();
  const auto library_keeper = start({kFixtures + "contract_linked", "1"});
  until_running(*library_keeper);
  Counts expected;
  for (int i = 0; i < 40; ++i) {
    const bool linked = i % 2 != 0;
    Child brief({linked ? kFixtures + "contract_linked" : kTarget, "1"});
    brief.send("blocked 100 2 10 1 " + std::to_string(i % 5));
    brief.send("quit");
    EXPECT_EQ(brief.line(), "ready");
    EXPECT_EQ(brief.line(), "fired 100");
    expected[{pid(brief), linked ? "contract_linked" : "contract_target"}] = 100;
    brief.wait();
    if (i % 10 == 9) counts();  // else nothing is looked at before they are gone
  }
  const auto now = counts();
  for (const auto& [program, waits] : expected) EXPECT_EQ(of(now, program.first, program.second), waits);
}

TEST_F(SystemTest, AProcessInNamespacesOfItsOwnWithABinaryThatOnlyItSees) {
  if (geteuid() != 0) GTEST_SKIP() << "namespaces need root";
  watch();
  const std::string script = "mount -t tmpfs none " + directory_ + " && cp " + kTarget + " " + directory_ +
                             "/inside && exec " + directory_ + "/inside 1";
  Child child({"unshare", "-mpf", "--mount-proc", "/bin/sh", "-c", script});
  ASSERT_EQ(child.line(), "ready");
  EXPECT_NE(access((directory_ + "/inside").c_str(), F_OK), 0);
  const auto inside = [&]() -> uint32_t {
    for (const auto& [process, program] : watch_->running())
      if (program->process.name == "inside") return process;
    return 0;
  };
  until([&] { return inside() != 0; });
  const uint32_t process = inside();
  EXPECT_THAT(child.ask("pid"), testing::StartsWith("1 ")) << "its own id for itself";
  ASSERT_EQ(child.ask("blocked 70 2 10 1 1"), "fired 70");
  ASSERT_EQ(child.ask("sleep 5 2"), "ok");
  child.send("quit");
  EXPECT_EQ(child.wait(), 0);
  until([&] { return inside() == 0; });
  EXPECT_EQ(of(counts(), process, "inside"), 70u);
}

TEST_F(SystemTest, OneProgramReplacedByAnotherIsTwo) {
  const std::string next = copy("next_program");
  const auto child = start_target();
  watch();
  for (const char* name : {"contract_target", "next_program"}) {
    ASSERT_EQ(child->ask("blocked 25 2 10 1 1"), "fired 25") << name;
    child->send("become " + (name == std::string("contract_target") ? next : kTarget));
    ASSERT_EQ(child->line(), "ready");
    const auto replaced = name == std::string("contract_target") ? "next_program" : "contract_target";
    until([&] {
      const auto found = watch_->running().find(pid(*child));
      return found != watch_->running().end() && found->second->process.name == replaced;
    });
  }
  ASSERT_EQ(child->ask("blocked 5 2 10 1 1"), "fired 5");
  const auto now = counts();
  EXPECT_EQ(of(now, pid(*child), "contract_target"), 30u);
  EXPECT_EQ(of(now, pid(*child), "next_program"), 25u);
}

TEST_F(SystemTest, AForkThatIsNeverReplacedIsCountedUnderItsOwnId) {
  const auto parent = start_target();
  watch();
  const std::string reply = parent->ask("fork 44");
  ASSERT_THAT(reply, testing::StartsWith("fired 44 in "));
  const auto forked = static_cast<uint32_t>(std::stoul(reply.substr(12)));
  const auto now = counts();
  EXPECT_EQ(of(now, forked), 44u);
  EXPECT_EQ(of(now, pid(*parent)), 0u);
}

TEST_F(SystemTest, WhatIsOverwrittenOrDeletedIsStillAttachedTo) {
  const std::string path = copy("deleted_program");
  const auto child = start({path, "1"});
  std::filesystem::remove(path);
  watch();
  ASSERT_EQ(child->ask("blocked 12 2 10 1 1"), "fired 12");
  EXPECT_EQ(of(counts(), pid(*child), "deleted_program"), 12u);
}

}  // namespace
}  // namespace fiberprof::test
