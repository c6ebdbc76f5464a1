// SPDX-License-Identifier: BSD-2-Clause
#include "deadlock/used_pages.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace fiberprof {
namespace {

// PAGEMAP_SCAN of <linux/fs.h>, which is newer than the headers this may be built with.
struct ScanRegion {
  uint64_t start, end, categories;
};
struct ScanArguments {
  uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
  uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
constexpr unsigned long kPagemapScan = _IOWR('f', 16, ScanArguments);
constexpr uint64_t kIsPresent = 1 << 3, kIsSwapped = 1 << 4, kIsGuard = 1 << 8;

}  // namespace

Result<void> UsedPages::open(uint32_t pid) {
  const std::string path = "/proc/" + std::to_string(pid) + "/pagemap";
  pagemap_ = UniqueFd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (pagemap_.get() < 0) return fail("cannot copy the memory of " + label_, path + ": " + std::strerror(errno));
  return {};
}

Result<void> UsedPages::in(Range range, const std::function<void(Range)>& found) {
  return scan_ ? by_scan(range, found) : by_entries(range, found);
}

Result<void> UsedPages::by_scan(Range range, const std::function<void(Range)>& found) {
  std::array<ScanRegion, 512> regions;
  for (uint64_t at = range.start; at < range.end;) {
    ScanArguments arguments{};
    arguments.size = sizeof arguments;
    arguments.start = at;
    arguments.end = range.end;
    arguments.vec = reinterpret_cast<uint64_t>(regions.data());
    arguments.vec_len = regions.size();
    arguments.category_anyof_mask = kIsPresent | kIsSwapped;
    arguments.return_mask = kIsPresent;  // one bit that says little, so that neighbours are told as one
    if (knows_guards_) arguments.category_mask = arguments.category_inverted = kIsGuard;
    const int count = ioctl(pagemap_.get(), kPagemapScan, &arguments);
    if (count < 0) {
      if (errno == EINTR) continue;
      // Guards are known since 6.15; a page that is one cannot be read, which whoever copies it finds out.
      if (errno == EINVAL && knows_guards_) {
        knows_guards_ = false;
        continue;
      }
      scan_ = false;
      return by_entries({at, range.end}, found);
    }
    for (int i = 0; i < count; ++i) found({regions[i].start, regions[i].end});
    if (arguments.walk_end <= at) return fail("cannot copy the memory of " + label_, "its page map has no end");
    at = arguments.walk_end;
  }
  return {};
}

Result<void> UsedPages::by_entries(Range range, const std::function<void(Range)>& found) {
  if (range.end - range.start > kMaxByEntries)
    return fail("cannot copy the memory of " + label_,
                "one of its mappings has " + std::to_string((range.end - range.start) >> 30) +
                    " GiB of addresses, and this kernel cannot say quickly what of them is in use",
                "use Linux 6.7 or later, or a core file");
  entries_.resize(65'536);
  for (uint64_t at = range.start; at < range.end;) {
    const size_t count = std::min<size_t>(entries_.size(), (range.end - at) / kPage);
    const ssize_t got = pread(pagemap_.get(), entries_.data(), count * 8, static_cast<off_t>(at / kPage * 8));
    if (got <= 0) return fail("cannot copy the memory of " + label_, "its page map cannot be read");
    const size_t pages = static_cast<size_t>(got) / 8;
    for (size_t i = 0; i < pages; ++i) {
      constexpr uint64_t kPresent = uint64_t{1} << 63, kSwapped = uint64_t{1} << 62, kGuard = uint64_t{1} << 58;
      if ((entries_[i] & (kPresent | kSwapped)) == 0 || (entries_[i] & kGuard) != 0) continue;
      found({at + i * kPage, at + (i + 1) * kPage});
    }
    at += pages * kPage;
  }
  return {};
}

}  // namespace fiberprof
