// SPDX-License-Identifier: BSD-2-Clause
// How looks at a fiber that polls are counted, over looks made by hand.
#include "deadlock/polling.h"

#include <gtest/gtest.h>

namespace fiberprof {
namespace {

// Addresses by what is there.
constexpr uint64_t kLoop = 0x100, kMain = 0x101, kWork = 0x102, kDefaultArm = 0x103, kOtherCall = 0x104;  // program
constexpr uint64_t kPoll = 0x200, kLock = 0x201, kTemplate = 0x202;                                       // library
constexpr uint64_t kSend = 0x300, kYield = 0x400;

CodeKind kind_of(uint64_t address) {
  switch (address >> 8) {
    case 2:
      return CodeKind::library;
    case 3:
      return CodeKind::moves;
    case 4:
      return CodeKind::yields;
    default:
      return CodeKind::program;
  }
}

Polling count(const std::vector<PollLook>& looks, const std::set<uint64_t>& places) {
  Polling polling;
  count_looks(looks, places, kind_of, polling);
  return polling;
}

TEST(PollLooks, InThePollOrInWhatItCalls) {
  const Polling polling = count({{{kPoll, kLoop, kMain}, {}}, {{kLock, kPoll, kLoop, kMain}, {}}}, {kLoop});
  EXPECT_EQ(polling.inside, 2u);
  EXPECT_EQ(polling.outside, 0u);
  EXPECT_EQ(polling.frames, (std::vector<uint64_t>{kLoop, kMain}));
}

TEST(PollLooks, InWhatThePollIsMadeOfAsTemplates) {
  const Polling polling = count({{{kPoll, kTemplate, kLoop, kMain}, {}}, {{kLock, kLoop, kMain}, {}}}, {kTemplate});
  EXPECT_EQ(polling.inside, 2u);
  EXPECT_EQ(polling.frames, (std::vector<uint64_t>{kTemplate, kLoop, kMain}));
}

TEST(PollLooks, AFunctionThatHasJustBegunHasNoFrameYet) {
  const Polling polling = count({{{kPoll, kMain}, {kLoop, 0}}}, {kLoop});
  EXPECT_EQ(polling.inside, 1u);
}

TEST(PollLooks, TheProgramsOwnCodeIsOutside) {
  const Polling polling = count({{{kPoll, kLoop, kMain}, {}},                          // the one that tells the place
                                 {{kLoop, kMain}, {kLoop, 0}},                         // the loop itself
                                 {{kWork, kLoop, kMain}, {}},                          // called by it
                                 {{kDefaultArm, kTemplate, kLoop, kMain}, {}},         // called by the poll
                                 {{kLock, kDefaultArm, kTemplate, kLoop, kMain}, {}},  // and the library by that
                                 {{kTemplate, kOtherCall, kMain}, {}}},                // or at another place
                                {kLoop});
  EXPECT_EQ(polling.inside, 1u);
  EXPECT_EQ(polling.outside, 5u);
  EXPECT_FALSE(polling.moved);
}

TEST(PollLooks, SeveralPlaces) {
  const std::vector<PollLook> looks = {{{kPoll, kLoop, kMain}, {}}, {{kPoll, kOtherCall, kMain}, {}}};
  EXPECT_EQ(count(looks, {kLoop, kOtherCall}).inside, 2u);
  EXPECT_EQ(count(looks, {kLoop}).inside, 1u);
}

TEST(PollLooks, AYieldCountsNeitherWay) {
  const Polling polling = count({{{kLock, kYield, kOtherCall, kMain}, {}},
                                 {{kLock, kOtherCall, kMain}, {}}},  // the yield itself has no frame yet
                                {kLoop});
  EXPECT_EQ(polling.outside, 0u);
  EXPECT_EQ(polling.inside, 0u);
}

TEST(PollLooks, WhoMovesAValueIsFoundOut) {
  EXPECT_TRUE(count({{{kLock, kSend, kOtherCall, kMain}, {}}}, {kLoop}).moved);
  EXPECT_FALSE(count({{{kWork, kSend, kOtherCall}, {}}}, {kLoop}).moved) << "a constructor of the program's";
}

TEST(PollLooks, WithoutSymbolsNothingIsSaid) {
  for (const CodeKind kind : {CodeKind::program, CodeKind::library}) {
    Polling polling;
    count_looks(
        {{{kPoll, kLoop, kMain}, {}}}, {kLoop}, [&](uint64_t) { return kind; }, polling);
    EXPECT_EQ(polling.inside, 0u);
  }
}

}  // namespace
}  // namespace fiberprof
