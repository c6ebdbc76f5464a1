// SPDX-License-Identifier: BSD-2-Clause
// Workers that were off their CPU before the session began are in it like any others: whoever hangs for good is not
// switched out again.
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <thread>

#include "fixture.h"
#include "process/registry_view.h"
#include "session/complete_stacks.h"
#include "session/names.h"
#include "session/stopwatch.h"
#include "symbol/symbolizer.h"
#include "threads.h"

namespace fiberprof::test {
namespace {

using namespace std::chrono_literals;

constexpr uint64_t kMs = 1'000'000;

struct Way {
  const char* request;
  OffCpuCause cause;
  const char* name;
  const char* function;  // on the stack
};

void PrintTo(const Way& way, std::ostream* out) { *out << way.request; }

class AsleepTest : public SessionTest {
 protected:
  // Starts a session on a target whose only worker carries out the request.
  void start_during(const std::string& request, SessionOptions options = {}) {
    target_ = start_target("1");
    options.processes = {find(*target_)};
    options.tier = Tier::exact;
    if (!request.empty()) begin(request, options.processes[0]);
    before_ns_ = monotonic_ns();
    auto session = Session::start(options);
    ASSERT_TRUE(session) << session.error().message();
    EXPECT_THAT(session->warnings(), testing::IsEmpty());
    session_.emplace(std::move(*session));
    after_ns_ = monotonic_ns();
  }

  Snapshot snapshot() {
    auto taken = session_->snapshot();
    EXPECT_TRUE(taken);
    return *taken;
  }

  // Time that the session says the worker lived; it must be what has passed since the session began, to the nanosecond
  // within the moments at which it can have begun.
  void expect_whole_time(const Snapshot& of) {
    const WorkerTime& time = of.worker_times.at(static_cast<uint32_t>(target_->pid()));
    EXPECT_GE(time.on_cpu_ns + time.off_cpu_ns, of.time_ns - after_ns_);
    EXPECT_LE(time.on_cpu_ns + time.off_cpu_ns, of.time_ns - before_ns_);
  }

  bool has_frame(const Snapshot& from, StackId stack, const std::string& function) {
    const auto* const addresses = from.stacks.find(stack);
    if (!addresses) return false;
    const auto frames = symbols_.at(static_cast<uint32_t>(target_->pid()))->stack(*addresses, false);
    return std::any_of(frames.begin(), frames.end(),
                       [&](const Frame& frame) { return frame.function.find(function) != std::string::npos; });
  }

  std::unique_ptr<Child> target_;
  std::optional<Session> session_;
  std::map<uint32_t, std::unique_ptr<ProcessSymbols>> symbols_;
  uint64_t before_ns_ = 0, after_ns_ = 0;

 private:
  // Sends the request and waits until the worker has been on a fiber without a switch for a while.
  void begin(const std::string& request, const FiberProcess& process) {
    const auto view = RegistryView::open(process.pid, process.registry_address);
    ASSERT_TRUE(view);
    target_->send(request);
    uint64_t before = 0, now = 0;
    WorkerInfo worker;
    do {
      before = now;
      std::this_thread::sleep_for(50ms);
      const auto summary = (*view)->summary();
      ASSERT_TRUE(summary);
      worker = summary->workers.at(0);
      now = switches_of(target_->pid(), worker.tid);
    } while (worker.current_fiber == 0 || now != before);
  }
};

class AsleepIn : public AsleepTest, public testing::WithParamInterface<Way> {};

TEST_P(AsleepIn, IsThereFromTheBeginningAndToTheEnd) {
  const Way& way = GetParam();
  ASSERT_NO_FATAL_FAILURE(start_during(way.request));
  auto opened = ProcessSymbols::open(static_cast<uint32_t>(target_->pid()));
  ASSERT_TRUE(opened);
  symbols_[static_cast<uint32_t>(target_->pid())] = std::move(*opened);
  std::this_thread::sleep_for(30ms);
  Snapshot now = snapshot();
  complete_stacks(now, symbols_);
  ASSERT_EQ(now.off_cpu.size(), 1u) << "one worker, which has not run";
  const OffCpuEntry entry = now.off_cpu[0];
  EXPECT_EQ(off_cpu_name(entry), way.name);
  EXPECT_EQ(entry.cause, way.cause);
  EXPECT_TRUE(entry.on_fiber);
  EXPECT_NE(entry.fiber_entry, 0u);
  EXPECT_EQ(entry.count, 1u);
  EXPECT_EQ(entry.runnable_ns, 0u);
  EXPECT_GE(entry.total_ns, now.time_ns - after_ns_);
  EXPECT_LE(entry.total_ns, now.time_ns - before_ns_);
  EXPECT_TRUE(has_frame(now, entry.user_stack, way.function));
  EXPECT_TRUE(has_frame(now, entry.user_stack, "contract_fiber_entry"));
  ASSERT_NE(now.stacks.find(entry.kernel_stack), nullptr);
  EXPECT_GT(now.stacks.find(entry.kernel_stack)->size(), 2u);
  expect_whole_time(now);

  // It ends like any other.
  const uint64_t before_end_ns = monotonic_ns();
  target_->kill(SIGKILL);
  target_->wait();
  const uint64_t end_ns = monotonic_ns();
  now = snapshot();
  uint64_t total_ns = 0;
  for (const OffCpuEntry& each : now.off_cpu)
    if (off_cpu_name(each) == way.name && each.on_fiber) total_ns += each.total_ns;
  EXPECT_GE(total_ns, before_end_ns - after_ns_);
  EXPECT_LE(total_ns, end_ns - before_ns_);
  EXPECT_EQ(now.losses.total(), 0u);
}

INSTANTIATE_TEST_SUITE_P(Ways, AsleepIn,
                         testing::Values(Way{"sleep 60000 1", OffCpuCause::syscall, "clock_nanosleep", "nanosleep"},
                                         Way{"pipe 60000 1", OffCpuCause::syscall, "read", "read"},
                                         Way{"wait wait 60000 1", OffCpuCause::futex, "futex wait", "futex_wait"},
                                         Way{"wait fault 60000 1", OffCpuCause::fault, "page fault", "page_fault"}),
                         [](const auto& way) {
                           std::string name = way.param.name;
                           std::replace(name.begin(), name.end(), ' ', '_');
                           return name;
                         });

TEST_F(AsleepTest, AnIdleWorkerIsIdleFromTheBeginning) {
  ASSERT_NO_FATAL_FAILURE(start_during(""));
  const Snapshot now = snapshot();
  ASSERT_EQ(now.off_cpu.size(), 1u);
  EXPECT_FALSE(now.off_cpu[0].on_fiber);
  EXPECT_EQ(now.off_cpu[0].cause, OffCpuCause::futex);
  EXPECT_EQ(now.off_cpu[0].user_stack, 0u);
  expect_whole_time(now);
}

TEST_F(AsleepTest, OneThatRunsHasRunFromTheBeginning) {
  target_ = start_target("1");
  SessionOptions options;
  options.processes = {find(*target_)};
  target_->send("spin 60000");
  std::this_thread::sleep_for(20ms);
  before_ns_ = monotonic_ns();
  auto session = Session::start(options);
  ASSERT_TRUE(session) << session.error().message();
  session_.emplace(std::move(*session));
  after_ns_ = monotonic_ns();
  std::this_thread::sleep_for(30ms);
  expect_whole_time(snapshot());
}

TEST_F(AsleepTest, AFiberThatIsNotWantedIsNotThere) {
  SessionOptions options;
  options.fibers.names = {"somebody else"};
  ASSERT_NO_FATAL_FAILURE(start_during("sleep 60000 1", options));
  const Snapshot now = snapshot();
  EXPECT_THAT(now.off_cpu, testing::IsEmpty());
  expect_whole_time(now);
}

TEST_F(AsleepTest, AFiberThatIsWantedIsThere) {
  SessionOptions options;
  options.fibers.sites = {"contract_fiber_entry"};
  ASSERT_NO_FATAL_FAILURE(start_during("sleep 60000 1", options));
  const Snapshot now = snapshot();
  ASSERT_EQ(now.off_cpu.size(), 1u);
  EXPECT_EQ(off_cpu_name(now.off_cpu[0]), "clock_nanosleep");
}

}  // namespace
}  // namespace fiberprof::test
