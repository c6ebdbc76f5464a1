// SPDX-License-Identifier: BSD-2-Clause
// What workers run, how long, and how long they wait for a CPU; compared with what others count.
#include <sys/stat.h>
#include <algorithm>
#include <fstream>
#include <functional>
#include <sstream>

#include "fixture.h"
#include "support/command.h"
#include "symbol/symbolizer.h"
#include "threads.h"

namespace fiberprof::test {
namespace {

constexpr uint64_t kMs = 1'000'000;

// As the kernel itself counts.
struct SchedStat {
  uint64_t on_cpu_ns = 0, run_delay_ns = 0;
};

// What interrupts and the hypervisor took from all CPUs: the kernel leaves it out of its threads' times, a clock does
// not.
uint64_t stolen_ns() {
  std::ifstream file("/proc/stat");
  std::string name;
  uint64_t user = 0, nice = 0, system = 0, idle = 0, iowait = 0, irq = 0, softirq = 0, steal = 0;
  file >> name >> user >> nice >> system >> idle >> iowait >> irq >> softirq >> steal;
  return (irq + softirq + steal) * (1'000'000'000 / static_cast<uint64_t>(sysconf(_SC_CLK_TCK)));
}

class OnCpuTest : public SessionTest {
 protected:
  void start(const std::string& workers, SessionOptions options = {}) {
    target_ = start_target(workers);
    SessionOptions defaults = options_for(*target_);
    options.processes = defaults.processes;
    options.tier = defaults.tier;
    auto session = Session::start(options);
    ASSERT_TRUE(session) << session.error().message();
    EXPECT_THAT(session->warnings(), testing::IsEmpty());
    session_.emplace(std::move(*session));
    std::istringstream ids(target_->ask("pid"));
    uint32_t pid = 0;
    ids >> pid;
    for (uint32_t tid = 0; ids >> tid;) tids_.push_back(tid);
  }

  Snapshot snapshot() {
    auto taken = session_->snapshot();
    EXPECT_TRUE(taken);
    return *taken;
  }

  const WorkerTime& time_in(const Snapshot& snapshot) {
    return snapshot.worker_times.at(static_cast<uint32_t>(target_->pid()));
  }

  SchedStat sched_stat() {
    SchedStat sum;
    for (const uint32_t tid : tids_) {
      std::ifstream file("/proc/" + std::to_string(target_->pid()) + "/task/" + std::to_string(tid) + "/schedstat");
      SchedStat one;
      file >> one.on_cpu_ns >> one.run_delay_ns;
      sum.on_cpu_ns += one.on_cpu_ns;
      sum.run_delay_ns += one.run_delay_ns;
    }
    return sum;
  }

  bool has_frame(const Snapshot& from, StackId stack, const std::string& function) {
    const auto symbols = ProcessSymbols::open(static_cast<uint32_t>(target_->pid()));
    const auto frames = (*symbols)->stack(from.stacks.at(stack), false);
    return std::any_of(frames.begin(), frames.end(),
                       [&](const Frame& frame) { return frame.function.find(function) != std::string::npos; });
  }

  std::unique_ptr<Child> target_;
  std::optional<Session> session_;
  std::vector<uint32_t> tids_;
};

TEST_F(OnCpuTest, SamplesTellWhatAFiberRunsAndAddUpToTheExactTime) {
  start("1");
  ASSERT_EQ(target_->ask("spin 600"), "ok");
  const Snapshot after = snapshot();
  const WorkerTime& time = time_in(after);
  ASSERT_GT(time.samples, 10u);
  EXPECT_LE(time.fiber_samples, time.samples);
  uint64_t samples = 0, on_fiber = 0, spinning = 0, ns = 0;
  for (const OnCpuEntry& entry : after.on_cpu) {
    samples += entry.samples;
    ns += entry.ns;
    if (!entry.on_fiber) continue;
    EXPECT_NE(entry.fiber_entry, 0u);
    on_fiber += entry.samples;
    if (entry.user_stack && has_frame(after, entry.user_stack, "contract_spin")) {
      EXPECT_TRUE(has_frame(after, entry.user_stack, "contract_fiber_entry"));
      spinning += entry.samples;
    }
  }
  EXPECT_EQ(samples, time.samples);
  EXPECT_EQ(on_fiber, time.fiber_samples);
#ifdef __SANITIZE_ADDRESS__
  constexpr uint64_t kTenths = 8;  // what it puts before clock_gettime keeps no frame pointer
#else
  constexpr uint64_t kTenths = 9;
#endif
  EXPECT_GE(spinning * 10, time.samples * kTenths) << "also where libc or the vdso, which it calls, were sampled";
  EXPECT_NEAR(static_cast<double>(ns), static_cast<double>(time.on_cpu_ns), 1000.0);
  EXPECT_EQ(after.losses.total(), 0u);
}

TEST_F(OnCpuTest, TimeOnTheCpuIsWhatTheKernelCounts) {
  start("2");
  const uint64_t stolen = stolen_ns();
  const SchedStat before = sched_stat();
  const Snapshot first = snapshot();
  ASSERT_EQ(target_->ask("spin 300"), "ok");
  ASSERT_EQ(target_->ask("on 1 sleep 1 50"), "ok");
  ASSERT_THAT(target_->ask("storm 300"), testing::StartsWith("hits"));
  const SchedStat after = sched_stat();
  const Snapshot last = snapshot();
  const uint64_t theirs = after.on_cpu_ns - before.on_cpu_ns;
  const auto found = first.worker_times.find(static_cast<uint32_t>(target_->pid()));
  const uint64_t ours = time_in(last).on_cpu_ns - (found == first.worker_times.end() ? 0 : found->second.on_cpu_ns);
  EXPECT_NEAR(static_cast<double>(ours), static_cast<double>(theirs),
              0.03 * static_cast<double>(theirs) + static_cast<double>(stolen_ns() - stolen));
}

// A worker that has to wait for a CPU again and again, as there are more busy threads than CPUs: ours of that time, and
// the kernel's.
class WithoutACpuTest : public OnCpuTest, public testing::WithParamInterface<bool> {
 protected:
  struct Step {
    double theirs = 0, ours = 0, preempted = 0, stolen = 0;
  };

  Step step(const std::string& request) {
    // The kernel counts a wait for a CPU when it ends.
    until_asleep(target_->pid(), tids_.at(0));
    const uint64_t stolen = stolen_ns(), theirs = sched_stat().run_delay_ns;
    const Snapshot before = snapshot();
    EXPECT_EQ(target_->ask(request), "ok");
    until_asleep(target_->pid(), tids_.at(0));
    const uint64_t theirs_then = sched_stat().run_delay_ns;
    const Snapshot after = snapshot();
    return {static_cast<double>(theirs_then - theirs), static_cast<double>(runnable(after) - runnable(before)),
            static_cast<double>(preempted(after) - preempted(before)), static_cast<double>(stolen_ns() - stolen)};
  }

  uint64_t runnable(const Snapshot& of) {
    const auto time = of.worker_times.find(static_cast<uint32_t>(target_->pid()));
    return time == of.worker_times.end() ? 0 : time->second.runnable_ns;
  }

  static uint64_t preempted(const Snapshot& of) {
    uint64_t sum = 0;
    for (const OffCpuEntry& entry : of.off_cpu) sum += entry.cause == OffCpuCause::preempted ? entry.total_ns : 0;
    return sum;
  }
};

INSTANTIATE_TEST_SUITE_P(WakeUps, WithoutACpuTest, testing::Bool(),
                         [](const auto& test) { return std::string(test.param ? "Seen" : "Unseen"); });

TEST_P(WithoutACpuTest, TimeWithoutACpuIsWhatTheKernelCounts) {
  SessionOptions options;
  options.wake_ups = GetParam();
  start("1", options);
  std::vector<std::unique_ptr<Child>> others;
  for (long i = 0; i < sysconf(_SC_NPROCESSORS_ONLN); ++i) {
    others.push_back(start_target("1"));
    others.back()->send("spin 900");
  }
  const Step spin = step("spin 300"), sleep = step("sleep 1 100");
  EXPECT_GT(spin.preempted, 0.0);
  EXPECT_GT(spin.theirs + sleep.theirs, 20.0 * kMs);
  EXPECT_NEAR(spin.ours, spin.theirs, 0.05 * spin.theirs + 1.0 * kMs + spin.stolen);
  const double off = 0.05 * sleep.theirs + 1.0 * kMs + sleep.stolen;
  EXPECT_GE(sleep.ours, sleep.theirs - off);
  EXPECT_LE(sleep.ours, sleep.theirs + sleep.preempted + off + 1.0 * kMs)
      << "the kernel does not count a thread that is preempted when it is about to sleep, nor its own work at a "
         "wake-up";

  const Snapshot last = snapshot();
  const WorkerTime& time = time_in(last);
  EXPECT_LE(time.runnable_ns, time.off_cpu_ns);
  EXPECT_LE(time.max_runnable_ns, time.runnable_ns);
  uint64_t counted = 0;
  for (const uint64_t bucket : time.runnable) counted += bucket;
  EXPECT_GE(counted, 100u) << "each sleep ended with a wake-up";
  if (!GetParam()) {
    EXPECT_GE(last.losses.unseen, 100u);
  }
  for (const OffCpuEntry& entry : last.off_cpu) {
    EXPECT_LE(entry.runnable_ns, entry.total_ns);
    if (entry.cause == OffCpuCause::preempted) {
      EXPECT_EQ(entry.runnable_ns, entry.total_ns) << "whoever is preempted could run";
    }
  }
}

uint64_t switches_once_asleep(pid_t pid, uint32_t tid) {
  until_asleep(pid, tid);
  return switches_of(pid, tid);
}

// What bpftrace sums over a worker's life with some work in it.
struct Summed {
  uint64_t ran_ns = 0, slept_ns = 0;
  uint64_t first_ns = 0;  // when it was first on a CPU; what it slept before is in no sum
  bool complete = false;  // it saw every switch
};

// `begin`: called before it does anything.
Summed sum_with_bpftrace(Child& target, uint32_t tid_number, const std::function<void()>& begin) {
  const std::string tid = std::to_string(tid_number);
  Child bpftrace(
      {"bpftrace", "-e",
       "BEGIN { printf(\"ready\\n\"); }"
       // What is left of a thread that exits is no worker: it may still wait for a CPU, or for memory to be unmapped.
       "tracepoint:sched:sched_process_exit /args->pid == " +
           tid +
           "/ { if (@on) { @ran += nsecs - @on; } @gone = 1; }"
           "tracepoint:sched:sched_switch /@gone == 0 && args->prev_pid == " +
           tid +
           "/ {"
           "  if (@on) { @ran += nsecs - @on; } @off = nsecs; @outs++; }"
           "tracepoint:sched:sched_switch /@gone == 0 && args->next_pid == " +
           tid +
           "/ {"
           "  if (!@first) { @first = nsecs; } @on = nsecs; if (@off) { @slept += nsecs - @off; @ins++; } }"
           "END { printf(\"%lld %lld %lld %lld %lld %lld\\n\", @ran, @slept, @first, @outs, @ins, @gone); clear(@ran);"
           "clear(@slept); clear(@outs); clear(@ins); clear(@on); clear(@off); clear(@gone); clear(@first); }"});
  while (bpftrace.line() != "ready")
    if (waitpid(bpftrace.pid(), nullptr, WNOHANG) != 0) return {};
  const uint64_t before = switches_once_asleep(target.pid(), tid_number);
  begin();
  EXPECT_EQ(target.ask("sleep 3 40"), "ok");
  EXPECT_EQ(target.ask("spin 100"), "ok");
  EXPECT_EQ(target.ask("mutex 10 5"), "ok");
  const uint64_t switches = switches_once_asleep(target.pid(), tid_number) - before;
  // And with the thread both see their last time off the CPU end.
  target.kill(SIGKILL);
  target.wait();
  bpftrace.kill(SIGINT);
  Summed sum;
  uint64_t outs = 0, ins = 0, gone = 0;
  std::istringstream(bpftrace.rest()) >> sum.ran_ns >> sum.slept_ns >> sum.first_ns >> outs >> ins >> gone;
  bpftrace.wait();
  sum.complete = gone == 1 && outs >= switches && ins == outs;
  return sum;
}

TEST_F(OnCpuTest, TimeOffTheCpuIsWhatBpftraceSums) {
  if (run_command("command -v bpftrace").status != 0) GTEST_SKIP() << "bpftrace is not installed";
  struct stat space {};
  ASSERT_EQ(stat("/proc/self/ns/pid", &space), 0);
  if (space.st_ino != 0xeffffffcu) GTEST_SKIP() << "tracepoints have thread ids of the initial pid namespace";
  // The kernel leaves out a program of bpftrace's that would run while another of its kind is at work on that CPU, be
  // it preempted: where bpftrace missed a switch, as the kernel's count tells, it is no witness. Ours are of a kind
  // that is not left out: whatever it is that bpftrace saw, ours must agree.
  Summed theirs;
  Snapshot first;
  for (int i = 0; i < 20 && !theirs.complete; ++i) {
    session_.reset();
    tids_.clear();
    ASSERT_NO_FATAL_FAILURE(start("1"));
    theirs = sum_with_bpftrace(*target_, tids_.at(0), [&] { first = snapshot(); });
  }
  ASSERT_TRUE(theirs.complete) << "in none of 20 runs";
  const Snapshot last = snapshot();
  const WorkerTime& time = last.worker_times.begin()->second;
  ASSERT_EQ(last.worker_times.size(), 1u);
  ASSERT_EQ(first.worker_times.size(), 1u);
  const WorkerTime& before = first.worker_times.begin()->second;
  ASSERT_GT(theirs.first_ns, first.time_ns);
  const auto slept = static_cast<double>(theirs.slept_ns + theirs.first_ns - first.time_ns);
  const auto ran = static_cast<double>(theirs.ran_ns);
  EXPECT_NEAR(static_cast<double>(time.off_cpu_ns - before.off_cpu_ns), slept, 0.01 * slept);
  // Between our program and theirs lies what ours does at a switch: part of what ran for one, not for the other.
  EXPECT_NEAR(static_cast<double>(time.on_cpu_ns - before.on_cpu_ns), ran, 0.01 * (ran + slept));
  uint64_t entries = 0;
  for (const OffCpuEntry& entry : last.off_cpu) entries += entry.total_ns;
  EXPECT_EQ(entries, time.off_cpu_ns) << "every one is in an entry";
}

TEST_F(OnCpuTest, AFullMapKeepsCountingSamples) {
  SessionOptions options;
  options.max_on_cpu = 1;
  start("1", options);
  ASSERT_EQ(target_->ask("spin 300"), "ok");
  const Snapshot after = snapshot();
  uint64_t recorded = 0;
  for (const OnCpuEntry& entry : after.on_cpu) recorded += entry.samples;
  EXPECT_LE(after.on_cpu.size(), 1u);
  EXPECT_EQ(recorded + after.losses.oncpu_map_full, time_in(after).samples);
  EXPECT_GT(time_in(after).fiber_samples, 5u);
}

}  // namespace
}  // namespace fiberprof::test
