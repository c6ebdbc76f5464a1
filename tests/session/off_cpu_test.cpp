// SPDX-License-Identifier: BSD-2-Clause
// Why worker threads were off their CPU, told by what they are known to have done.
#include <linux/futex.h>
#include <sys/syscall.h>

#include <algorithm>

#include "fixture.h"
#include "symbol/symbolizer.h"

namespace fiberprof::test {
namespace {

constexpr uint64_t kMs = 1'000'000;

class OffCpuTest : public SessionTest {
 protected:
  void SetUp() override {
    SessionTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    target_ = start_target();
    auto session = Session::start(options_for(*target_));
    ASSERT_TRUE(session) << session.error().message();
    ASSERT_THAT(session->warnings(), testing::IsEmpty());
    session_.emplace(std::move(*session));
  }

  Snapshot after(const std::string& command) {
    EXPECT_EQ(target_->ask(command), "ok");
    auto snapshot = session_->snapshot();
    EXPECT_TRUE(snapshot);
    return *snapshot;
  }

  // The function names of a stack, innermost first.
  std::vector<std::string> names(const Snapshot& snapshot, StackId id) {
    const auto symbols = ProcessSymbols::open(static_cast<uint32_t>(target_->pid()));
    EXPECT_TRUE(symbols);
    std::vector<std::string> result;
    for (const Frame& frame : (*symbols)->stack(snapshot.stacks.at(id), false)) result.push_back(frame.function);
    return result;
  }

  std::unique_ptr<Child> target_;
  std::optional<Session> session_;
};

// All entries on a fiber with this cause and system call.
std::vector<OffCpuEntry> select(const Snapshot& snapshot, bool on_fiber, OffCpuCause cause, int syscall = -1) {
  std::vector<OffCpuEntry> result;
  for (const auto& entry : snapshot.off_cpu)
    if (entry.on_fiber == on_fiber && entry.cause == cause && entry.syscall == syscall) result.push_back(entry);
  return result;
}

TEST_F(OffCpuTest, APthreadMutexIsAFutexWaitChargedToTheFibersStack) {
  const auto snapshot = after("mutex 20 5");
  const auto entries = select(snapshot, true, OffCpuCause::futex, SYS_futex);
  ASSERT_EQ(entries.size(), 1u);
  const auto& entry = entries[0];
  EXPECT_EQ(entry.pid, static_cast<uint32_t>(target_->pid()));
  EXPECT_EQ(entry.count, 5u);
  EXPECT_EQ(entry.futex_op, FUTEX_WAIT);
  // Held for 20 ms at least, minus the moment until the worker asks for it.
  EXPECT_GT(entry.total_ns, 5 * 15 * kMs);
  EXPECT_GE(entry.max_ns, entry.total_ns / 5);
  EXPECT_NE(entry.fiber_entry, 0u);
  const auto stack = names(snapshot, entry.user_stack);
  EXPECT_THAT(stack, testing::Contains(testing::HasSubstr("contract_lock")))
      << "the caller of libc, which has no frame pointers, must not be missing";
  EXPECT_THAT(stack, testing::Contains(testing::HasSubstr("contract_fiber_entry")));
  ASSERT_NE(entry.kernel_stack, 0u);
  EXPECT_GT(snapshot.stacks.at(entry.kernel_stack).size(), 3u);
}

TEST_F(OffCpuTest, SleepingSystemCallsAreNamed) {
  auto snapshot = after("sleep 10 3");
  auto entries = select(snapshot, true, OffCpuCause::syscall, SYS_clock_nanosleep);
  ASSERT_EQ(entries.size(), 1u);
  EXPECT_EQ(entries[0].count, 3u);
  EXPECT_GT(entries[0].total_ns, 27 * kMs) << "the timer runs from a moment before the thread leaves its CPU";
  EXPECT_THAT(names(snapshot, entries[0].user_stack), testing::Contains(testing::HasSubstr("contract_sleep")));

  snapshot = after("pipe 10 4");
  entries = select(snapshot, true, OffCpuCause::syscall, SYS_read);
  ASSERT_EQ(entries.size(), 1u);
  EXPECT_EQ(entries[0].count, 4u);
  EXPECT_GT(entries[0].total_ns, 4 * 5 * kMs);
  EXPECT_THAT(names(snapshot, entries[0].user_stack), testing::Contains(testing::HasSubstr("contract_read")));
}

TEST_F(OffCpuTest, AnIdleWorkerIsNoFibersFault) {
  const auto snapshot = after("idle 10 5");
  const auto entries = select(snapshot, false, OffCpuCause::futex, SYS_futex);
  uint64_t count = 0, total = 0;
  for (const auto& entry : entries) {
    EXPECT_EQ(entry.fiber_entry, 0u);
    EXPECT_EQ(entry.user_stack, 0u);
    count += entry.count;
    total += entry.total_ns;
  }
  EXPECT_GE(count, 5u);
  EXPECT_GT(total, 45 * kMs);
  EXPECT_THAT(select(snapshot, true, OffCpuCause::futex, SYS_futex), testing::IsEmpty());
}

TEST_F(OffCpuTest, ABusyWorkerAmongBusyProcessesIsPreempted) {
  // More busy threads than CPUs: the worker and as many spinners as there are CPUs.
  const auto cpus = static_cast<size_t>(sysconf(_SC_NPROCESSORS_ONLN));
  std::vector<std::unique_ptr<Child>> others;
  for (size_t i = 0; i < cpus; ++i) {
    others.push_back(start_target("1"));
    others.back()->send("spin 400");
  }
  const auto snapshot = after("spin 300");
  const auto entries = select(snapshot, true, OffCpuCause::preempted);
  ASSERT_FALSE(entries.empty());
  uint64_t total = 0;
  bool spinning = false;
  for (const auto& entry : entries) {
    EXPECT_EQ(entry.kernel_stack, 0u);
    total += entry.total_ns;
    const auto stack = names(snapshot, entry.user_stack);
    spinning = spinning || std::any_of(stack.begin(), stack.end(), [](const std::string& name) {
                 return name.find("contract_spin") != std::string::npos;
               });
  }
  EXPECT_GT(total, kMs);
  EXPECT_TRUE(spinning) << "also when it was preempted in the vdso or in libc, which it calls";
}

TEST_F(OffCpuTest, AWorkerStuckForGoodIsVisibleBeforeItEnds) {
  target_->send("sleep 100000 1");
  // No answer will come: look until the worker is seen asleep.
  for (;;) {
    const auto snapshot = session_->snapshot();
    ASSERT_TRUE(snapshot);
    const auto entries = select(*snapshot, true, OffCpuCause::syscall, SYS_clock_nanosleep);
    if (entries.empty()) continue;
    EXPECT_EQ(entries[0].count, 1u);
    const uint64_t before = entries[0].total_ns;
    const auto later = session_->snapshot();
    ASSERT_TRUE(later);
    EXPECT_GT(select(*later, true, OffCpuCause::syscall, SYS_clock_nanosleep).at(0).total_ns, before);
    break;
  }
}

TEST_F(OffCpuTest, TheSpawnedFunctionIsKnownFromEitherFieldOfTheWorker) {
  const auto snapshot = after("sleep 2 1");
  EXPECT_EQ(target_->ask("on 1 sleep 2 1"), "ok");
  const auto later = session_->snapshot();
  ASSERT_TRUE(later);
  const auto before = select(snapshot, true, OffCpuCause::syscall, SYS_clock_nanosleep);
  const auto entries = select(*later, true, OffCpuCause::syscall, SYS_clock_nanosleep);
  ASSERT_EQ(before.size(), 1u) << "worker 0: in its record";
  ASSERT_GE(entries.size(), 1u);
  uint64_t count = 0;
  for (const auto& entry : entries) {
    count += entry.count;
    EXPECT_EQ(entry.fiber_entry, before[0].fiber_entry) << "worker 1: in the fiber's record";
    EXPECT_NE(entry.fiber_entry, 0u);
  }
  EXPECT_EQ(count, 2u);
  EXPECT_EQ(later->losses.total(), 0u);
}

TEST_F(OffCpuTest, WorkersThatStartLaterAreWatchedToo) {
  ASSERT_EQ(target_->ask("start"), "ok");
  const auto snapshot = after("on 2 sleep 10 2");
  const auto entries = select(snapshot, true, OffCpuCause::syscall, SYS_clock_nanosleep);
  ASSERT_EQ(entries.size(), 1u);
  EXPECT_EQ(entries[0].count, 2u);
}

}  // namespace
}  // namespace fiberprof::test
