// SPDX-License-Identifier: BSD-2-Clause
// The one error type of the tool: what was tried, on what, why it failed, what to do about it.
#pragma once

#include <string>
#include <tl/expected.hpp>

namespace fiberprof {

enum class ExitCode : int { ok = 0, error = 1, usage = 2, finding = 3 };

struct Error {
  std::string what;  // what was tried, on what: "cannot attach to pid 12 (kvd)"
  std::string why;   // why it failed: "Operation not permitted"; may be empty
  std::string hint;  // what to do: "run as root or grant CAP_BPF, CAP_PERFMON"; may be empty
  ExitCode code = ExitCode::error;

  // "what: why; hint", one line.
  std::string message() const {
    std::string text = what;
    if (!why.empty()) text += ": " + why;
    if (!hint.empty()) text += "; " + hint;
    return text;
  }
};

template <class T>
using Result = tl::expected<T, Error>;

inline tl::unexpected<Error> fail(std::string what, std::string why = {}, std::string hint = {},
                                  ExitCode code = ExitCode::error) {
  return tl::unexpected<Error>(Error{std::move(what), std::move(why), std::move(hint), code});
}

}  // namespace fiberprof
