// SPDX-License-Identifier: BSD-2-Clause
// gzip of whole buffers. Errors carry only `why`; the caller knows the path.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "support/error.h"

namespace fiberprof {

std::string gzip(std::string_view plain);

// Never returns more than `limit` bytes: a file of a few kilobytes can unpack to gigabytes.
// Errors: not gzip, damaged, truncated, larger than `limit`.
Result<std::string> gunzip(std::string_view packed, size_t limit);

}  // namespace fiberprof
