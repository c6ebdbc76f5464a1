// SPDX-License-Identifier: BSD-2-Clause
// Frames of live processes, core files and dumps as text, as reports show those of recordings.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "render/stack_view.h"
#include "symbol/symbolizer.h"

namespace fiberprof {

// For stack_lines(); a frame that calls itself is one line that says how often.
std::vector<FrameText> frame_texts(const std::vector<Frame>& frames);
// "kvd::Server::accept (server.cpp:88)", sanitized.
std::string place_text(const Frame& frame);
// "2026-11-21 20:31:05"; empty for 0.
std::string local_time(uint64_t unix_ns);

}  // namespace fiberprof
