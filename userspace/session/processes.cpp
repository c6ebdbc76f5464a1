// SPDX-License-Identifier: BSD-2-Clause
#include "session/processes.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "process/maps.h"
#include "process/registry_view.h"
#include "session/attach_probes.h"
#include "session/reader.h"
#include "session/skeleton.h"
#include "session/stopwatch.h"

namespace fiberprof {
namespace {

// The code of the program itself and of the binary with the runtime: what is compiled with frame pointers.
fp_process code_of(const FiberProcess& process) {
  fp_process code{};
  char executable[4096];
  const auto link = "/proc/" + std::to_string(process.pid) + "/exe";
  const ssize_t length = readlink(link.c_str(), executable, sizeof executable);
  const std::string paths[] = {std::string(executable, length > 0 ? static_cast<size_t>(length) : 0),
                               process.binary_path};
  const auto maps = read_maps(process.pid);
  if (!maps) return code;
  for (const Mapping& mapping : *maps)
    for (size_t i = 0; i < 2; ++i) {
      if (!mapping.executable || !mapping.is_file() || mapping.path != paths[i]) continue;
      if (!code.code_high[i]) code.code_low[i] = mapping.start;
      code.code_high[i] = mapping.end;
    }
  return code;
}

}  // namespace

Result<void> add_process(const fiberprof_bpf& skeleton, const FiberProcess& process) {
  const fp_process value = code_of(process);
  if (bpf_map__update_elem(skeleton.maps.processes, &process.pid, sizeof process.pid, &value, sizeof value, BPF_ANY))
    return fail("cannot watch " + describe(process), std::strerror(errno), "watch fewer processes");
  return {};
}

Result<void> add_workers(const fiberprof_bpf& skeleton, const FiberProcess& process, SnapshotReader& reader) {
  if (!process.registry_address)
    return fail(describe(process) + " has no registry: workers that run already are not seen off their CPU");
  const auto view = RegistryView::open(process.pid, process.registry_address);
  const auto summary = view ? (*view)->summary() : tl::unexpected(view.error());
  if (!summary) return tl::unexpected(summary.error());
  const auto tids = global_tids(process.pid);
  for (const WorkerInfo& worker : summary->workers) {
    const auto tid = tids.find(worker.tid);
    if (tid == tids.end()) continue;
    fp_worker value{};
    value.record = worker.record;
    value.why.tgid = process.pid;
    value.on_ns = monotonic_ns();
    const uint32_t key = tid->second;
    if (bpf_map__update_elem(skeleton.maps.workers, &key, sizeof key, &value, sizeof value, BPF_NOEXIST) == -E2BIG)
      reader.add_worker_map_full();
  }
  return {};
}

}  // namespace fiberprof
