// SPDX-License-Identifier: BSD-2-Clause
#include "process/target.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <sstream>

#include "process/proc.h"
#include "support/text.h"

namespace fiberprof {
namespace {

std::string base_name(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? path : path.substr(slash + 1);
}

std::string executable_name(uint32_t pid) {
  std::string name = base_name(read_proc_link(pid, "exe"));
  constexpr std::string_view kDeleted = " (deleted)";
  if (name.ends_with(kDeleted)) name.resize(name.size() - kDeleted.size());
  return name;
}

std::string candidates_text(const std::vector<FiberProcess>& processes) {
  std::string text;
  size_t shown = 0;
  for (const FiberProcess& process : processes) {
    if (++shown > 10) return text + ", …";
    text += (text.empty() ? "" : ", ") + std::to_string(process.pid) + " (" + sanitize(process.name) + ")";
  }
  return text;
}

}  // namespace

// The mapping begins on a page boundary, so the segment it comes from is found by page-rounded offsets.
std::optional<uint64_t> load_bias_of(const Mapping& mapping, const std::vector<ElfSegment>& segments) {
  const auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  for (const ElfSegment& segment : segments) {
    const uint64_t first = segment.offset & ~(page - 1);
    if (segment.executable != mapping.executable || mapping.offset < first ||
        mapping.offset >= segment.offset + segment.file_size)
      continue;
    return mapping.start - mapping.offset - (segment.vaddr - segment.offset);
  }
  return std::nullopt;
}

std::string process_name(uint32_t pid) {
  // Not by read_proc_file, whose errors ask for the name.
  const UniqueFd fd(::open(("/proc/" + std::to_string(pid) + "/comm").c_str(), O_RDONLY | O_CLOEXEC));
  char name[64];
  const ssize_t size = fd ? ::read(fd.get(), name, sizeof name) : 0;
  std::string_view text(name, size > 0 ? static_cast<size_t>(size) : 0);
  if (text.ends_with('\n')) text.remove_suffix(1);
  return std::string(text);
}

Result<FiberProcess> FiberFinder::find(uint32_t pid) {
  ++generation_;
  return find_now(pid);
}

Result<FiberProcess> FiberFinder::find_now(uint32_t pid) {
  const auto maps = read_maps(pid);
  if (!maps) return tl::unexpected(maps.error());
  return find_in(pid, *maps);
}

Result<const FiberFinder::Known*> FiberFinder::look_at(uint32_t pid, const Mapping& mapping) {
  const std::pair key(mapping.device, mapping.inode);
  const auto known = known_.find(key);
  if (known != known_.end() && known->second.generation == generation_) return &known->second;
  auto opened = open_mapped_file(pid, mapping);
  struct stat info {};
  if (!opened || fstat(opened->fd.get(), &info) != 0) {
    if (known != known_.end()) return &known->second;  // the process has ended meanwhile, or cannot be looked into
    return tl::unexpected(opened ? Error{"cannot read " + mapping.path, std::strerror(errno), ""} : opened.error());
  }
  const int64_t changed_ns = info.st_ctim.tv_sec * 1'000'000'000 + info.st_ctim.tv_nsec;
  const auto size = static_cast<uint64_t>(info.st_size);
  if (known != known_.end() && known->second.changed_ns == changed_ns && known->second.size == size) {
    known->second.generation = generation_;
    return &known->second;
  }
  Known fresh{generation_, size, changed_ns, nullptr, nullptr};
  UniqueFd copy(fcntl(opened->fd.get(), F_DUPFD_CLOEXEC, 0));
  if (auto file = ElfFile::open(std::move(opened->fd), opened->path)) {
    auto read = read_fiber_binary(*file);
    if (!read.probes.empty()) {
      if (copy) read.path = "/proc/self/fd/" + std::to_string(copy.get());
      fresh.binary = std::make_shared<const FiberBinary>(std::move(read));
      fresh.file = std::make_shared<const UniqueFd>(std::move(copy));
    }
  }
  return &(known_[key] = std::move(fresh));
}

Result<bool> FiberFinder::has_probes(uint32_t pid, const Mapping& mapping) {
  const auto known = look_at(pid, mapping);
  if (!known) return tl::unexpected(known.error());
  return (*known)->binary != nullptr;
}

Result<FiberProcess> FiberFinder::find_in(uint32_t pid, const std::vector<Mapping>& maps) {
  // The executable comes first in maps of a program that is not position-independent, and its libraries may hold a
  // second copy of the runtime: the first binary with a registry wins.
  std::optional<FiberProcess> found;
  bool unreadable = false;
  for (const Mapping& mapping : maps) {
    if (!mapping.executable || !mapping.is_file()) continue;
    const auto known = look_at(pid, mapping);
    unreadable |= !known;
    if (!known || !(*known)->binary) continue;
    const FiberBinary& binary = *(*known)->binary;
    if (found && (found->registry_address != 0 || !binary.registry)) continue;
    FiberProcess process;
    process.pid = pid;
    process.name = process_name(pid);
    process.binary = binary;
    process.binary_path = mapping.path;
    process.file = (*known)->file;
    if (const auto bias = load_bias_of(mapping, binary.segments)) {
      process.load_bias = *bias;
      if (binary.registry) process.registry_address = *bias + *binary.registry;
    }
    found = std::move(process);
  }
  if (found) return std::move(*found);
  const std::string name = sanitize(process_name(pid));
  if (unreadable)
    return tl::unexpected(
        not_permitted(pid, "cannot read the binaries of process " + std::to_string(pid) + " (" + name + ")"));
  return fail("process " + std::to_string(pid) + " (" + name + ") has no fiber probes", "",
              "is it linked with libfiberrt?");
}

std::vector<FiberProcess> FiberFinder::find_all(size_t* unreadable) {
  ++generation_;
  std::vector<FiberProcess> found;
  size_t refused = 0;
  // fiberprof carries a probe of its own to measure with; neither it nor another copy of it is a target.
  struct stat self {
  }, other{};
  const bool know_self = stat("/proc/self/exe", &self) == 0;
  for (const uint32_t pid : all_pids()) {
    const std::string exe = "/proc/" + std::to_string(pid) + "/exe";
    if (know_self && stat(exe.c_str(), &other) == 0 && other.st_dev == self.st_dev && other.st_ino == self.st_ino)
      continue;
    const auto maps = read_maps(pid);
    if (!maps) {
      if (maps.error().why.starts_with("not permitted")) ++refused;
      continue;
    }
    if (auto process = find_in(pid, *maps)) found.push_back(std::move(*process));
  }
  if (unreadable != nullptr) *unreadable = refused;
  return found;
}

Result<FiberProcess> FiberFinder::resolve(std::string_view wanted) {
  uint32_t pid = 0;
  const char* const end = wanted.data() + wanted.size();
  const auto [stop, error] = std::from_chars(wanted.data(), end, pid);
  const bool number = stop == end && !wanted.empty();
  if (number && error == std::errc()) return find(pid);
  const std::string quoted = "'" + sanitize(wanted) + "'";
  if (wanted.empty() || number)
    return fail(quoted + " is neither a process id nor a name", "", "fiberprof list shows what can be watched",
                ExitCode::usage);

  size_t unreadable = 0;
  const std::vector<FiberProcess> all = find_all(&unreadable);
  std::vector<FiberProcess> exact, partial;
  for (const FiberProcess& process : all) {
    const std::string executable = executable_name(process.pid);
    if (process.name == wanted || executable == wanted)
      exact.push_back(process);
    else if (process.name.find(wanted) != std::string::npos || executable.find(wanted) != std::string::npos)
      partial.push_back(process);
  }
  std::vector<FiberProcess>& matches = exact.empty() ? partial : exact;
  if (matches.size() == 1) return std::move(matches.front());
  if (matches.size() > 1)
    return fail(std::to_string(matches.size()) + " processes match " + quoted, candidates_text(matches),
                "name one by its process id");
  std::string without_probes;
  for (const uint32_t other : all_pids())
    if (process_name(other) == wanted || executable_name(other) == wanted)
      without_probes += (without_probes.empty() ? "" : ", ") + std::to_string(other);
  if (!without_probes.empty() && unreadable == 0)
    return fail("process " + without_probes + " (" + sanitize(wanted) + ") has no fiber probes", "",
                "is it linked with libfiberrt?");
  std::string hint = all.empty() ? "no process with fiber probes is running" : "running: " + candidates_text(all);
  if (unreadable != 0) hint += "; " + std::to_string(unreadable) + " processes could not be read, " + permission_hint();
  return fail("no process on fibers is named " + quoted, "", std::move(hint));
}

std::map<uint32_t, uint32_t> global_tids(uint32_t pid) {
  std::map<uint32_t, uint32_t> tids;
  const std::string tasks = "/proc/" + std::to_string(pid) + "/task";
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(opendir(tasks.c_str()), closedir);
  while (const dirent* entry = directory ? readdir(directory.get()) : nullptr) {
    uint32_t tid = 0;
    const char* const end = entry->d_name + std::strlen(entry->d_name);
    if (std::from_chars(entry->d_name, end, tid).ptr != end) continue;
    const auto status = read_proc_file(pid, ("task/" + std::string(entry->d_name) + "/status").c_str());
    if (!status) continue;
    // "NSpid:\t1234\t7": outermost to innermost namespace, as seen from that of the /proc mount.
    const size_t at = status->find("\nNSpid:");
    if (at == std::string::npos) {
      tids[tid] = tid;
      continue;
    }
    std::istringstream line(status->substr(at + 7, status->find('\n', at + 1) - at - 7));
    uint32_t number = 0, innermost = tid;
    while (line >> number) innermost = number;
    tids[innermost] = tid;
  }
  return tids;
}

uint32_t global_tid(uint32_t pid, uint32_t tid) {
  const auto tids = global_tids(pid);
  const auto found = tids.find(tid);
  return found == tids.end() ? 0 : found->second;
}

Result<ProcessHandle> ProcessHandle::open(uint32_t pid) {
  ProcessHandle handle;
  handle.fd_.reset(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (handle.fd_) return handle;
  if (errno == ESRCH || errno == EINVAL) return tl::unexpected(no_such_process(pid));
  return fail("cannot watch process " + std::to_string(pid), std::strerror(errno));
}

bool ProcessHandle::alive() const {
  pollfd waiting{fd_.get(), POLLIN, 0};
  int ready;
  do ready = poll(&waiting, 1, 0);
  while (ready < 0 && errno == EINTR);
  return ready == 0;
}

}  // namespace fiberprof
