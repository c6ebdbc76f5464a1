// SPDX-License-Identifier: BSD-2-Clause
// How stacks and histograms are shown: which frames, under which name.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "profile/profile.h"
#include "render/palette.h"

namespace fiberprof {

// A function's name as people read it (short_name(), see symbol/demangle.h), sanitized. Names that are no functions
// ("[vdso]+0x12", "kvd+0x1234") stay whole.
std::string display_name(std::string_view function);

// Whether a frame is the means rather than the cause: the fiber runtime, the C and C++ libraries, the kernel's own
// mappings ("[vdso]", "[uprobes-trampoline]").
bool is_library(std::string_view function, std::string_view binary, bool runtime);

// Where a reader should look first: index (in a stack of `count` frames, innermost first) of the innermost frame that
// is not of a library; 0 when there is none.
size_t culprit(size_t count, const std::function<bool(size_t)>& is_library);

// "log.cpp:42", with the last directory when `directory`; empty when the file is unknown.
std::string short_location(const std::string& file, uint32_t line, bool directory = false);

// One frame of a stack as text: display_name(), short_location(), and whether it is the culprit.
struct FrameText {
  std::string function, place;
  bool culprit = false;
};
// The lines of a stack, innermost first, `indent` blanks in; places are aligned, and names cut where they are too wide.
std::vector<std::string> stack_lines(const std::vector<FrameText>& frames, const Style& style, size_t indent,
                                     size_t columns);

// Duration below which the share `p` (0 to 1) of the histogram lies (bucket i: [2^i, 2^(i+1)) ns), interpolated
// within its bucket and never above `max_ns`: right within a factor of two. 0 when the histogram is empty.
uint64_t percentile(const std::vector<uint64_t>& histogram, double p, uint64_t max_ns);

// The histogram from its first to its last used bucket as a line of block characters, at most `columns` wide.
std::string sparkline(const std::vector<uint64_t>& values, size_t columns);

// part / whole in percent: "12.3%", "<0.1%", "100%"; empty when the whole is 0.
std::string format_share(uint64_t part, uint64_t whole);

}  // namespace fiberprof
