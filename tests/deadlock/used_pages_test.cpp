// SPDX-License-Identifier: BSD-2-Clause
#include "deadlock/used_pages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

namespace fiberprof::test {
namespace {

using testing::ElementsAre;

constexpr uint64_t kGiB = uint64_t{1} << 30;

// Addresses of this process, of which single pages are used.
class UsedPagesTest : public ::testing::Test {
 protected:
  void reserve(uint64_t size) {
    void* at = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    ASSERT_NE(at, MAP_FAILED);
    // huge pages would be more than what was touched
    ASSERT_EQ(madvise(at, size, MADV_NOHUGEPAGE), 0);
    range_ = {reinterpret_cast<uint64_t>(at), reinterpret_cast<uint64_t>(at) + size};
  }
  void TearDown() override { munmap(reinterpret_cast<void*>(range_.start), range_.end - range_.start); }
  void touch(uint64_t offset) { *reinterpret_cast<volatile char*>(range_.start + offset) = 1; }

  // Offset and length of what is found, neighbours joined.
  std::vector<std::pair<uint64_t, uint64_t>> found(UsedPages pages) {
    const auto opened = pages.open(static_cast<uint32_t>(getpid()));
    EXPECT_TRUE(opened);
    std::vector<Range> all;
    const auto done = pages.in(range_, [&](Range range) { all.push_back(range); });
    EXPECT_TRUE(done) << done.error().message();
    std::vector<std::pair<uint64_t, uint64_t>> parts;
    for (const Range& range : merged(all)) parts.emplace_back(range.start - range_.start, range.end - range.start);
    return parts;
  }
  static UsedPages by_entries() {
    UsedPages pages("this process");
    pages.without_scan();
    return pages;
  }

  Range range_;
};

TEST_F(UsedPagesTest, WhatIsUsedIsFoundEitherWay) {
  reserve(kGiB);
  for (const uint64_t page : {0, 7, 8, 9, 100'000, 262'143}) touch(page * kPage);
  // more pieces than one call brings
  std::vector<std::pair<uint64_t, uint64_t>> expected{{0, kPage}, {7 * kPage, 3 * kPage}};
  for (uint64_t page = 1000; page < 5000; page += 2) {
    touch(page * kPage);
    expected.emplace_back(page * kPage, kPage);
  }
  expected.emplace_back(100'000 * kPage, kPage);
  expected.emplace_back(262'143 * kPage, kPage);
  EXPECT_EQ(found(UsedPages("this process")), expected);
  EXPECT_EQ(found(by_entries()), expected);
}

TEST_F(UsedPagesTest, GuardsAreNotThere) {
  constexpr int kGuardInstall = 102;  // MADV_GUARD_INSTALL, since Linux 6.13
  reserve(kGiB);
  for (const uint64_t page : {3, 4, 5}) touch(page * kPage);
  if (madvise(reinterpret_cast<void*>(range_.start + 4 * kPage), kPage, kGuardInstall) != 0)
    GTEST_SKIP() << "this kernel has no guards of single pages";
  EXPECT_THAT(found(UsedPages("this process")), ElementsAre(std::pair(3 * kPage, kPage), std::pair(5 * kPage, kPage)));
  EXPECT_THAT(found(by_entries()), ElementsAre(std::pair(3 * kPage, kPage), std::pair(5 * kPage, kPage)));
}

// AddressSanitizer reserves sixteen times that for its shadow: through four thousand million entries it would take
// minutes, during which a process that is being proved something about would stand still.
TEST_F(UsedPagesTest, ATerabyteOfAddressesIsGoneThroughOrRefused) {
  reserve(1'000 * kGiB);
  touch(0);
  touch(900 * kGiB);
  const auto parts = found(UsedPages("this process"));
  UsedPages old = by_entries();
  ASSERT_TRUE(old.open(static_cast<uint32_t>(getpid())));
  const auto refused = old.in(range_, [](Range) {});
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message(), testing::HasSubstr("1000 GiB of addresses"));
  EXPECT_THAT(parts, ElementsAre(std::pair(uint64_t{0}, kPage), std::pair(900 * kGiB, kPage)));
}

TEST_F(UsedPagesTest, AProcessThatIsGoneIsAnError) {
  UsedPages pages("process 0");
  const auto opened = pages.open(0x7fffffff);
  ASSERT_FALSE(opened);
  EXPECT_THAT(opened.error().message(), testing::HasSubstr("cannot copy the memory of process 0"));
}

}  // namespace
}  // namespace fiberprof::test
