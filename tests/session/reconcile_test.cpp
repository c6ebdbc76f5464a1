// SPDX-License-Identifier: BSD-2-Clause
// What a recording has seen, lost and left open is what the program itself has counted.
#include <fiberprof/registry.h>

#include <functional>
#include <thread>

#include "fixture.h"
#include "process/registry_view.h"
#include "process/target.h"
#include "profile/reconciliation.h"
#include "session/recorder.h"

namespace fiberprof::test {
namespace {

class ReconcileTest : public SessionTest {
 protected:
  void SetUp() override {
    SessionTest::SetUp();
    program_ = std::make_unique<Child>(std::vector<std::string>{FIBERPROF_TARGET_DIR "/tests/programs/rounds"});
    ASSERT_EQ(program_->line(), "ready");
    settle();
  }

  // Until every processor is idle: "done" was said by a fiber that still ran.
  void settle() const {
    const FiberProcess process = find(*program_);
    const auto view = RegistryView::open(process.pid, process.registry_address);
    ASSERT_TRUE(view);
    for (bool idle = false; !idle;) {
      const auto summary = (*view)->summary();
      ASSERT_TRUE(summary);
      idle = true;
      for (const ProcessorInfo& each : summary->processors) idle = idle && each.state == FIBERPROF_PROCESSOR_IDLE;
      std::this_thread::yield();
    }
  }

  Profile record(const std::string& rounds, const std::function<void(SessionOptions&)>& configure) {
    RecordOptions options;
    options.session.processes = {find(*program_)};
    options.session.off_cpu = false;
    configure(options.session);
    auto recorder = Recorder::start(std::move(options));
    EXPECT_TRUE(recorder) << recorder.error().message();
    if (!recorder) return {};
    EXPECT_EQ(program_->ask(rounds), "done");
    settle();
    auto profile = recorder->finish();
    EXPECT_TRUE(profile) << profile.error().message();
    return profile ? *profile : Profile{};
  }

  Reconciliation reconciled(const Profile& profile) {
    const auto sums = reconciliation_of(profile.counters);
    EXPECT_TRUE(sums);
    std::printf("%s\n", sums ? to_text(*sums).c_str() : "nothing");
    return sums.value_or(Reconciliation{});
  }

  std::unique_ptr<Child> program_;
};

TEST_F(ReconcileTest, ExactIsExactWhenTheEdgesAreQuiet) {
  for (int i = 0; i < 3; ++i) {
    const auto sums = reconciled(record("2000", [](SessionOptions& options) { options.tier = Tier::exact; }));
    EXPECT_EQ(sums.uncertain, 0u);
    EXPECT_EQ(sums.difference(), 0);
    EXPECT_EQ(sums.open, 1u) << "the fiber that waits for orders; the three others have been waiting before";
    EXPECT_GT(sums.seen, 5'000u);
    EXPECT_EQ(sums.std_error, 0);
  }
}

TEST_F(ReconcileTest, WhatAFullMapLosesIsCounted) {
  const Profile profile = record("500", [](SessionOptions& options) {
    options.tier = Tier::exact;
    options.max_blocked = 1;
  });
  const auto sums = reconciled(profile);
  EXPECT_GT(sums.lost, 500u);
  EXPECT_EQ(sums.lost, profile.losses.at("blocked map full"));
  EXPECT_EQ(sums.difference(), 0);
}

TEST_F(ReconcileTest, WhatIsTooShortIsCounted) {
  const auto sums = reconciled(record("500", [](SessionOptions& options) {
    options.tier = Tier::exact;
    options.min_wait_ns = 20'000;
  }));
  EXPECT_GT(sums.filtered, 0u);
  EXPECT_EQ(sums.difference(), 0);
}

TEST_F(ReconcileTest, OfOneReasonOnlyThatIsCompared) {
  const auto sums = reconciled(record("500", [](SessionOptions& options) {
    options.tier = Tier::exact;
    options.reasons = 1u << FIBERPROF_REASON_SLEEP;
  }));
  EXPECT_LE(sums.program, 500u) << "a sleep that is over before it begins is no wait";
  EXPECT_GT(sums.program, 400u);
  EXPECT_EQ(sums.seen, sums.program);
}

TEST_F(ReconcileTest, SampledIsWithinItsStandardError) {
  const auto sums = reconciled(record("200000", [](SessionOptions&) {}));
  EXPECT_TRUE(sums.holds());
  EXPECT_GT(sums.std_error, 0) << "400,000 waits in less than a second are more than the budget";
  EXPECT_LT(sums.std_error, 0.2 * static_cast<double>(sums.program));
}

TEST(Reconciliation, SaysWhenItDoesNotAddUp) {
  Reconciliation sums{.seen = 90, .lost = 3, .open = 2, .program = 100, .uncertain = 5};
  EXPECT_TRUE(sums.holds());
  EXPECT_EQ(sums.difference(), -5);
  sums.uncertain = 4;
  EXPECT_FALSE(sums.holds());
  EXPECT_NE(to_text(sums).find("THEY DO NOT ADD UP"), std::string::npos);
  sums.std_error = 0.3;
  EXPECT_TRUE(sums.holds()) << "four standard errors and the edges";
  EXPECT_EQ(to_text({.seen = 12'345, .open = 17, .program = 12'362}),
            "waits: " + std::string("12,345") + " seen + 0 lost + 17 open = " + std::string("12,362") +
                " of the program's " + std::string("12,362"));
}

}  // namespace
}  // namespace fiberprof::test
