// SPDX-License-Identifier: BSD-2-Clause
// A recording as text for people or JSON for programs.
#pragma once

#include <cstddef>
#include <string>

#include "profile/profile.h"
#include "render/aggregate.h"
#include "render/palette.h"

namespace fiberprof {

struct ReportOptions {
  GroupBy by = GroupBy::stack;
  size_t rows = 10;  // of each table
  bool all_frames = false;
};

// Text of several lines, at most `columns` wide where names allow.
std::string report_text(const Profile& profile, const ReportOptions& options, const Style& style, size_t columns);

// One JSON object and a line end. Times are whole nanoseconds; sections as in the text, which shares their rules.
std::string report_json(const Profile& profile, const ReportOptions& options);

}  // namespace fiberprof
