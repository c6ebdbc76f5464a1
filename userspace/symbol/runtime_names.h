// SPDX-License-Identifier: BSD-2-Clause
// Which functions belong to the fiber runtime rather than to the program. The one place that knows.
#pragma once

#include <string_view>
#include <vector>

#include "symbol/symbolizer.h"

namespace fiberprof {

// By the name of the function itself: a program's function that merely takes or returns fiber types, or is a template
// over them, does not match.
bool is_runtime_function(std::string_view demangled);

// The loop of a worker thread, on the thread's own stack. A worker is in it with a fiber only on the way to or from it.
bool is_worker_loop(std::string_view demangled);

// By which a fiber lets others run, and does nothing else.
bool is_yield(std::string_view demangled);

// The operations on channels by which values move, apart from those that only try to.
bool moves_values(std::string_view demangled);

// Not of the runtime, the standard library (templates of it over the program's types) or the system's, nor a stub
// without a name.
bool is_program_frame(const Frame& frame);

// "timer" or "network" for the function of the runtime that ends waits because of that, else empty.
std::string_view runtime_event(std::string_view demangled);

// Standard-library glue that passes a call on to a callable (std::invoke, std::function …). It belongs to whatever
// called it.
bool is_call_glue(std::string_view demangled);

// Folds the runtime's own frames of one stack, innermost first:
//   - at the inner end all of them but the outermost, which is the function the program called
//     ("fiber::Channel<int>::receive") and tells what was waited for;
//   - between two program frames likewise, the one next to the caller stays;
//   - standard guards (std::lock_guard<fiber::Mutex>) between that and the program go;
//   - at the root the fiber's entry and the glue that leads to the spawned function go entirely.
// A stack of nothing but runtime frames keeps its outermost public function.
std::vector<Frame> fold_runtime_frames(std::vector<Frame> stack);

// Of what one address resolves to, innermost first: the program's own frame, past the runtime and glue that were
// inlined there; the outermost where it has none. At least one frame must be given.
const Frame& own_frame(const std::vector<Frame>& frames);

}  // namespace fiberprof
