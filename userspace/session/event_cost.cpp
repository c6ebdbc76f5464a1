// SPDX-License-Identifier: BSD-2-Clause
#include "session/event_cost.h"

#include <bpf/bpf.h>

#include <cerrno>
#include <cstring>

#include "session/bpf_handles.h"
#include "session/calibration.h"
#include "session/libbpf_log.h"
#include "session/nop_form.h"
#include "session/nop_sites.h"
#include "session/skeleton.h"
#include "session/stopwatch.h"

namespace fiberprof {
namespace {

constexpr int kSite = kCalibrationSites - 1, kDeep = 64;

// Runs `body` below `depth` more frames.
__attribute__((noinline, noipa)) double below(int depth, double (*body)()) {
  const double result = depth ? below(depth - 1, body) : body();
  __asm__ volatile("" ::: "memory");  // no tail call
  return result;
}

double hit() {
  return fastest(8, 200, [] { calibration_site(kSite); });
}

}  // namespace

Result<EventCost> measure_event_cost() {
  clear_libbpf_log();
  const UniqueSkeleton<fiberprof_bpf> skeleton(fiberprof_bpf::open());
  if (!skeleton) return fail("cannot open the BPF programs", std::strerror(errno));
  bpf_program* program = nullptr;
  bpf_object__for_each_program(program, skeleton->obj)
      bpf_program__set_autoload(program, program == skeleton->progs.on_blocked_exact);
  for (auto* map : {skeleton->maps.blocked, skeleton->maps.offcpu, skeleton->maps.stacks, skeleton->maps.workers})
    bpf_map__set_max_entries(map, 64);
  if (const int error = fiberprof_bpf::load(skeleton.get()))
    return fail("cannot load the BPF programs", std::strerror(-error), last_libbpf_warning());

  const NopForm form = best_nop_form();
  const auto offset = own_file_offset(calibration_site_address(kSite) + nop_form_offset(form));
  if (!offset) return fail("cannot find the calibration probe in this program");
  LIBBPF_OPTS(bpf_uprobe_opts, opts);
  const UniqueLink link(
      bpf_program__attach_uprobe_opts(skeleton->progs.on_blocked_exact, 0, "/proc/self/exe", *offset, &opts));
  if (!link) return fail("cannot attach a uprobe to fiberprof itself", std::strerror(errno));

  EventCost cost;
  below(0, hit);
  const double shallow = below(0, hit), deep = below(kDeep, hit);
  cost.per_frame_ns = deep > shallow ? (deep - shallow) / kDeep : 0;
  // How deep "shallow" is, the program itself has found out.
  uint64_t key = 0;
  fp_stack stack{};
  const int stacks = bpf_map__fd(skeleton->maps.stacks);
  uint32_t fewest = FP_MAX_FRAMES;
  for (int more = bpf_map_get_next_key(stacks, nullptr, &key); !more; more = bpf_map_get_next_key(stacks, &key, &key))
    if (bpf_map_lookup_elem(stacks, &key, &stack) == 0 && stack.n < fewest) fewest = stack.n;
  cost.fixed_ns = shallow - cost.per_frame_ns * fewest;
  return cost;
}

}  // namespace fiberprof
