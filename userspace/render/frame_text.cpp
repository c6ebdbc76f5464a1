// SPDX-License-Identifier: BSD-2-Clause
#include "render/frame_text.h"

#include <ctime>

#include "support/text.h"

namespace fiberprof {

std::vector<FrameText> frame_texts(const std::vector<Frame>& frames) {
  const size_t first = culprit(
      frames.size(), [&](size_t i) { return is_library(frames[i].function, frames[i].binary, frames[i].runtime); });
  std::vector<FrameText> texts;
  for (size_t i = 0; i < frames.size();) {
    const Frame& frame = frames[i];
    FrameText text{display_name(frame.function), sanitize(short_location(frame.file, frame.line)), i == first};
    size_t times = 0;
    for (; i < frames.size() && frames[i].function == frame.function && frames[i].line == frame.line &&
           frames[i].file == frame.file;
         ++i)
      ++times;
    if (times > 1) text.place += "  " + std::to_string(times) + " times";
    texts.push_back(std::move(text));
  }
  return texts;
}

std::string place_text(const Frame& frame) {
  const std::string where = sanitize(short_location(frame.file, frame.line));
  return display_name(frame.function) + (where.empty() ? "" : " (" + where + ")");
}

std::string local_time(uint64_t unix_ns) {
  const auto seconds = static_cast<std::time_t>(unix_ns / 1'000'000'000);
  std::tm parts{};
  char text[32] = "";
  if (unix_ns != 0 && localtime_r(&seconds, &parts) != nullptr)
    std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &parts);
  return text;
}

}  // namespace fiberprof
