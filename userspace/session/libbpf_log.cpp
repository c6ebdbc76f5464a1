// SPDX-License-Identifier: BSD-2-Clause
#include "session/libbpf_log.h"

#include <bpf/libbpf.h>

#include <atomic>
#include <cstdarg>
#include <cstdio>
#include <mutex>
#include <string_view>

namespace fiberprof {
namespace {

std::mutex log_mutex;
std::string last_warning;
std::atomic<bool> log_verbose{false};
std::once_flag installed;

int handle(enum libbpf_print_level level, const char* format, va_list arguments) {
  if (level == LIBBPF_DEBUG && !log_verbose.load(std::memory_order_relaxed)) return 0;
  char text[2048];
  std::vsnprintf(text, sizeof text, format, arguments);
  if (log_verbose.load(std::memory_order_relaxed)) std::fputs(text, stderr);
  if (level != LIBBPF_WARN) return 0;
  std::string_view line = text;
  if (line.starts_with("libbpf: ")) line.remove_prefix(8);
  // A rejected program's log is many lines; the verdict is the last that is not statistics.
  while (!line.empty() && line.back() == '\n') line.remove_suffix(1);
  if (line.find("END PROG LOAD LOG") != line.npos || line.starts_with("failed to load object")) return 0;
  if (line.empty()) return 0;
  const std::lock_guard lock(log_mutex);
  last_warning = line.substr(0, line.find('\n'));
  return 0;
}

}  // namespace

void capture_libbpf_log(bool verbose) {
  log_verbose.store(verbose, std::memory_order_relaxed);
  std::call_once(installed, [] { libbpf_set_print(handle); });
}

std::string last_libbpf_warning() {
  const std::lock_guard lock(log_mutex);
  return last_warning;
}

void clear_libbpf_log() {
  std::call_once(installed, [] { libbpf_set_print(handle); });
  const std::lock_guard lock(log_mutex);
  last_warning.clear();
}

}  // namespace fiberprof
