// SPDX-License-Identifier: BSD-2-Clause
#include "session/event_cost.h"

#include <bpf/bpf.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "session/bpf_handles.h"
#include "session/calibration.h"
#include "session/libbpf_log.h"
#include "session/nop_form.h"
#include "session/nop_sites.h"
#include "session/skeleton.h"
#include "session/stopwatch.h"

namespace fiberprof {
namespace {

constexpr int kComplete = kCalibrationSites - 1, kWalk = kCalibrationSites - 2, kEmpty = 0;
constexpr int kShallow = 8, kDeep = 72;

// The best of each site's batches, in turns.
std::array<double, kCalibrationSites> costs() {
  std::array<double, kCalibrationSites> best;
  best.fill(1e18);
  for (int round = 0; round < 8; ++round)
    for (const int site : {kEmpty, kWalk, kComplete})
      best[static_cast<size_t>(site)] =
          std::min(best[static_cast<size_t>(site)], fastest(1, 200, [site] { calibration_site(site); }));
  return best;
}

// Below `depth` more frames.
__attribute__((noinline, noipa)) std::array<double, kCalibrationSites> costs_below(int depth) {
  const auto result = depth ? costs_below(depth - 1) : costs();
  __asm__ volatile("" ::: "memory");  // no tail call
  return result;
}

}  // namespace

Result<EventCost> measure_event_cost() {
  clear_libbpf_log();
  const UniqueSkeleton<fiberprof_bpf> skeleton(fiberprof_bpf::open());
  if (!skeleton) return fail("cannot open the BPF programs", std::strerror(errno));
  bpf_program* program = nullptr;
  bpf_object__for_each_program(program, skeleton->obj)
      bpf_program__set_autoload(program, program == skeleton->progs.on_blocked_exact);
  for (auto* map : {skeleton->maps.blocked, skeleton->maps.offcpu, skeleton->maps.stacks, skeleton->maps.worker_stacks,
                    skeleton->maps.deep_stacks, skeleton->maps.workers})
    bpf_map__set_max_entries(map, 64);
  if (const int error = fiberprof_bpf::load(skeleton.get()))
    return fail("cannot load the BPF programs", std::strerror(-error), last_libbpf_warning());

  const uint64_t form = nop_form_offset(best_nop_form());
  auto calibration = Calibration::open();
  if (!calibration) return tl::unexpected(calibration.error());
  for (const int site : {kEmpty, kWalk}) {
    const auto kind = site == kEmpty ? CalibrationProgram::empty : CalibrationProgram::walk;
    if (auto attached = calibration->attach(calibration_site_address(site) + form, kind); !attached)
      return tl::unexpected(attached.error());
  }
  const auto offset = own_file_offset(calibration_site_address(kComplete) + form);
  if (!offset) return fail("cannot find the calibration probe in this program");
  LIBBPF_OPTS(bpf_uprobe_opts, opts);
  const UniqueLink link(
      bpf_program__attach_uprobe_opts(skeleton->progs.on_blocked_exact, 0, "/proc/self/exe", *offset, &opts));
  if (!link) return fail("cannot attach a uprobe to fiberprof itself", std::strerror(errno));

  costs_below(0);  // a kernel that turns the nop into a call does so at one of the first hits
  const auto shallow = costs_below(kShallow), deep = costs_below(kDeep);
  // How deep that is, the program itself has found out.
  std::vector<uint32_t> depths;
  uint64_t key = 0;
  fp_stack stack{};
  for (const int stacks : {bpf_map__fd(skeleton->maps.stacks), bpf_map__fd(skeleton->maps.deep_stacks)})
    for (int more = bpf_map_get_next_key(stacks, nullptr, &key); !more; more = bpf_map_get_next_key(stacks, &key, &key))
      if (bpf_map_lookup_elem(stacks, &key, &stack) == 0) depths.push_back(stack.n);
  std::sort(depths.begin(), depths.end());
  if (depths.size() < 3 || depths.front() == depths.back())
    return fail("the complete event has not counted its stacks");
  EventCost cost;
  cost.empty_ns = std::min(shallow[kEmpty], deep[kEmpty]);
  cost.shallow = {depths.front() + kShallow, shallow[kComplete], shallow[kWalk]};
  cost.deep = {depths.back(), deep[kComplete], deep[kWalk]};
  return cost;
}

}  // namespace fiberprof
