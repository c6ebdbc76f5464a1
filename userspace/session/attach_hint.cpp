// SPDX-License-Identifier: BSD-2-Clause
#include "session/attach_hint.h"

#include <sys/capability.h>

#include <cerrno>
#include <memory>
#include <type_traits>

namespace fiberprof {

std::string attach_hint(int error) {
  if (error != EPERM && error != EACCES) return "run fiberprof doctor";
  struct Free {
    void operator()(cap_t capabilities) const { cap_free(capabilities); }
  };
  const std::unique_ptr<std::remove_pointer_t<cap_t>, Free> mine(cap_get_proc());
  cap_flag_value_t admin = CAP_CLEAR;
  if (mine && cap_get_flag(mine.get(), CAP_SYS_ADMIN, CAP_EFFECTIVE, &admin) == 0 && admin == CAP_SET)
    return "something else forbids it, a security module perhaps: see the kernel's log";
  // Seen on 6.18: all else is allowed with CAP_BPF and CAP_PERFMON, the uprobe is not.
  return "this kernel wants CAP_SYS_ADMIN for uprobes: run as root, or add cap_sys_admin to what setcap gave";
}

}  // namespace fiberprof
