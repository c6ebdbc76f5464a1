// SPDX-License-Identifier: BSD-2-Clause
// The append-only log: what makes an acknowledged write survive a crash.
//
// A command appends its record while it holds the lock on the shard it changes, so the log has the changes of a key in
// the order in which they happened, and what is on the disk is always a prefix of history. Before its connection
// replies, it commits: it asks the one fiber that writes, over a channel, and waits for the answer on a channel of its
// own. While the writer syncs inside blocking(), further records and requests pile up and become the next group: one
// sync serves all who wait (group commit), which is why many clients together are far faster than one.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "fiber/channel.h"
#include "fiber/fiber.h"
#include "fiber/sync.h"
#include "log_format.h"
#include "log_replay.h"
#include "store.h"

namespace kvd {

// Owns a file descriptor.
class File {
 public:
  File() = default;
  explicit File(int fd) : fd_(fd) {}
  File(File&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  File& operator=(File&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~File();
  int get() const { return fd_; }

 private:
  int fd_ = -1;
};

// What one fiber that commits needs again and again.
class Committer {
 public:
  Committer() : done_(1) {}

 private:
  friend class Log;
  fiber::Channel<bool> done_;
};

class Log {
 public:
  // Opens or creates the file, locks it against a second server, replays it into the store, cuts off what a crash left
  // incomplete, and starts the fiber that writes. On failure returns nothing and says why in `error`. What happened
  // is told through `message`. Fibers only.
  static std::unique_ptr<Log> open(const std::string& path, Store& store, std::string& error,
                                   const std::function<void(const std::string&)>& message);
  ~Log();

  // Adds a record. Call it with the lock on the record's shard held, so that the order is right. Never waits for the
  // disk.
  void append(const Record& record);
  // Waits until everything appended before is on the disk. False when the disk refused: then nobody may be told that
  // it was done, and the server must stop. Fibers only, without a lock on a shard.
  bool commit(Committer& committer);
  // Writes what is left and ends the writer. Nobody may append or commit any more.
  void close();

  // Called once, by the writer, when the disk refuses.
  void on_failure(std::function<void(const std::string&)> report) { on_failure_ = std::move(report); }

  std::uint64_t bytes() const { return bytes_.load(std::memory_order_relaxed); }
  std::uint64_t groups() const { return groups_.load(std::memory_order_relaxed); }

 private:
  using Request = fiber::Sender<bool>;
  Log(std::string path, File file, const ReplayResult& state);
  void run();
  bool write_pending();
  bool write_group(std::string& group);
  std::vector<std::string> take_pending();

  const std::string path_;
  File file_;
  std::uint64_t salt_;
  std::atomic<std::uint64_t> bytes_;
  std::atomic<std::uint64_t> groups_;
  bool failed_ = false;  // the writer's
  std::function<void(const std::string&)> on_failure_;

  fiber::Mutex mutex_;                // over the two below; taken after a shard's lock, held for a copy only
  std::vector<std::string> pending_;  // groups to be, each with room for its header in front
  std::string spare_;                 // an emptied one, for its memory

  fiber::Channel<Request> requests_;
  fiber::JoinHandle<void> writer_;
};

}  // namespace kvd
