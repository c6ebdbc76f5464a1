// SPDX-License-Identifier: BSD-2-Clause
#include "session/attach_probes.h"

#include <signal.h>

#include <cerrno>
#include <cstring>
#include <map>

#include "session/attach_hint.h"

namespace fiberprof {
namespace {

bool is_usable_at(const Probe& probe, NopForm form) {
  switch (form) {
    case NopForm::nop1:
      return probe.nop1;
    case NopForm::nop10:
      return probe.nop10;
    case NopForm::nop5:
      return probe.nop5;
  }
  return false;
}

}  // namespace

std::string describe(const FiberProcess& process) {
  return "pid " + std::to_string(process.pid) + " (" + process.name + ")";
}

Result<void> ProbeAttacher::attach(const FiberProcess& process, const WantedProbe& wanted) {
  size_t attached = 0;
  std::string mismatch;
  for (const Probe& probe : process.binary.probes) {
    if (probe.name != wanted.name) continue;
    if (!probe.mismatch.empty()) {
      mismatch = probe.mismatch;
      continue;
    }
    const NopForm at = is_usable_at(probe, form_) ? form_ : NopForm::nop1;
    LIBBPF_OPTS(bpf_uprobe_opts, opts);
    opts.ref_ctr_offset = probe.semaphore_offset;
    const auto pid = static_cast<pid_t>(process.pid);
    UniqueLink link(bpf_program__attach_uprobe_opts(wanted.program, by_file_ ? -1 : pid, process.binary.path.c_str(),
                                                    probe.offset + nop_form_offset(at), &opts));
    if (!link) {
      const int error = errno;
      const std::string what = std::string("cannot attach to fiber:") + wanted.name + " of " + describe(process);
      if (error == ESRCH || (error == ENOENT && kill(pid, 0) < 0)) return fail(what, "the process has ended");
      return fail(what, std::strerror(error), attach_hint(error));
    }
    links_.push_back(std::move(link));
    ++attached;
  }
  if (attached) return {};
  const std::string what = describe(process) + " has no usable probe fiber:" + wanted.name;
  if (wanted.required) return fail(what, mismatch, "its runtime must fire it: see include/fiberprof/probes.h");
  warnings_.push_back(what + (mismatch.empty() ? "" : ": " + mismatch));
  return {};
}

std::vector<std::vector<const FiberProcess*>> by_file(const std::vector<FiberProcess>& processes) {
  std::map<std::pair<uint64_t, uint64_t>, size_t> known;
  std::vector<std::vector<const FiberProcess*>> files;
  for (const FiberProcess& process : processes) {
    const auto [at, added] = known.try_emplace({process.binary.device, process.binary.inode}, files.size());
    if (added) files.emplace_back();
    files[at->second].push_back(&process);
  }
  return files;
}

}  // namespace fiberprof
