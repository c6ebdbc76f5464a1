// SPDX-License-Identifier: BSD-2-Clause
// What happened in a random program, as its actors saw it, and what a sequential channel would have allowed.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <mutex>
#include <string>
#include <vector>

namespace random_program {

// A value sent: who, on which channel, the how-manieth of his on it.
struct Message {
  std::uint32_t channel, sender, sequence;
};

// A moment in the order of a counter all threads share: of two operations, one whose end comes before the start of the
// other really was before it.
using Moment = std::uint64_t;

struct Sent {
  Message message;
  Moment start, end;
};
struct Received {
  Message message;
  Moment start, end;
};
struct SawClosed {
  std::uint32_t channel;
  Moment end;
};

// One actor's record; only that actor writes to it.
struct Log {
  std::vector<Sent> sent;
  std::vector<Received> received;
  std::vector<SawClosed> closed;
  std::uint64_t operations = 0;
};

class History {
 public:
  explicit History(std::vector<std::size_t> capacities) : capacities_(std::move(capacities)) {}

  Moment now() { return clock_.fetch_add(1, std::memory_order_seq_cst); }
  // Any thread.
  Log& new_log(std::uint32_t& id);
  // Remembers the first few; any thread.
  void wrong(const std::string& what);

  // Once all actors have ended, and all channels are closed and drained.
  void check();
  std::uint64_t operations() const;
  const std::string& found() const { return found_; }

 private:
  const std::vector<std::size_t> capacities_;
  std::atomic<Moment> clock_{1};
  std::mutex mutex_;
  std::deque<Log> logs_;
  std::string found_;
  int wrongs_ = 0;
};

}  // namespace random_program
