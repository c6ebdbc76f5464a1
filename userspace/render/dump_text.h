// SPDX-License-Identifier: BSD-2-Clause
// A dump as text for people.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "dump/dump.h"
#include "render/palette.h"

namespace fiberprof {

// Takes the output piece by piece: a dump may be long. False: nobody reads any more.
using DumpSink = std::function<bool(std::string_view)>;

// Lines of at most `columns` where names allow.
void dump_text(const Dump& dump, const DumpOptions& options, const Style& style, size_t columns, const DumpSink& sink);

// One line about an object: `channel 0x55d0 "jobs": unbuffered, never closed; …`. Sanitized.
std::string object_line(const DumpObject& object, uint64_t now_ns);
// `fiber 7 "writer" (parked, chan send)`; "thread 12"; "fiber 7, which has ended".
std::string fiber_ref_text(const FiberRef& fiber);
// Sums for the head of a dump: "9 fibers: 8 parked, 1 running".
std::string dump_totals(const Dump& dump);

}  // namespace fiberprof
