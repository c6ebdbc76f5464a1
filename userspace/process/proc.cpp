// SPDX-License-Identifier: BSD-2-Clause
#include "process/proc.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <climits>
#include <cstring>
#include <memory>
#include <sstream>

#include "process/target.h"
#include "support/text.h"
#include "support/unique_fd.h"

namespace fiberprof {
namespace {

constexpr unsigned long kKernelThread = 0x00200000;  // PF_KTHREAD of the flags in /proc/PID/stat

// "12 (name)", or "12" when the name cannot be had.
std::string label(uint32_t pid) {
  const std::string name = process_name(pid);
  return std::to_string(pid) + (name.empty() ? "" : " (" + sanitize(name) + ")");
}

std::string proc_path(uint32_t pid, const char* name) { return "/proc/" + std::to_string(pid) + "/" + name; }

}  // namespace

Error no_such_process(uint32_t pid) {
  return Error{"process " + std::to_string(pid), "no such process", "fiberprof list shows what can be watched"};
}

std::string permission_hint() {
  return geteuid() == 0 ? "this root lacks CAP_SYS_PTRACE, as in a restricted container"
                        : "run as root or with CAP_SYS_PTRACE";
}

Error not_permitted(uint32_t pid, std::string what) {
  struct stat info {};
  std::string why = "not permitted";
  if (stat(("/proc/" + std::to_string(pid)).c_str(), &info) == 0 && info.st_uid != geteuid())
    why += ", it belongs to uid " + std::to_string(info.st_uid);
  return Error{std::move(what), std::move(why), permission_hint()};
}

Result<std::string> read_proc_file(uint32_t pid, const char* name, size_t limit) {
  const UniqueFd fd(::open(proc_path(pid, name).c_str(), O_RDONLY | O_CLOEXEC));
  int error = errno;
  std::string text;
  if (fd) {
    for (;;) {
      const size_t done = text.size();
      if (done >= limit) break;
      text.resize(std::min(limit, std::max<size_t>(done * 2, 65536)));
      const ssize_t got = ::read(fd.get(), text.data() + done, text.size() - done);
      error = errno;
      text.resize(done + static_cast<size_t>(std::max<ssize_t>(got, 0)));
      if (got == 0) return text;
      if (got < 0 && error != EINTR) break;
    }
    if (text.size() >= limit) return text;
  }
  if (error == ENOENT || error == ESRCH) return tl::unexpected(no_such_process(pid));
  const std::string what = "cannot read " + proc_path(pid, name);
  if (error == EACCES || error == EPERM)
    return tl::unexpected(not_permitted(pid, "cannot look into process " + label(pid)));
  return fail(what, std::strerror(error));
}

Error why_without_memory(uint32_t pid) {
  const auto stat_line = read_proc_file(pid, "stat");
  if (!stat_line) return stat_line.error();
  // Fields after the name, which is in parentheses and may itself hold parentheses and spaces.
  const size_t name_end = stat_line->rfind(')');
  std::istringstream fields(name_end == std::string::npos ? "" : stat_line->substr(name_end + 1));
  char state = 0;
  long skip = 0;
  unsigned long flags = 0;
  fields >> state >> skip >> skip >> skip >> skip >> skip >> flags;
  if ((flags & kKernelThread) != 0)
    return Error{"process " + label(pid), "it is a kernel thread", "fiberprof watches programs on fibers"};
  if (state == 'Z' || state == 'X') return Error{"process " + label(pid), "it has already ended", ""};
  return Error{"process " + label(pid), "it has no memory mappings", "it may be starting or ending; try again"};
}

std::string read_proc_link(uint32_t pid, const char* name) {
  char target[PATH_MAX];
  const ssize_t size = readlink(proc_path(pid, name).c_str(), target, sizeof target);
  return size > 0 ? std::string(target, static_cast<size_t>(size)) : std::string();
}

std::vector<uint32_t> all_pids() {
  std::vector<uint32_t> pids;
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(opendir("/proc"), closedir);
  while (const dirent* entry = directory ? readdir(directory.get()) : nullptr) {
    uint32_t pid = 0;
    const char* const end = entry->d_name + std::strlen(entry->d_name);
    const auto [stop, error] = std::from_chars(entry->d_name, end, pid);
    if (error == std::errc() && stop == end) pids.push_back(pid);
  }
  std::sort(pids.begin(), pids.end());
  return pids;
}

}  // namespace fiberprof
