// SPDX-License-Identifier: BSD-2-Clause
#include "session/nop_form.h"

#include "fixture.h"

namespace fiberprof::test {
namespace {

TEST_F(SessionTest, NopFormsAreMeasuredOnThisKernel) {
  const auto costs = measure_nop_forms();
  ASSERT_TRUE(costs) << costs.error().message();
  EXPECT_GT(costs->hit_ns[0], 0) << "every kernel can attach to a 1-byte nop";
  EXPECT_LT(costs->unattached_ns, costs->hit_ns[0]);
  EXPECT_GT(costs->hit_ns[static_cast<size_t>(costs->best)], 0) << "the chosen form must be one that attaches";
  EXPECT_LE(costs->hit_ns[static_cast<size_t>(costs->best)], costs->hit_ns[0]);
  EXPECT_FALSE(costs->harms_forks[static_cast<size_t>(costs->best)]);
  std::printf("ns per hit: nop1 %.0f, nop10 %.0f, nop5 %.0f, unattached %.1f: %s\n", costs->hit_ns[0], costs->hit_ns[1],
              costs->hit_ns[2], costs->unattached_ns, std::string(nop_form_name(costs->best)).c_str());
}

// Whatever form is chosen: on 6.18 a child would inherit the call that the kernel has made of a 5-byte nop, but not the
// page it goes to.
TEST_F(SessionTest, AChildForkedAfterTheFirstHitLives) {
  const auto target = start_target();
  auto session = Session::start(options_for(*target));
  ASSERT_TRUE(session) << session.error().message();
  ASSERT_EQ(target->ask("blocked 1000 2 3000 100 5"), "fired 1000");
  // It is not watched: at its first hit the kernel takes the probe out of it.
  EXPECT_THAT(target->ask("fork 3"), testing::StartsWith("fired "));
}

}  // namespace
}  // namespace fiberprof::test
