// SPDX-License-Identifier: BSD-2-Clause
#include "session/cpu_clock.h"

#include <linux/perf_event.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace fiberprof {

Result<std::vector<UniqueLink>> attach_cpu_clock(const bpf_program* program, int cpus) {
  std::vector<UniqueLink> links;
  for (int cpu = 0; cpu < cpus; ++cpu) {
    perf_event_attr attr{};
    attr.size = sizeof attr;
    attr.type = PERF_TYPE_SOFTWARE;
    attr.config = PERF_COUNT_SW_CPU_CLOCK;
    attr.freq = 1;
    attr.sample_freq = kCpuClockHz;
    attr.exclude_idle = 1;
    const auto fd = static_cast<int>(syscall(SYS_perf_event_open, &attr, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC));
    if (fd < 0 && (errno == ENODEV || errno == ENXIO)) continue;  // possible, but not online
    if (fd < 0) return fail("cannot sample the CPU clock", std::strerror(errno), "run as root or with CAP_PERFMON");
    UniqueLink link(bpf_program__attach_perf_event(program, fd));  // owns fd from here, if it succeeds
    if (!link) {
      const int error = errno;
      close(fd);
      return fail("cannot sample the CPU clock", std::strerror(error));
    }
    links.push_back(std::move(link));
  }
  return links;
}

}  // namespace fiberprof
