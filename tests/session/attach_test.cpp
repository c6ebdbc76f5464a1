// SPDX-License-Identifier: BSD-2-Clause
// Attaching and detaching, also the hard way, leaves the target as it was: semaphores at zero, code as compiled.
#include <fcntl.h>
#include <signal.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <sstream>

#include "fixture.h"

namespace fiberprof::test {
namespace {

// How often. The default keeps the whole test run short; FIBERPROF_ATTACH_ROUNDS=200 is the acceptance run.
int rounds(int otherwise) {
  const char* value = std::getenv("FIBERPROF_ATTACH_ROUNDS");
  return value ? std::atoi(value) : otherwise;
}

class AttachTest : public SessionTest {
 protected:
  void SetUp() override {
    SessionTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    target_ = start_target();
    std::istringstream reply(target_->ask("addresses"));
    size_t count = 0;
    reply >> semaphores_at_ >> count;
    ASSERT_GT(count, 0u);
    semaphores_.resize(count);
    for (uint64_t site; reply >> site;) sites_.push_back(site);
    ASSERT_EQ(sites_.size(), 3u);
    code_before_ = code();
  }

  // From /proc/PID/mem, so that it works whatever the target is doing.
  void read(uint64_t address, void* into, size_t size) const {
    const UniqueFd memory(open(("/proc/" + std::to_string(target_->pid()) + "/mem").c_str(), O_RDONLY | O_CLOEXEC));
    ASSERT_EQ(pread(memory.get(), into, size, static_cast<off_t>(address)), static_cast<ssize_t>(size));
  }
  std::vector<uint16_t> semaphores() {
    read(semaphores_at_, semaphores_.data(), semaphores_.size() * 2);
    return semaphores_;
  }
  // The code of the sites. The last five bytes of the 10-byte nop are its operand, which a nop never reads: a kernel
  // that turned it into a call leaves the call there when it makes it a nop again, for the sake of threads that are
  // just between the two halves (seen on 7.2). Here they count as zero.
  std::string code() const {
    static constexpr std::string_view nop10 = "\x66\x2e\x0f\x1f\x84";
    std::string all;
    for (const uint64_t site : sites_) {
      char bytes[64];
      read(site, bytes, sizeof bytes);
      all.append(bytes, sizeof bytes);
    }
    for (size_t at = all.find(nop10); at != all.npos; at = all.find(nop10, at + 10))
      for (size_t i = at + 5; i < at + 10 && i < all.size(); ++i) all[i] = 0;
    return all;
  }
  void expect_untouched() {
    EXPECT_THAT(semaphores(), testing::Each(0));
    EXPECT_EQ(code(), code_before_);
  }

  std::unique_ptr<Child> target_;
  uint64_t semaphores_at_ = 0;
  std::vector<uint16_t> semaphores_;
  std::vector<uint64_t> sites_;
  std::string code_before_;
};

TEST_F(AttachTest, DetachRestoresSemaphoresAndCode) {
  {
    auto session = Session::start(options_for(*target_));
    ASSERT_TRUE(session) << session.error().message();
    EXPECT_EQ(semaphores()[2], 1) << "blocked";
    EXPECT_EQ(semaphores()[3], 0) << "blocked_sampled";
    EXPECT_NE(code(), code_before_);
    ASSERT_EQ(target_->ask("blocked 100 2 10 1 1"), "fired 100");  // so that the kernel optimises the site
    session->detach();
    expect_untouched();
    const auto snapshot = session->snapshot();
    ASSERT_TRUE(snapshot) << "what was counted stays readable";
    ASSERT_EQ(snapshot->blocked.size(), 1u);
    EXPECT_EQ(snapshot->blocked[0].count, 100u);
  }
  EXPECT_EQ(target_->ask("blocked 100 2 10 1 1"), "fired 0");
}

TEST_F(AttachTest, EveryNopFormCountsTheSame) {
  for (const NopForm form : {NopForm::nop1, NopForm::nop5, NopForm::nop10}) {
    auto options = options_for(*target_);
    options.nop_form = form;
    auto session = Session::start(options);
    if (!session && form == NopForm::nop10) continue;  // kernels before about 7.3 refuse it
    ASSERT_TRUE(session) << session.error().message();
    ASSERT_EQ(target_->ask("blocked 1000 2 10 1 3"), "fired 1000");
    const auto snapshot = session->snapshot();
    ASSERT_TRUE(snapshot);
    ASSERT_EQ(snapshot->blocked.size(), 1u) << nop_form_name(form);
    EXPECT_EQ(snapshot->blocked[0].count, 1000u) << nop_form_name(form);
    session->detach();
    expect_untouched();
  }
}

TEST_F(AttachTest, UnderLoadAgainAndAgain) {
  target_->send("storm 3600000");
  for (int i = 0; i < rounds(10); ++i) {
    auto session = Session::start(options_for(*target_, i % 2 ? Tier::exact : Tier::sampled));
    ASSERT_TRUE(session) << session.error().message();
    for (uint64_t seen = 0; !seen;) {
      const auto snapshot = session->snapshot();
      ASSERT_TRUE(snapshot);
      for (const auto& entry : snapshot->blocked) seen += entry.events;
    }
    EXPECT_EQ(session->alive(), 1u);
    session->detach();
    expect_untouched();
    ASSERT_FALSE(HasFailure()) << "round " << i;
  }
}

TEST_F(AttachTest, KilledInTheMiddleUnderLoadAgainAndAgain) {
  const std::string fiberprof = FIBERPROF_BUILD_DIR "/bin/fiberprof";
  target_->send("storm 3600000");
  for (int i = 0; i < rounds(5); ++i) {
    Child tool({fiberprof, "record", std::to_string(target_->pid()), "-q", "-o", "/dev/null"});
    const size_t wanted = i % 4;  // at different points of the attach: the probes go on one after the other
    const auto attached = [&] {
      const auto now = semaphores();
      return static_cast<size_t>(std::count_if(now.begin(), now.end(), [](uint16_t s) { return s != 0; }));
    };
    while (attached() <= wanted) ASSERT_EQ(kill(tool.pid(), 0), 0);
    tool.kill(SIGKILL);
    EXPECT_TRUE(WIFSIGNALED(tool.wait()));
    expect_untouched();
    ASSERT_FALSE(HasFailure()) << "round " << i;
  }
}

// Another tool, another implementation, the same probe.
TEST_F(AttachTest, BpftraceCountsTheSame) {
  // Not where bpftrace attaches: of two at one instruction, the kernel counts one in the semaphore.
  SessionOptions options = options_for(*target_);
  options.nop_form = NopForm::nop5;
  auto session = Session::start(options);
  ASSERT_TRUE(session) << session.error().message();
  Child bpftrace({"bpftrace", "-p", std::to_string(target_->pid()), "-e",
                  "usdt:" + kTarget + ":fiber:blocked { @waits = count(); @parked = sum(arg3); @last = arg1; }"});
  while (semaphores()[2] != 2) ASSERT_EQ(waitpid(bpftrace.pid(), nullptr, WNOHANG), 0) << bpftrace.rest();
  ASSERT_EQ(target_->ask("blocked 4321 9 70 1 3"), "fired 4321");
  bpftrace.kill(SIGINT);
  const std::string report = bpftrace.rest();
  bpftrace.wait();
  EXPECT_THAT(report, testing::HasSubstr("@waits: 4321\n"));
  EXPECT_THAT(report, testing::HasSubstr("@parked: " + std::to_string(4321 * 70) + "\n"));
  EXPECT_THAT(report, testing::HasSubstr("@last: 9\n"));
  const auto snapshot = session->snapshot();
  ASSERT_TRUE(snapshot);
  ASSERT_EQ(snapshot->blocked.size(), 1u);
  EXPECT_EQ(snapshot->blocked[0].count, 4321u);
  EXPECT_EQ(snapshot->blocked[0].parked_ns, 4321u * 70);
}

}  // namespace
}  // namespace fiberprof::test
