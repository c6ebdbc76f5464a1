// SPDX-License-Identifier: BSD-2-Clause
// A frame in JSON, the same in every command.
#pragma once

#include <nlohmann/json.hpp>

#include "support/text.h"

namespace fiberprof {

// Of a Frame or a ProfileFrame.
template <class AnyFrame>
nlohmann::ordered_json frame_json(const AnyFrame& frame) {
  nlohmann::ordered_json out = {{"function", sanitize(frame.function)}};
  if (!frame.file.empty()) out["file"] = sanitize(frame.file);
  if (frame.line != 0) out["line"] = frame.line;
  if (!frame.binary.empty()) out["binary"] = sanitize(frame.binary);
  if (frame.inlined) out["inlined"] = true;
  if (frame.runtime) out["runtime"] = true;
  return out;
}

}  // namespace fiberprof
