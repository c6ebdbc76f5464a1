// SPDX-License-Identifier: BSD-2-Clause
// Of which memory a proof can be made.
#include "deadlock/image.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace fiberprof {
namespace {

using testing::HasSubstr;

Mapping mapping(uint64_t start, bool readable, bool writable) {
  Mapping one;
  one.start = start;
  one.end = start + kPage;
  one.readable = readable;
  one.writable = writable;
  return one;
}

TEST(Provable, IsMemoryWhoseAddressesFitIntoWordsWithATag) {
  const uint64_t last = kAddressBits + 1 - kPage;
  EXPECT_TRUE(provable(mapping(last, true, true)));
  const auto above = provable(mapping(kAddressBits + 1, true, true));
  ASSERT_FALSE(above) << "a word that leads there would be taken for one that leads elsewhere";
  EXPECT_THAT(above.error().message(), HasSubstr("addresses of more than 4"));
  EXPECT_TRUE(provable(mapping(0xffffffffff600000, false, false))) << "the kernel's own page";
  EXPECT_TRUE(provable(mapping(kAddressBits + 1, true, false))) << "no pointers to what never changes are followed";
}

TEST(Provable, IsNoMemoryThatCannotBeRead) { EXPECT_FALSE(provable(mapping(kPage, false, true))); }

}  // namespace
}  // namespace fiberprof
