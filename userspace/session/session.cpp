// SPDX-License-Identifier: BSD-2-Clause
#include "session/session.h"

#include <fiberprof/probes.h>
#include <fiberprof/registry.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <set>
#include <string>
#include <utility>

#include "session/asleep.h"
#include "session/attach_probes.h"
#include "session/bpf_handles.h"
#include "session/calibration.h"
#include "session/cpu_clock.h"
#include "session/libbpf_log.h"
#include "session/preflight.h"
#include "session/processes.h"
#include "session/reader.h"
#include "session/sched_switch.h"
#include "session/skeleton.h"
#include "session/stopwatch.h"

namespace fiberprof {
namespace {

constexpr uint32_t kMostWaits = 24576, kMostDeepStacks = 4096, kMostOffCpu = 16384, kMostWorkerStacks = 8192;

// Per-CPU maps take entries x CPUs x 400 bytes of kernel memory: at most 64 MB of it, at least 1024 entries.
uint32_t per_cpu_entries(int cpus, uint32_t most) {
  return std::clamp<uint32_t>((64u << 20) / (400u * static_cast<uint32_t>(cpus)), 1024, most);
}

}  // namespace

struct Session::State {
  SessionOptions options;
  NopForm form = NopForm::nop1;
  int cpus = 1;
  UniqueSkeleton<fiberprof_bpf> skeleton;
  std::vector<UniqueLink> kernel_links;  // tp_btf
  std::optional<ProbeAttacher> probes;
  std::vector<ProcessHandle> handles;
  std::vector<std::string> warnings;
  std::unique_ptr<SnapshotReader> reader;
  bool any_attached = false;                      // a probe of waits: counting has begun
  std::set<std::pair<uint64_t, uint64_t>> files;  // attached to, or tried, by device and inode
  FiberSelection fibers;
  std::optional<AsleepWorkers> asleep;

  bool watches_workers() const { return options.off_cpu || options.on_cpu; }
  Result<void> attach_kernel();
  // In the order in which they are attached: those of waits last.
  std::vector<WantedProbe> wanted() const;
  // The probes of one file, and the workers of the processes that map it.
  Result<void> attach_file(const std::vector<const FiberProcess*>& processes);
};

std::vector<WantedProbe> Session::State::wanted() const {
  const auto& programs = skeleton->progs;
  std::vector<WantedProbe> list = {
      {"worker_start", programs.on_worker_start, false}, {"proc_sample", programs.on_proc_sample, false},
      {"queue_sample", programs.on_queue_sample, false}, {"handoff", programs.on_handoff, false},
      {"overrun", programs.on_overrun, false},
  };
  if (options.wakers)
    list.push_back({options.tier == Tier::exact ? "unpark" : "unpark_sampled", programs.on_unpark, true});
  if (options.tier == Tier::exact)
    list.push_back({"blocked", programs.on_blocked_exact, true});
  else
    list.push_back({"blocked_sampled", programs.on_blocked_sampled, true});
  // When it fires first, it is known since when the waits are watched.
  list.push_back({"fibers_sample", programs.on_fibers_sample, false});
  return list;
}

Session::Session(std::unique_ptr<State> state) : state_(std::move(state)) {}
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;
Session::~Session() {
  if (state_) detach();
}

Result<Session> Session::open(SessionOptions options) {
  if (options.processes.empty() && !options.all_of_binary) return fail("no process to watch", {}, {}, ExitCode::usage);
  if (options.wakers && !options.off_cpu)
    return fail("cannot record wakers", "what held them up is not watched", "leave out --no-off-cpu", ExitCode::usage);
  if (!options.fibers.empty() && !options.off_cpu)
    return fail("cannot tell which fiber waits", "workers are not watched", "leave out --no-off-cpu", ExitCode::usage);
  auto fibers = FiberSelection::make(options.fibers, options.processes);
  if (!fibers) return tl::unexpected(fibers.error());
  if (auto ready = preflight(); !ready) return tl::unexpected(ready.error());
  clear_libbpf_log();
  auto state = std::make_unique<State>();
  state->cpus = libbpf_num_possible_cpus();
  if (state->cpus < 1) return fail("cannot tell the number of CPUs", std::strerror(-state->cpus));
  for (const FiberProcess& process : options.processes) {
    auto handle = ProcessHandle::open(process.pid);
    if (!handle) return tl::unexpected(handle.error());
    state->handles.push_back(std::move(*handle));
  }
  state->form = options.nop_form ? *options.nop_form : best_nop_form();
  state->fibers = std::move(*fibers);
  state->options = std::move(options);
  state->skeleton.reset(fiberprof_bpf::open());
  if (!state->skeleton) return fail("cannot open the BPF programs", std::strerror(errno), last_libbpf_warning());
  return Session(std::move(state));
}

Result<void> Session::configure() {
  State& s = *state_;
  auto& maps = s.skeleton->maps;
  auto& programs = s.skeleton->progs;
  const bool exact = s.options.tier == Tier::exact;
  const auto size = [](uint32_t wanted, uint32_t otherwise) { return wanted ? wanted : otherwise; };
  bool ok = true;
  if (exact)
    ok = bpf_map__set_max_entries(maps.blocked, size(s.options.max_blocked, per_cpu_entries(s.cpus, kMostWaits))) == 0;
  else
    for (auto* map : {maps.blocked_slots, maps.slot_of, maps.free_slots})
      ok = ok && bpf_map__set_max_entries(map, size(s.options.max_blocked, kMostWaits)) == 0;
  const uint32_t off_cpu = per_cpu_entries(s.cpus, kMostOffCpu);
  ok = ok && bpf_map__set_max_entries(maps.offcpu, size(s.options.max_off_cpu, off_cpu)) == 0;
  ok = ok && bpf_map__set_max_entries(maps.stacks, size(s.options.max_stacks, kMostWaits)) == 0;
  ok = ok && bpf_map__set_max_entries(maps.deep_stacks, size(s.options.max_stacks, kMostDeepStacks)) == 0;
  const uint32_t worker_stacks = size(s.options.max_worker_stacks, kMostWorkerStacks);
  ok = ok && bpf_map__set_max_entries(maps.worker_stacks, worker_stacks) == 0;
  ok = ok && bpf_map__set_max_entries(maps.oncpu, size(s.options.max_on_cpu, std::max(worker_stacks / 4, 1u))) == 0;
  ok = ok && bpf_map__set_max_entries(maps.workers, size(s.options.max_workers, 16384)) == 0;
  if (!s.options.wakers)
    for (auto* map : {maps.pasts, maps.links, maps.chains}) ok = ok && bpf_map__set_max_entries(map, 1) == 0;
  ok = ok && bpf_map__set_max_entries(maps.queues, size(s.options.max_queues, 4096)) == 0;

  ok = ok && bpf_program__set_autoload(programs.on_blocked_exact, exact) == 0;
  ok = ok && bpf_program__set_autoload(programs.on_blocked_sampled, !exact) == 0;
  ok = ok && bpf_program__set_autoload(programs.on_unpark, s.options.wakers) == 0;
  for (auto* program : {programs.on_switch, programs.on_task})
    ok = ok && bpf_program__set_autoload(program, s.options.off_cpu) == 0;
  ok = ok && bpf_program__set_autoload(programs.on_wakeup, s.options.off_cpu && s.options.wake_ups) == 0;
  ok = ok && bpf_program__set_autoload(programs.on_cpu_clock, s.options.on_cpu) == 0;
  for (auto* program : {programs.on_thread_exit, programs.on_exec})
    ok = ok && bpf_program__set_autoload(program, s.watches_workers()) == 0;
  if (!ok) return fail("cannot configure the BPF programs", last_libbpf_warning());

  s.skeleton->rodata->filter_processes = !s.options.all_of_binary && s.options.processes.size() > 1;
  // The inode number of the initial pid namespace is fixed (PROC_PID_INIT_INO).
  struct stat own {};
  if (stat("/proc/self/ns/pid", &own) == 0 && own.st_ino != 0xeffffffcu) {
    auto calibration = Calibration::open();
    const auto level = calibration ? calibration->pid_level() : tl::unexpected(calibration.error());
    if (!level) return tl::unexpected(level.error());
    s.skeleton->rodata->pid_level = *level;
    s.skeleton->rodata->pid_namespace = static_cast<uint32_t>(own.st_ino);
  }
  s.skeleton->rodata->worker_current_at = offsetof(fiberprof_worker, current_fiber);
  static_assert(offsetof(fiberprof_worker, fiber_entry) == offsetof(fiberprof_worker, current_fiber) + 8 &&
                offsetof(fiberprof_worker, fiber) == offsetof(fiberprof_worker, current_fiber) + 16);
  s.skeleton->rodata->fiber_entry_at = offsetof(fiberprof_fiber, entry);
  s.skeleton->rodata->max_oncpu_leaves = bpf_map__max_entries(maps.leaves) / 2;
  s.fibers.configure(*s.skeleton);
  s.skeleton->rodata->min_wait_ns = s.options.min_wait_ns;
  s.skeleton->rodata->reasons = s.options.reasons;
  s.skeleton->rodata->wakers = s.options.wakers;
  s.skeleton->rodata->rough_bit = exact ? 0 : FIBERPROF_PARKED_ROUGH;
  s.skeleton->rodata->switch_has_state = sched_switch_passes_state();
  return {};
}

Result<void> Session::load() {
  State& s = *state_;
  clear_libbpf_log();
  if (const int error = fiberprof_bpf::load(s.skeleton.get())) {
    utsname kernel{};
    uname(&kernel);
    std::string why = std::strerror(-error);
    if (const auto line = last_libbpf_warning(); !line.empty()) why += " (" + line + ")";
    return fail(std::string("the kernel ") + kernel.release + " refused the BPF programs", why,
                error == -EPERM ? "run as root or with CAP_BPF and CAP_PERFMON; before Linux 5.11 also raise ulimit -l"
                                : "run fiberprof doctor");
  }
  for (const FiberProcess& process : s.options.processes)
    if (auto added = add_process(*s.skeleton, process); !added) return added;
  if (auto filled = s.fibers.fill(*s.skeleton); !filled) return filled;
  s.reader = std::make_unique<SnapshotReader>(*s.skeleton, s.cpus);
  return s.reader->open();
}

Result<void> Session::State::attach_file(const std::vector<const FiberProcess*>& processes) {
  const FiberBinary& binary = processes.front()->binary;
  files.emplace(binary.device, binary.inode);
  for (const WantedProbe& probe : wanted()) {
    const bool of_waits =
        probe.program == skeleton->progs.on_blocked_exact || probe.program == skeleton->progs.on_blocked_sampled;
    if (of_waits && asleep)
      if (auto noted = asleep->note(); !noted) warnings.push_back(noted.error().message());
    if (of_waits && !any_attached) skeleton->bss->attached_ns = monotonic_ns();
    if (auto attached = probes->attach(*processes.front(), probe); !attached) return attached;
    any_attached |= of_waits;
    // Workers that start from now on announce themselves.
    if (!watches_workers() || std::strcmp(probe.name, "worker_start") != 0) continue;
    for (const FiberProcess* process : processes)
      if (auto added = add_workers(*skeleton, *process, *reader); !added && !options.all_of_binary)
        warnings.push_back(added.error().message());
  }
  return {};
}

// What watches worker threads. Wake-ups before switches: a thread that is seen leaving its CPU is seen waking up.
Result<void> Session::State::attach_kernel() {
  auto& programs = skeleton->progs;
  std::vector<const bpf_program*> traces;
  if (watches_workers()) traces = {programs.on_thread_exit, programs.on_exec};
  if (options.off_cpu && options.wake_ups) traces.push_back(programs.on_wakeup);
  if (options.off_cpu) traces.push_back(programs.on_switch);
  for (const bpf_program* program : traces) {
    UniqueLink link(bpf_program__attach_trace(program));
    if (!link)
      return fail(std::string("cannot attach to ") + bpf_program__section_name(program), std::strerror(errno),
                  "run fiberprof doctor, or use --no-off-cpu");
    kernel_links.push_back(std::move(link));
  }
  if (options.off_cpu) {
    auto opened = AsleepWorkers::open(*skeleton, fibers, *reader);
    if (!opened)
      warnings.push_back(opened.error().message());  // their first time off the CPU is not seen
    else
      asleep.emplace(std::move(*opened));
  }
  if (!options.on_cpu) return {};
  auto clocks = attach_cpu_clock(programs.on_cpu_clock, cpus);
  if (!clocks) {
    warnings.push_back(clocks.error().message());  // all else is as good without
    return {};
  }
  for (UniqueLink& link : *clocks) kernel_links.push_back(std::move(link));
  return {};
}

Result<void> Session::attach() {
  State& s = *state_;
  const auto steps = [&]() -> Result<void> {
    clear_libbpf_log();
    if (auto done = s.attach_kernel(); !done) return done;
    s.skeleton->bss->attached_ns = monotonic_ns();
    s.probes.emplace(s.form, s.options.all_of_binary || s.options.processes.size() > 1);
    for (const auto& processes : by_file(s.options.processes))
      if (auto attached = s.attach_file(processes); !attached) return attached;
    for (std::string& warning : s.probes->take_warnings()) s.warnings.push_back(std::move(warning));
    return {};
  };
  auto done = steps();
  if (!done) detach();
  return done;
}

Result<void> Session::adopt(const FiberProcess& process) {
  State& s = *state_;
  if (auto added = add_process(*s.skeleton, process); !added) return added;
  if (s.files.count({process.binary.device, process.binary.inode}) == 0) {
    auto attached = s.attach_file({&process});
    for (std::string& warning : s.probes->take_warnings()) s.warnings.push_back(std::move(warning));
    return attached;
  }
  // One that is just starting has no registry that is ready yet, and its workers announce themselves.
  if (s.watches_workers() && add_workers(*s.skeleton, process, *s.reader) && s.asleep) (void)s.asleep->note();
  return {};
}

void Session::forget(const Snapshot& part) { state_->reader->forget(part); }

void Session::release(uint32_t pid) { bpf_map__delete_elem(state_->skeleton->maps.processes, &pid, sizeof pid, 0); }

Result<Session> Session::start(SessionOptions options) {
  auto session = open(std::move(options));
  if (!session) return session;
  for (const auto step : {&Session::configure, &Session::load, &Session::attach})
    if (auto done = ((*session).*step)(); !done) return tl::unexpected(done.error());
  return session;
}

Result<Snapshot> Session::snapshot() {
  if (!state_->reader) return fail("this session has not been loaded");
  return state_->reader->read();
}

uint64_t Session::attached_ns() const { return state_->skeleton->bss ? state_->skeleton->bss->attached_ns : 0; }

void Session::detach() {
  if (state_->probes) state_->probes->detach();
  state_->asleep.reset();
  state_->kernel_links.clear();
}

const SessionOptions& Session::options() const { return state_->options; }
const FiberSelection& Session::fibers() const { return state_->fibers; }
NopForm Session::nop_form() const { return state_->form; }
const std::vector<std::string>& Session::warnings() const { return state_->warnings; }

size_t Session::alive() const {
  return static_cast<size_t>(
      std::count_if(state_->handles.begin(), state_->handles.end(), [](const auto& handle) { return handle.alive(); }));
}

std::vector<int> Session::pidfds() const {
  std::vector<int> fds;
  for (const auto& handle : state_->handles) fds.push_back(handle.fd());
  return fds;
}

}  // namespace fiberprof
