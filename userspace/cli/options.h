// SPDX-License-Identifier: BSD-2-Clause
// What the commands share: help layout, options with units, how errors are printed.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "support/error.h"

namespace fiberprof {

inline constexpr const char* kVersion = "0.1.0";

// Help below 80 columns, with long descriptions wrapped under their column. Set it on the application; commands
// inherit it when they are added after.
std::shared_ptr<CLI::FormatterBase> help_formatter();

// An option that takes a duration with a unit ("10us 5ms 2s 1m") into nanoseconds. `ns` holds the default and must
// outlive parsing. A bad value is a usage error.
CLI::Option* add_duration(CLI::App& app, const std::string& flags, uint64_t& ns, const std::string& help);

// An option that takes a whole number, 0 or more.
CLI::Option* add_count(CLI::App& app, const std::string& flags, size_t& value, const std::string& help);

// An option that takes one of a few words. `value` holds the default and must outlive parsing.
template <class T>
CLI::Option* add_choice(CLI::App& app, const std::string& flags, T& value,
                        const std::vector<std::pair<std::string, T>>& choices, const std::string& help) {
  std::string words;
  for (const auto& [word, meaning] : choices) words += (words.empty() ? "" : "|") + word;
  return app
      .add_option_function<std::string>(
          flags,
          [&value, choices, words, flags](const std::string& text) {
            for (const auto& [word, meaning] : choices) {
              if (word == text) {
                value = meaning;
                return;
              }
            }
            throw CLI::ValidationError(flags, "'" + text + "' is not one of " + words);
          },
          help)
      ->type_name(words);
}

// Prints "fiberprof: what: why; what to do" as one line on stderr and returns the exit code that goes with it.
int print_error(const Error& error);

// Writes data to stdout; false when nobody takes it any more (a closed pipe is no error worth a message).
bool print(const std::string& text);

// Colour on this descriptor: it is a terminal, NO_COLOR is unset or empty and TERM is not "dumb".
bool use_colour(int fd);

// Columns of the terminal on this descriptor, or `otherwise`.
size_t terminal_columns(int fd, size_t otherwise);

}  // namespace fiberprof
