// SPDX-License-Identifier: BSD-2-Clause
// CRC-32C (Castagnoli polynomial, reflected), as in RFC 3720 and in most storage formats.
#pragma once

#include <cstdint>
#include <string_view>

namespace kvd {

// Checksum of `bytes`, going on from the checksum of what came before them.
std::uint32_t crc32c(std::string_view bytes, std::uint32_t before = 0);

}  // namespace kvd
