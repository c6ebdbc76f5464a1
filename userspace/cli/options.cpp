// SPDX-License-Identifier: BSD-2-Clause
#include "cli/options.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <iostream>
#include <sstream>
#include <string_view>

#include "support/duration.h"
#include "support/text.h"

namespace fiberprof {
namespace {

constexpr size_t kHelpColumns = 79;
constexpr size_t kNameColumn = 26;

// Words of each line of `text` filled up to `columns`; lines that begin with a space are left as they are.
std::string fill(const std::string& text, size_t columns) {
  std::istringstream lines(text);
  std::string line, result;
  while (std::getline(lines, line)) {
    if (!result.empty()) result += '\n';
    if (line.size() <= columns || line.front() == ' ') {
      result += line;
      continue;
    }
    std::istringstream words(line);
    std::string word;
    size_t used = 0;
    while (words >> word) {
      if (used != 0 && used + 1 + word.size() > columns) {
        result += '\n';
        used = 0;
      }
      if (used != 0) {
        result += ' ';
        ++used;
      }
      result += word;
      used += word.size();
    }
  }
  return result;
}

class HelpFormatter : public CLI::Formatter {
 public:
  HelpFormatter() { column_width(kNameColumn); }
  std::string make_option_desc(const CLI::Option* option) const override {
    return fill(option->get_description(), kHelpColumns - kNameColumn);
  }
  std::string make_option_opts(const CLI::Option* option) const override {
    if (!option->get_option_text().empty()) return " " + option->get_option_text();
    if (option->get_type_size() == 0 || option->get_type_name().empty()) return "";
    return " " + option->get_type_name();  // defaults are said in the descriptions, with their unit
  }
  std::string make_subcommand(const CLI::App* sub) const override {
    std::string summary = sub->get_description();
    summary = summary.substr(0, summary.find('\n'));
    std::stringstream out;
    CLI::detail::format_help(out, sub->get_name(), fill(summary, kHelpColumns - kNameColumn), kNameColumn);
    return out.str();
  }
  std::string make_description(const CLI::App* app) const override {
    return fill(app->get_description(), kHelpColumns) + "\n\n";
  }
  std::string make_footer(const CLI::App* app) const override {
    const std::string footer = app->get_footer();
    return footer.empty() ? "" : fill(footer, kHelpColumns) + "\n";
  }
};

}  // namespace

std::shared_ptr<CLI::FormatterBase> help_formatter() { return std::make_shared<HelpFormatter>(); }

CLI::Option* add_duration(CLI::App& app, const std::string& flags, uint64_t& ns, const std::string& help) {
  return app
      .add_option_function<std::string>(
          flags,
          [&ns, flags](const std::string& text) {
            const Result<uint64_t> parsed = parse_duration(text);
            if (!parsed) throw CLI::ValidationError(flags, parsed.error().message());
            ns = *parsed;
          },
          help)
      ->type_name("DUR");
}

CLI::Option* add_count(CLI::App& app, const std::string& flags, size_t& value, const std::string& help) {
  return app
      .add_option_function<std::string>(
          flags,
          [&value, flags](const std::string& text) {
            const char* end = text.data() + text.size();
            const auto [stopped, error] = std::from_chars(text.data(), end, value);
            if (error != std::errc() || stopped != end) {
              throw CLI::ValidationError(flags, "'" + text + "' is not a whole number of 0 or more");
            }
          },
          help)
      ->type_name("N");
}

int print_error(const Error& error) {
  std::cerr << "fiberprof: " << sanitize(error.message()) << '\n';
  return static_cast<int>(error.code);
}

bool print(const std::string& text) {
  std::string_view rest = text;
  while (!rest.empty()) {
    const ssize_t wrote = ::write(STDOUT_FILENO, rest.data(), rest.size());
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return false;
    rest.remove_prefix(static_cast<size_t>(wrote));
  }
  return true;
}

bool use_colour(int fd) {
  const char* no_colour = std::getenv("NO_COLOR");
  const char* term = std::getenv("TERM");
  return isatty(fd) == 1 && (no_colour == nullptr || *no_colour == '\0') && term != nullptr &&
         std::string_view(term) != "dumb";
}

size_t terminal_columns(int fd, size_t otherwise) {
  winsize size{};
  if (isatty(fd) != 1 || ioctl(fd, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return otherwise;
  return std::clamp<size_t>(size.ws_col, 40, 400);
}

}  // namespace fiberprof
