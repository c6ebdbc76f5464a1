// SPDX-License-Identifier: BSD-2-Clause
// Each way to wait in the kernel is told by its name, on a fiber and on an idle worker; signals and faults confuse
// nothing.
#include <linux/futex.h>
#include <sys/syscall.h>

#include <algorithm>

#include "fixture.h"
#include "session/names.h"
#include "symbol/symbolizer.h"

namespace fiberprof::test {
namespace {

constexpr uint64_t kMs = 1'000'000;

struct Way {
  const char* how;
  OffCpuCause cause;
  const char* name;
  const char* function;  // on the stack
};

void PrintTo(const Way& way, std::ostream* out) { *out << way.how; }

class KernelWaitsTest : public SessionTest {
 protected:
  void SetUp() override {
    SessionTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    target_ = start_target("1");
    auto session = Session::start(options_for(*target_));
    ASSERT_TRUE(session) << session.error().message();
    session_.emplace(std::move(*session));
  }

  std::vector<OffCpuEntry> entries(const std::string& name) {
    auto snapshot = session_->snapshot();
    EXPECT_TRUE(snapshot);
    snapshot_ = *snapshot;
    std::vector<OffCpuEntry> found;
    for (const OffCpuEntry& entry : snapshot_.off_cpu)
      if (off_cpu_name(entry) == name) found.push_back(entry);
    return found;
  }

  // For how much of a wait with a fixed end the thread may have come too late: it ran, or had no CPU.
  uint64_t late_ns() const {
    const WorkerTime& time = snapshot_.worker_times.at(static_cast<uint32_t>(target_->pid()));
    return time.on_cpu_ns + time.runnable_ns;
  }

  bool has_frame(StackId stack, const std::string& function) {
    const auto symbols = ProcessSymbols::open(static_cast<uint32_t>(target_->pid()));
    const auto frames = (*symbols)->stack(snapshot_.stacks.at(stack), false);
    return std::any_of(frames.begin(), frames.end(),
                       [&](const Frame& frame) { return frame.function.find(function) != std::string::npos; });
  }

  std::unique_ptr<Child> target_;
  std::optional<Session> session_;
  Snapshot snapshot_;
};

class KernelWaits : public KernelWaitsTest, public testing::WithParamInterface<Way> {};

TEST_P(KernelWaits, OnAFiber) {
  const Way& way = GetParam();
  const std::string answer = target_->ask(std::string("wait ") + way.how + " 20 3");
  if (answer == "no") GTEST_SKIP() << "not in this kernel";
  ASSERT_EQ(answer, "ok");
  uint64_t count = 0, total = 0;
  for (const OffCpuEntry& entry : entries(way.name)) {
    if (!entry.on_fiber) continue;
    if (!has_frame(entry.user_stack, way.function)) continue;  // joining the thread that helped is a wait, too
    EXPECT_EQ(entry.cause, way.cause);
    EXPECT_NE(entry.fiber_entry, 0u);
    EXPECT_TRUE(has_frame(entry.user_stack, "contract_fiber_entry"));
    EXPECT_LE(entry.runnable_ns, entry.total_ns);
    count += entry.count;
    total += entry.total_ns;
  }
  EXPECT_GE(count, 1u);
  EXPECT_GT(total + late_ns(), 3 * 18 * kMs) << "a timer runs from a moment before the thread leaves its CPU";
}

TEST_P(KernelWaits, OnAnIdleWorker) {
  const Way& way = GetParam();
  const std::string answer = target_->ask(std::string("idlewait ") + way.how + " 20 3");
  if (answer == "no") GTEST_SKIP() << "not in this kernel";
  ASSERT_EQ(answer, "ok");
  uint64_t total = 0;
  for (const OffCpuEntry& entry : entries(way.name)) {
    EXPECT_FALSE(entry.on_fiber);
    EXPECT_EQ(entry.fiber_entry, 0u);
    EXPECT_EQ(entry.cause, way.cause);
    total += entry.total_ns;
  }
  EXPECT_GT(total + late_ns(), 3 * 18 * kMs);
}

INSTANTIATE_TEST_SUITE_P(Futexes, KernelWaits,
                         testing::Values(Way{"wait", OffCpuCause::futex, "futex wait", "futex_wait"},
                                         Way{"bitset", OffCpuCause::futex, "futex wait bitset", "futex_wait"},
                                         Way{"requeue_pi", OffCpuCause::futex, "futex wait requeue pi", "futex_wait"},
                                         Way{"waitv", OffCpuCause::futex, "futex waitv", "futex_wait"},
                                         Way{"futex_wait", OffCpuCause::futex, "futex wait", "futex_wait"},
                                         Way{"lock_pi", OffCpuCause::futex, "futex lock pi", "lock_pi"},
                                         Way{"lock_pi2", OffCpuCause::futex, "futex lock pi2", "lock_pi"}),
                         [](const auto& way) { return std::string(way.param.how); });

INSTANTIATE_TEST_SUITE_P(Others, KernelWaits,
                         testing::Values(Way{"fault", OffCpuCause::fault, "page fault", "page_fault"},
                                         Way{"handler", OffCpuCause::syscall, "clock_nanosleep", "on_signal"},
                                         Way{"handler_onstack", OffCpuCause::syscall, "clock_nanosleep", "on_signal"}),
                         [](const auto& way) { return std::string(way.param.how); });

TEST_F(KernelWaitsTest, StoppedIsNotWaitingAndAWaitThatGoesOnAfterwardsKeepsItsName) {
  target_->send("wait wait 400 1");
  while (entries("futex wait").empty()) {
  }
  target_->kill(SIGSTOP);
  while (entries("stopped").empty()) {
  }
  target_->kill(SIGCONT);
  ASSERT_EQ(target_->line(), "ok");
  const auto stopped = entries("stopped");
  ASSERT_EQ(stopped.size(), 1u);
  EXPECT_EQ(stopped[0].cause, OffCpuCause::stopped);
  EXPECT_TRUE(stopped[0].on_fiber);
  uint64_t on_fiber = 0;
  for (const OffCpuEntry& entry : entries("futex wait"))
    if (entry.on_fiber) on_fiber += entry.count;
  EXPECT_EQ(on_fiber, 2u) << "before the stop and after it";
  for (const OffCpuEntry& entry : snapshot_.off_cpu) EXPECT_NE(off_cpu_name(entry), "syscall 219");
}

}  // namespace
}  // namespace fiberprof::test
