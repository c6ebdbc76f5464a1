// SPDX-License-Identifier: BSD-2-Clause
// Every program on fibers being watched, for `top -a`: the table of all, and each by itself.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "cli/census_pace.h"
#include "cli/top_source.h"
#include "process/registry_view.h"
#include "render/top_processes.h"
#include "session/system_watch.h"
#include "support/error.h"

namespace fiberprof {

class TopSystem {
 public:
  // `options` without processes: which there are is found out.
  static Result<std::unique_ptr<TopSystem>> start(SessionOptions options, bool all_frames);

  // Reads everything once.
  Result<void> refresh();
  const ProcessTable& table() const { return table_; }
  // To sleep on; update() when it is readable.
  int fd() const { return watch_->fd(); }
  void update() { watch_->update(); }
  std::vector<std::string> take_warnings();
  // One program by itself; null when it is no longer in the table. Outlived by this object. While it is looked at, it
  // is what refreshes.
  std::unique_ptr<TopSource> look_into(uint64_t serial);

 private:
  friend class ProgramSource;
  // One program of the table.
  struct Seen {
    std::shared_ptr<Program> program;
    Snapshot previous, latest;
    std::unique_ptr<RegistryView> registry;
    bool opened = false;                                 // its registry has been tried
    uint64_t ended_ns = 0;                               // when its end was seen; 0: it runs
    std::optional<FiberCensus> previous_census, census;  // of this and the last refresh, when fibers were counted then
    std::optional<FiberCensus> last_census;
    uint64_t last_census_ns = 0;  // when it was taken
    std::optional<RegistrySummary> previous_summary, summary;
  };
  TopSystem(std::unique_ptr<SystemWatch> watch, bool exact, bool all_frames)
      : watch_(std::move(watch)), exact_(exact), all_frames_(all_frames) {}
  void take_in(SystemWatch::Part& part, uint64_t now, std::set<uint64_t>& fresh);
  void read_registry(uint64_t serial, Seen& seen);
  ProcessRow row(const Seen& seen) const;

  std::unique_ptr<SystemWatch> watch_;
  bool exact_, all_frames_;
  std::map<uint64_t, Seen> seen_;  // by serial
  ProcessTable table_;
  uint64_t read_ns_ = 0, first_ns_ = 0, attached_ns_ = 0;
  CensusPace pace_;
  uint64_t looked_into_ = 0;     // serial of the program that is shown by itself; 0: none
  uint64_t looked_into_ns_ = 0;  // the last reading before it was
  size_t told_ = 0;              // warnings of the table that were taken
};

}  // namespace fiberprof
