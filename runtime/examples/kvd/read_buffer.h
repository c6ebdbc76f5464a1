// SPDX-License-Identifier: BSD-2-Clause
// Bytes received and not yet used.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>

namespace kvd {

// Grows only with what has really arrived: at most to twice that, whatever the sender announced.
class ReadBuffer {
 public:
  static constexpr std::size_t kInitial = 16u << 10;

  std::string_view bytes() const { return {memory_.get() + start_, end_ - start_}; }
  bool empty() const { return start_ == end_; }

  // Room for the next read, never empty. `wanted`: how long bytes() must get before anybody can use it.
  std::span<char> prepare(std::size_t wanted) {
    const std::size_t held = end_ - start_;
    if (held == 0) {
      start_ = end_ = 0;
      // What one large request needed is given back.
      if (capacity_ > 4 * kInitial) capacity_ = 0;
    }
    const bool too_small = capacity_ < std::max(wanted, held + 1);
    if (too_small) {
      move_to(capacity_ == 0 ? kInitial : std::max(std::min(wanted, 2 * held), held + kInitial));
    } else if (start_ > 0 && (capacity_ - end_ < kInitial / 4 || start_ + wanted > capacity_)) {
      std::memmove(memory_.get(), memory_.get() + start_, held);
      start_ = 0;
      end_ = held;
    }
    return {memory_.get() + end_, capacity_ - end_};
  }
  // That many bytes of the room were filled.
  void commit(std::size_t size) { end_ += size; }
  // That many bytes from the front are done with.
  void consume(std::size_t size) { start_ += size; }

 private:
  void move_to(std::size_t capacity) {
    auto larger = std::make_unique_for_overwrite<char[]>(capacity);
    const std::size_t held = end_ - start_;
    if (held > 0) std::memcpy(larger.get(), memory_.get() + start_, held);
    memory_ = std::move(larger);
    capacity_ = capacity;
    start_ = 0;
    end_ = held;
  }

  std::unique_ptr<char[]> memory_;
  std::size_t capacity_ = 0, start_ = 0, end_ = 0;
};

}  // namespace kvd
