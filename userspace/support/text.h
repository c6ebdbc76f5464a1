// SPDX-License-Identifier: BSD-2-Clause
// Text from the target process (names of fibers, symbols, paths, commands) is hostile: it may hold terminal escape
// sequences, markup, invalid UTF-8 or characters that reorder the line. Everything shown passes through here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace fiberprof {

// Safe for a terminal, JSON and file formats: valid UTF-8 on one line. Escape sequences, control characters,
// bidirectional controls and invisible format characters are removed; tabs and line ends become a space; bytes that
// are not UTF-8 become U+FFFD. Idempotent.
std::string sanitize(std::string_view text);

// sanitize(), then & < > " ' as entities: safe as XML or HTML text and inside a quoted attribute.
std::string xml_escape(std::string_view text);

// How many terminal columns sanitized text takes (East Asian wide characters take two, combining marks none).
size_t display_width(std::string_view text);

// Sanitized text cut to at most `columns`, its end marked by "…" when something was cut.
std::string fit(std::string_view text, size_t columns);
// The same, but what is cut is the beginning: of a nested name, the end tells.
std::string fit_end(std::string_view text, size_t columns);

// For people, at most 5 columns: "0", "999", "1.23k", "12.3k", "123k", "1.23M" …
std::string format_count(uint64_t count);

}  // namespace fiberprof
