// SPDX-License-Identifier: BSD-2-Clause
#include "session/preflight.h"

#include <sys/capability.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <string_view>

namespace fiberprof {
namespace {

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

constexpr int kSysPtrace = 19, kSysAdmin = 21, kPerfmon = 38, kBpf = 39;  // linux/capability.h

bool have_capability(int capability) {
  struct Free {
    void operator()(cap_t capabilities) const { cap_free(capabilities); }
  };
  const std::unique_ptr<std::remove_pointer_t<cap_t>, Free> mine(cap_get_proc());
  cap_flag_value_t value = CAP_CLEAR;
  return mine && cap_get_flag(mine.get(), capability, CAP_EFFECTIVE, &value) == 0 && value == CAP_SET;
}

// Before 5.8 CAP_SYS_ADMIN covers the two new ones; it still does.
bool may(int capability) { return have_capability(capability) || have_capability(kSysAdmin); }

Check check_kernel() {
  utsname name{};
  uname(&name);
  Check check{"kernel", true, false, std::string(name.release) + " " + name.machine, {}};
  return check;
}

Check check_btf() {
  const bool ok = access("/sys/kernel/btf/vmlinux", R_OK) == 0;
  return {"kernel BTF", ok, true, ok ? "/sys/kernel/btf/vmlinux" : "no /sys/kernel/btf/vmlinux",
          "use a kernel built with CONFIG_DEBUG_INFO_BTF=y (Debian's and most distributions' kernels since 5.10 are)"};
}

Check check_capabilities() {
  std::string missing;
  if (!may(kBpf)) missing += " CAP_BPF";
  if (!may(kPerfmon)) missing += " CAP_PERFMON";
  Check check{"capabilities", missing.empty(), true, {}, {}};
  check.detail = missing.empty() ? "CAP_BPF, CAP_PERFMON" : "missing" + missing;
  check.hint = "run as root, or: setcap cap_bpf,cap_perfmon,cap_sys_ptrace+ep on the fiberprof binary";
  return check;
}

Check check_ptrace() {
  const bool ok = have_capability(kSysPtrace);
  Check check{"reading other processes", ok, false, {}, {}};
  const auto scope = first_line("/proc/sys/kernel/yama/ptrace_scope");
  check.detail = ok ? "CAP_SYS_PTRACE"
                    : "only processes of this user" + (scope.empty() ? std::string() : ", yama ptrace_scope " + scope);
  check.hint = "run as root or with CAP_SYS_PTRACE to see other users' processes";
  return check;
}

Check check_uprobes() {
  const std::string directory = "/sys/bus/event_source/devices/uprobe";
  const bool pmu = access((directory + "/type").c_str(), R_OK) == 0;
  const bool semaphores = access((directory + "/format/ref_ctr_offset").c_str(), R_OK) == 0;
  Check check{"uprobes with semaphores", pmu && semaphores, true, {}, {}};
  check.detail =
      pmu ? (semaphores ? "uprobe PMU, ref_ctr_offset" : "no ref_ctr_offset in the uprobe PMU") : "no " + directory;
  check.hint = pmu ? "use Linux 4.20 or later" : "use a kernel built with CONFIG_UPROBE_EVENTS=y, and mount /sys";
  return check;
}

Check check_lockdown() {
  const auto state = first_line("/sys/kernel/security/lockdown");
  const bool ok = state.find("[confidentiality]") == state.npos;
  return {"kernel lockdown", ok, true, state.empty() ? "not in use or not visible" : state,
          "confidentiality mode forbids BPF programs to read memory: boot with lockdown=integrity or without"};
}

Check check_unprivileged() {
  const auto value = first_line("/proc/sys/kernel/unprivileged_bpf_disabled");
  return {"kernel.unprivileged_bpf_disabled",
          true,
          false,
          value.empty() ? "unknown" : value + " (does not matter here)",
          {}};
}

Check check_paranoid() {
  const auto value = first_line("/proc/sys/kernel/perf_event_paranoid");
  return {"kernel.perf_event_paranoid",
          true,
          false,
          value.empty() ? "unknown" : value + (may(kPerfmon) ? " (CAP_PERFMON overrides it)" : ""),
          {}};
}

}  // namespace

std::vector<Check> preflight_checks() {
  return {check_kernel(),   check_capabilities(), check_btf(),          check_uprobes(),
          check_lockdown(), check_ptrace(),       check_unprivileged(), check_paranoid()};
}

Result<void> preflight() {
  for (const Check& check : preflight_checks())
    if (check.required && !check.ok) return fail("cannot use BPF here", check.name + ": " + check.detail, check.hint);
  return {};
}

bool may_read_memory(uint32_t pid) {
  // Permission is checked before the address: EFAULT means that the read was allowed.
  char byte = 0;
  iovec local{&byte, 1}, remote{nullptr, 1};
  return process_vm_readv(static_cast<pid_t>(pid), &local, 1, &remote, 1, 0) >= 0 || errno == EFAULT;
}

}  // namespace fiberprof
