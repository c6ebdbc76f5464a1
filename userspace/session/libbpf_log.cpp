// SPDX-License-Identifier: BSD-2-Clause
#include "session/libbpf_log.h"

#include <bpf/libbpf.h>

#include <algorithm>
#include <atomic>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <utility>

namespace fiberprof {
namespace {

std::mutex log_mutex;
std::string last_warning, refusal;
std::atomic<bool> log_verbose{false};
std::once_flag installed;

int handle(enum libbpf_print_level level, const char* format, va_list arguments) {
  const bool verbose = log_verbose.load(std::memory_order_relaxed);
  if (level != LIBBPF_WARN && !verbose) return 0;
  char* made = nullptr;  // as long as it takes: a verifier's log has its verdict at the end
  if (vasprintf(&made, format, arguments) < 0) return 0;
  const std::unique_ptr<char, decltype(&std::free)> text(made, &std::free);
  if (verbose) std::fputs(made, stderr);
  if (level != LIBBPF_WARN) return 0;
  std::string_view line = made;
  if (line.starts_with("libbpf: ")) line.remove_prefix(8);
  const std::lock_guard lock(log_mutex);
  if (std::string found = refusal_in(line); !found.empty()) refusal = std::move(found);
  line = line.substr(0, line.find('\n'));
  if (!line.empty() && !line.starts_with("failed to load object")) last_warning = line;
  return 0;
}

}  // namespace

void capture_libbpf_log(bool verbose) {
  log_verbose.store(verbose, std::memory_order_relaxed);
  std::call_once(installed, [] { libbpf_set_print(handle); });
}

std::string refusal_in(std::string_view message) {
  constexpr std::string_view kBegin = "-- BEGIN PROG LOAD LOG --\n";
  const size_t begin = message.find(kBegin);
  if (begin == message.npos) return {};
  const std::string_view program = message.substr(0, message.find(':'));
  std::string_view log = message.substr(begin + kBegin.size());
  log = log.substr(0, log.find("-- END PROG LOAD LOG --"));
  // The verdict is the last line that is not statistics.
  std::string_view verdict;
  while (!log.empty()) {
    const std::string_view line = log.substr(0, log.find('\n'));
    log.remove_prefix(std::min(log.size(), line.size() + 1));
    if (!line.empty() && !line.starts_with("processed ") && !line.starts_with("verification time ") &&
        !line.starts_with("stack depth "))
      verdict = line;
  }
  return std::string(program) + ": " + std::string(verdict);
}

std::string last_libbpf_warning() {
  const std::lock_guard lock(log_mutex);
  return refusal.empty() ? last_warning : refusal;
}

void clear_libbpf_log() {
  std::call_once(installed, [] { libbpf_set_print(handle); });
  const std::lock_guard lock(log_mutex);
  last_warning.clear();
  refusal.clear();
}

}  // namespace fiberprof
