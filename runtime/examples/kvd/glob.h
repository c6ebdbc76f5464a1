// SPDX-License-Identifier: BSD-2-Clause
// Glob patterns as KEYS and CONFIG GET take them: * ? [abc] [^abc] [a-z] and \ to take the next character literally.
#pragma once

#include <string_view>

namespace kvd {

enum class Case { sensitive, insensitive };

// Whether `pattern` matches all of `text`. Time at most proportional to the product of both lengths, whatever the
// pattern; no recursion.
bool glob_match(std::string_view pattern, std::string_view text, Case sensitivity = Case::sensitive);

}  // namespace kvd
