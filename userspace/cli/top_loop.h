// SPDX-License-Identifier: BSD-2-Clause
// What the loops of `top` sleep on: signals, keys, the time of the next refresh.
#pragma once

#include <cstdint>
#include <vector>

#include "support/unique_fd.h"

namespace fiberprof {

// Signals as something to poll: no work is ever done inside a handler.
class Signals {
 public:
  Signals();
  int fd() const { return fd_.get(); }
  // Takes in what has come. True when asked to end; else the terminal has another size.
  bool read();
  bool asked_to_end() const { return end_; }

 private:
  UniqueFd fd_;
  bool end_ = false;
};

// When to refresh next, and when to end.
class Beat {
 public:
  Beat(uint64_t interval_ns, uint64_t duration_ns);  // duration 0: for ever
  // A steady beat; a refresh that came late skips what it missed.
  uint64_t next();
  uint64_t end() const { return end_ns_; }
  bool over() const;

 private:
  uint64_t interval_ns_, next_ns_, end_ns_;
};

enum class Woke : uint8_t { time, signal, key, source };
// Sleeps until the time, a signal, a key (if `keys`) or one of `sources` is readable.
Woke sleep_until(uint64_t until_ns, const Signals& signals, bool keys, const std::vector<int>& sources);

// Nobody can press a key any more.
bool terminal_is_gone();

}  // namespace fiberprof
