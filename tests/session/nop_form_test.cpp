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
  std::printf("ns per hit: nop1 %.0f, nop10 %.0f, nop5 %.0f, unattached %.1f: %s\n", costs->hit_ns[0], costs->hit_ns[1],
              costs->hit_ns[2], costs->unattached_ns, std::string(nop_form_name(costs->best)).c_str());
}

}  // namespace
}  // namespace fiberprof::test
