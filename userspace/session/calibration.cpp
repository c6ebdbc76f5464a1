// SPDX-License-Identifier: BSD-2-Clause
#include "session/calibration.h"

#include <bpf/bpf.h>
#include <link.h>
#include <time.h>

#include <cerrno>
#include <cstring>
#include <optional>
#include <vector>

#include "session/attach_hint.h"
#include "session/bpf_handles.h"
#include "session/libbpf_log.h"
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wunused-function"
#include "calibrate.skel.h"
#pragma GCC diagnostic pop

namespace fiberprof {
std::optional<uint64_t> own_file_offset(uint64_t address) {
  struct Search {
    uint64_t address;
    std::optional<uint64_t> offset;
  } search{address, {}};
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* data) {
        auto& wanted = *static_cast<Search*>(data);
        for (int i = 0; i < info->dlpi_phnum; ++i) {
          const auto& segment = info->dlpi_phdr[i];
          const uint64_t start = info->dlpi_addr + segment.p_vaddr;
          if (segment.p_type == PT_LOAD && wanted.address >= start && wanted.address < start + segment.p_filesz)
            wanted.offset = wanted.address - start + segment.p_offset;
        }
        return 1;
      },
      &search);
  return search.offset;
}

struct Calibration::State {
  UniqueSkeleton<calibrate_bpf> skeleton;
  std::vector<UniqueLink> links;  // after the skeleton: detached before it goes
};

Calibration::Calibration(std::unique_ptr<State> state) : state_(std::move(state)) {}
Calibration::Calibration(Calibration&&) noexcept = default;
Calibration& Calibration::operator=(Calibration&&) noexcept = default;
Calibration::~Calibration() = default;

Result<Calibration> Calibration::open() {
  clear_libbpf_log();
  auto state = std::make_unique<State>();
  state->skeleton.reset(calibrate_bpf::open());
  const int error = state->skeleton ? calibrate_bpf::load(state->skeleton.get()) : -errno;
  if (error) return fail("cannot load a BPF program", std::strerror(-error), last_libbpf_warning());
  return Calibration(std::move(state));
}

Result<void> Calibration::attach(uint64_t address, CalibrationProgram program) {
  const auto offset = own_file_offset(address);
  if (!offset) return fail("cannot find the calibration probe in this program");
  return attach({.path = "/proc/self/exe", .offset = *offset}, program);
}

Result<void> Calibration::attach(const CalibrationSite& site, CalibrationProgram program) {
  auto* const bpf = program == CalibrationProgram::empty ? state_->skeleton->progs.on_calibration_site
                                                         : state_->skeleton->progs.on_calibration_walk;
  LIBBPF_OPTS(bpf_uprobe_opts, opts);
  opts.ref_ctr_offset = site.semaphore_offset;
  UniqueLink link(bpf_program__attach_uprobe_opts(bpf, site.pid, site.path.c_str(), site.offset, &opts));
  if (!link) {
    const int error = errno;
    return fail("cannot attach a uprobe to " + site.path, std::strerror(error), attach_hint(error));
  }
  state_->links.push_back(std::move(link));
  return {};
}

Result<bool> Calibration::switches_seen() {
  const UniqueLink link(bpf_program__attach_trace(state_->skeleton->progs.on_calibration_switch));
  if (!link) return fail("cannot attach to tp_btf/sched_switch", std::strerror(errno));
  state_->skeleton->bss->switches = 0;
  const timespec moment{0, 1000000};
  nanosleep(&moment, nullptr);
  return *static_cast<volatile __u64*>(&state_->skeleton->bss->switches) != 0;
}

Result<uint32_t> Calibration::pid_level() {
  LIBBPF_OPTS(bpf_test_run_opts, opts);
  const int error = bpf_prog_test_run_opts(bpf_program__fd(state_->skeleton->progs.own_pid_level), &opts);
  if (error) return fail("cannot tell the depth of this pid namespace", std::strerror(-error), "run it on the host");
  return *static_cast<volatile __u32*>(&state_->skeleton->bss->level);
}

}  // namespace fiberprof
