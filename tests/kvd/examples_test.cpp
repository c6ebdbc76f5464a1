// SPDX-License-Identifier: BSD-2-Clause
// The small examples run to their end and say what they should.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kvd/kvd_process.h"

namespace {

using testing::ContainsRegex;
using testing::HasSubstr;

std::string output_of(const std::string& example, const std::string& seconds) {
  const Finished finished = run_program({FIBERPROF_BUILD_DIR "/bin/" + example, seconds});
  EXPECT_EQ(finished.status, 0) << finished.err;
  return finished.out;
}

// On several processors: this one exchanges millions of values between two fibers that may run at the same time.
TEST(Examples, PingPong) { EXPECT_THAT(output_of("ping-pong", "2"), ContainsRegex("^[1-9][0-9]* round trips, ")); }

TEST(Examples, Pipeline) {
  EXPECT_THAT(output_of("pipeline", "1"), ContainsRegex("^[1-9][0-9]* squares, their sum is "));
}

TEST(Examples, SelectDeadline) {
  EXPECT_THAT(output_of("select-deadline", "1"),
              ContainsRegex("^replica 1: [1-9].*, replica 2: [1-9].*, too late: [1-9]"));
}

// The third fiber goes on although the other two never will, and nobody calls that "all asleep".
TEST(Examples, Deadlock) { EXPECT_THAT(output_of("deadlock", "2"), HasSubstr("tick 2: all seems well")); }

}  // namespace
