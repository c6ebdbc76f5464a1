// SPDX-License-Identifier: BSD-2-Clause
#include "session/sched_switch.h"

#include <bpf/btf.h>

#include <memory>

namespace fiberprof {

bool sched_switch_passes_state() {
  struct End {
    void operator()(btf* types) const { btf__free(types); }
  };
  const std::unique_ptr<btf, End> types(btf__load_vmlinux_btf());
  if (!types) return false;
  // typedef void (*btf_trace_sched_switch)(void *, bool, task_struct *, task_struct *[, unsigned int]);
  const int id = btf__find_by_name_kind(types.get(), "btf_trace_sched_switch", BTF_KIND_TYPEDEF);
  const btf_type* type = id > 0 ? btf__type_by_id(types.get(), static_cast<__u32>(id)) : nullptr;
  for (int depth = 0; type && depth < 4 && !btf_is_func_proto(type); ++depth)
    type = btf_is_typedef(type) || btf_is_ptr(type) ? btf__type_by_id(types.get(), type->type) : nullptr;
  return type && btf_is_func_proto(type) && btf_vlen(type) >= 5;
}

}  // namespace fiberprof
