// SPDX-License-Identifier: BSD-2-Clause
// A dump as JSON for programs, and for `fiberprof diff`.
#pragma once

#include "dump/dump.h"
#include "render/dump_text.h"

namespace fiberprof {

// One object: "dump" (version of this format), "process", "taken_unix_ns", counts, and "fibers", "groups" or "objects"
// as asked for. Times are whole nanoseconds, addresses are strings in hex.
void dump_json(const Dump& dump, const DumpOptions& options, const DumpSink& sink);

}  // namespace fiberprof
