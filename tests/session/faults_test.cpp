// SPDX-License-Identifier: BSD-2-Clause
// Targets in every awkward state while they are attached to and let go, and fiberprof killed while it watches all.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <random>

#include "fixture.h"

namespace fiberprof::test {
namespace {

char state_of(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string text((std::istreambuf_iterator<char>(file)), {});
  const size_t name_end = text.rfind(')');
  return name_end == std::string::npos || name_end + 2 >= text.size() ? '?' : text[name_end + 2];
}

uint64_t waits_of(Session& session, pid_t pid) {
  const auto snapshot = session.snapshot();
  uint64_t sum = 0;
  if (snapshot)
    for (const auto& entry : snapshot->blocked)
      if (entry.pid == static_cast<uint32_t>(pid)) sum += entry.count;
  return sum;
}

std::string no_semaphores(Child& target) {
  std::string semaphores = target.ask("semaphores");
  semaphores.erase(std::remove(semaphores.begin(), semaphores.end(), '0'), semaphores.end());
  semaphores.erase(std::remove(semaphores.begin(), semaphores.end(), ' '), semaphores.end());
  return semaphores;
}

TEST_F(SessionTest, AStoppedTargetIsAttachedToAndLetGo) {
  const auto target = start_target();
  target->kill(SIGSTOP);
  int status = 0;
  ASSERT_EQ(waitpid(target->pid(), &status, WUNTRACED), target->pid());
  ASSERT_TRUE(WIFSTOPPED(status));
  auto session = Session::start(options_for(*target));
  ASSERT_TRUE(session) << session.error().message();
  EXPECT_EQ(state_of(target->pid()), 'T') << "it is still stopped";
  target->kill(SIGCONT);
  ASSERT_EQ(target->ask("blocked 9 2 10 1 1"), "fired 9");
  EXPECT_EQ(waits_of(*session, target->pid()), 9u);
  target->kill(SIGSTOP);
  ASSERT_EQ(waitpid(target->pid(), &status, WUNTRACED), target->pid());
  session->detach();
  EXPECT_EQ(state_of(target->pid()), 'T');
  target->kill(SIGCONT);
  EXPECT_EQ(target->ask("blocked 9 2 10 1 1"), "fired 0");
  EXPECT_EQ(no_semaphores(*target), "");
}

TEST_F(SessionTest, ATargetPausedInADebuggerIsAttachedTo) {
  const auto target = start_target();
  // Holds the target until its standard input ends.
  Child gdb(
      {"gdb", "-q", "-nx", "-batch-silent", "-p", std::to_string(target->pid()), "-ex", "shell cat", "-ex", "detach"});
  while (state_of(target->pid()) != 't') ASSERT_EQ(waitpid(gdb.pid(), nullptr, WNOHANG), 0) << gdb.rest();
  auto session = Session::start(options_for(*target));
  ASSERT_TRUE(session) << session.error().message();
  EXPECT_EQ(state_of(target->pid()), 't');
  gdb.close_stdin();
  gdb.wait();
  ASSERT_EQ(target->ask("blocked 9 2 10 1 1"), "fired 9");
  EXPECT_EQ(waits_of(*session, target->pid()), 9u);
  session->detach();
  EXPECT_EQ(no_semaphores(*target), "");
}

TEST_F(SessionTest, FiberprofKilledAnywhereWhileItWatchesAll) {
  const auto target = start_target();
  std::mt19937 random(7);
  for (int round = 0; round < 5; ++round) {
    Child tool({FIBERPROF_BUILD_DIR "/bin/fiberprof", "record", "-a", "-q", "-o", "/dev/null"});
    // A point of its own each time: after so many events of the machine, of which each child is several.
    for (auto i = random() % 20; i-- > 0;) {
      const auto brief = start_target("1");
      brief->send("quit");
      brief->wait();
    }
    tool.kill(SIGKILL);
    EXPECT_TRUE(WIFSIGNALED(tool.wait()));
    EXPECT_EQ(no_semaphores(*target), "");
    ASSERT_EQ(target->ask("blocked 3 2 10 1 1"), "fired 0") << "round " << round;
  }
}

}  // namespace
}  // namespace fiberprof::test
