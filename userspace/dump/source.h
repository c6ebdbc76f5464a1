// SPDX-License-Identifier: BSD-2-Clause
// What fibers are read from, a live process or a core file, with all that is needed to explain them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "process/core_file.h"
#include "process/registry_view.h"
#include "process/target.h"
#include "support/error.h"
#include "symbol/symbolizer.h"

namespace fiberprof {

struct DumpSource {
  FiberProcess process;
  std::shared_ptr<CoreFile> core;  // null: a live process
  std::unique_ptr<RegistryView> view;
  std::unique_ptr<ProcessSymbols> symbols;
  RegistrySummary summary;
  uint64_t now_ns = 0;         // CLOCK_MONOTONIC of the process; of a core, as late as its runtime's clock tells
  uint64_t taken_unix_ns = 0;  // of a core, when it was written

  // Errors, each its own: no such process or name, not permitted, no fiber runtime, no registry.
  static Result<DumpSource> live(std::string_view pid_or_name);
  // Errors: see CoreFile. `gaps`: what a proof rests on must be there.
  static Result<DumpSource> from_core(const std::string& path, const std::string& executable, CoreGaps gaps);

  // "process 12 (kvd)", "core file core.12 (kvd, process 12)".
  std::string label() const;
  // What a file descriptor of a live process is: "socket", "pipe", "/var/log/x"; empty when it cannot be told.
  std::string descriptor(uint64_t fd) const;
};

}  // namespace fiberprof
