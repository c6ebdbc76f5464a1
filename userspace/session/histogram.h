// SPDX-License-Identifier: BSD-2-Clause
// Histograms of durations: all buckets, and the same kept small where there are thousands of them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace fiberprof {

inline constexpr int kHistogramBuckets = 44;  // bucket i counts durations in [2^i, 2^(i+1)) ns; the last is open

using Histogram = std::array<uint64_t, kHistogramBuckets>;

// Never changes; copies are cheap. Keeps only the buckets from the first to the last that have counted anything: waits
// at one place tend to be alike, and three buckets are enough for most.
class DurationHistogram {
 public:
  DurationHistogram() = default;
  DurationHistogram(const Histogram& buckets) : DurationHistogram(buckets.data()) {}
  // From `kHistogramBuckets` counters.
  template <class Count>
  explicit DurationHistogram(const Count* buckets) {
    size_t end = kHistogramBuckets, first = 0;
    while (end != 0 && buckets[end - 1] == 0) --end;
    while (first != end && buckets[first] == 0) ++first;
    first_ = static_cast<uint8_t>(first);
    size_ = static_cast<uint8_t>(end - first);
    uint64_t* to = few_.data();
    if (size_ > few_.size()) {
      const auto many = std::make_shared<uint64_t[]>(size_);
      to = many.get();
      many_ = many;
    }
    for (size_t i = 0; i < size_; ++i) to[i] = buckets[first + i];
  }

  uint64_t operator[](size_t bucket) const {
    const size_t at = bucket - first_;  // below the first: huge
    return at < size_ ? data()[at] : 0;
  }
  uint64_t sum() const {
    uint64_t total = 0;
    for (size_t i = 0; i < size_; ++i) total += data()[i];
    return total;
  }
  // One past the last bucket that has counted anything.
  size_t end() const { return size_t{first_} + size_; }

 private:
  const uint64_t* data() const { return many_ ? many_.get() : few_.data(); }

  uint8_t first_ = 0, size_ = 0;
  std::array<uint64_t, 3> few_{};
  std::shared_ptr<const uint64_t[]> many_;  // instead of them; null: they are enough
};

}  // namespace fiberprof
