// SPDX-License-Identifier: BSD-2-Clause
// A recording from start to finish: a session, the symbols of its processes, and a Profile made of both.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "profile/profile.h"
#include "session/session.h"
#include "support/error.h"

namespace fiberprof {

struct RecordOptions {
  SessionOptions session;
  std::string command;  // the command line, for the recording
};

class Recorder {
 public:
  // Attaches. What is recorded starts here.
  static Result<Recorder> start(RecordOptions options);
  // Sleeps until `duration_ns` have passed since start() (0: no limit), every process has ended (never when everything
  // is recorded), or `stop` is set (by a signal handler; noticed at once when the signal interrupts this thread, else
  // within a second).
  void wait(uint64_t duration_ns, const std::atomic<bool>& stop);
  // Detaches and makes the recording. Waits still in flight are read from the registries first.
  Result<Profile> finish();
  Session& session();
  // What is not watched or only in part, since the last call.
  std::vector<std::string> take_warnings();

  Recorder(Recorder&&) noexcept;
  Recorder& operator=(Recorder&&) noexcept;
  ~Recorder();

 private:
  struct State;
  explicit Recorder(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace fiberprof
