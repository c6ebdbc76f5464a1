// SPDX-License-Identifier: BSD-2-Clause
// A recording of the whole machine: what was counted of each program is given its names while its files are at hand
// and, once the program has ended, its place in the recording.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "session/open_waits.h"
#include "session/own_counts.h"
#include "session/profile_builder.h"
#include "session/system_watch.h"
#include "support/error.h"

namespace fiberprof {

class SystemRecording {
 public:
  // Programs that ended, of which this many keep their process id. Later ones are told apart by name only.
  static constexpr size_t kMaxEnded = 1000;

  static Result<std::unique_ptr<SystemRecording>> start(SessionOptions options);

  SystemWatch& watch() { return *watch_; }
  // Takes note of what has happened; writes down the programs that have ended when there are some. Once a second, and
  // whenever watch().fd() is readable.
  void update();
  // Everything counted so far into a profile, waits still in flight included. Once, at the end; detaches.
  Result<Profile> finish();

 private:
  explicit SystemRecording(std::unique_ptr<SystemWatch> watch) : watch_(std::move(watch)), builder_(symbols_) {}
  Result<SystemWatch::Reading> take_ended();
  void write_down(SystemWatch::Part& part);
  void refresh_counts();

  std::unique_ptr<SystemWatch> watch_;
  std::map<uint32_t, std::unique_ptr<ProcessSymbols>> symbols_;  // of the program just written down
  ProfileBuilder builder_;
  std::map<uint64_t, OwnAccount> counts_;     // by serial of the program
  std::map<std::string, uint64_t> programs_;  // by name, how many
  uint64_t ended_ = 0, waits_ended_ = 0, events_ = 0;
  uint64_t read_ns_ = 0;
  size_t merged_ = 0;  // samples after the last merge
};

}  // namespace fiberprof
