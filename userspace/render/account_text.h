// SPDX-License-Identifier: BSD-2-Clause
// The account of the fibers' time as a table for people.
#pragma once

#include <string>
#include <vector>

#include "render/account.h"
#include "render/palette.h"

namespace fiberprof {

// Title, header and at most `rows` rows (0: all), with what they waited for; nothing for an empty account.
std::vector<std::string> account_text(const Account& account, size_t rows, const Style& style, size_t columns);

// "chan receive 81.0%, mutex 12.3%": the largest parts of the waits and of what the kernel did, as shares of
// `total_ns`. Parts below half a per cent are left out.
std::vector<std::pair<std::string, uint64_t>> largest_parts(const AccountRow& row);

}  // namespace fiberprof
