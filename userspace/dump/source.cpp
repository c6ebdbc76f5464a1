// SPDX-License-Identifier: BSD-2-Clause
#include "dump/source.h"

#include <sys/stat.h>
#include <time.h>

#include <algorithm>

#include "process/proc.h"
#include "support/text.h"

namespace fiberprof {
namespace {

// Times further behind the runtime's last tick are not believed.
constexpr uint64_t kLongestSleep = 30ULL * 86'400 * 1'000'000'000;

uint64_t clock_ns(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

Result<void> read_summary(DumpSource& source) {
  auto summary = source.view->summary();
  if (!summary) return tl::unexpected(summary.error());
  source.summary = std::move(*summary);
  return {};
}

}  // namespace

Result<DumpSource> DumpSource::live(std::string_view pid_or_name) {
  DumpSource source;
  auto process = FiberFinder().resolve(pid_or_name);
  if (!process) return tl::unexpected(process.error());
  source.process = std::move(*process);
  if (source.process.registry_address == 0)
    return fail("cannot read the fibers of " + source.label(), "its runtime has no registry");
  auto view = RegistryView::open(source.process.pid, source.process.registry_address);
  if (!view) return tl::unexpected(view.error());
  source.view = std::move(*view);
  auto symbols = ProcessSymbols::open(source.process.pid);
  if (!symbols) return tl::unexpected(symbols.error());
  source.symbols = std::move(*symbols);
  if (auto read = read_summary(source); !read) return tl::unexpected(read.error());
  source.now_ns = clock_ns(CLOCK_MONOTONIC);
  source.taken_unix_ns = clock_ns(CLOCK_REALTIME);
  return source;
}

Result<DumpSource> DumpSource::from_core(const std::string& path, const std::string& executable, CoreGaps gaps) {
  DumpSource source;
  auto core = CoreFile::open(path, executable);
  if (!core) return tl::unexpected(core.error());
  source.core = std::move(*core);
  auto process = source.core->find_fibers();
  if (!process) return tl::unexpected(process.error());
  source.process = std::move(*process);
  auto view = RegistryView::open(CoreFile::memory(source.core, gaps), source.process.registry_address);
  if (!view) return tl::unexpected(view.error());
  source.view = std::move(*view);
  source.symbols =
      ProcessSymbols::from(source.core->pid(), source.core->mappings(),
                           [core = source.core.get()](const Mapping& mapping) { return core->open_file(mapping); });
  if (auto read = read_summary(source); !read) return tl::unexpected(read.error());
  // The runtime's own clock stands still while all of it sleeps; what fibers began to do after its last tick tells
  // more.
  const uint64_t clock = source.now_ns = source.summary.clock_ns;
  if (auto latest = source.view->glance(
          [&](const FiberGlance& fiber) {
            if (fiber.since_ns > source.now_ns && fiber.since_ns - clock < kLongestSleep)
              source.now_ns = fiber.since_ns;
          },
          UINT64_MAX);
      !latest)
    return tl::unexpected(latest.error());
  struct stat info {};
  if (stat(path.c_str(), &info) == 0)
    source.taken_unix_ns =
        static_cast<uint64_t>(info.st_mtim.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(info.st_mtim.tv_nsec);
  return source;
}

std::string DumpSource::label() const {
  const std::string name = process.name.empty() ? "" : sanitize(process.name);
  const std::string id = std::to_string(process.pid);
  if (core)
    return "core file " + sanitize(core->path()) + " (" + (name.empty() ? "" : name + ", ") + "process " + id + ")";
  return "process " + id + (name.empty() ? "" : " (" + name + ")");
}

std::string DumpSource::descriptor(uint64_t fd) const {
  if (core || fd > INT32_MAX) return {};
  std::string target = read_proc_link(process.pid, ("fd/" + std::to_string(fd)).c_str());
  if (target.empty() || target[0] == '/') return target;
  return target.substr(0, target.find(':'));  // "socket:[1234]", "anon_inode:[eventpoll]"
}

}  // namespace fiberprof
