// SPDX-License-Identifier: BSD-2-Clause
// Programs that fiberprof attaches to itself to learn what this kernel can do and what it costs.
#include "kernel.h"

SEC("uprobe")
int on_calibration_site(struct pt_regs* ctx) {
  (void)ctx;
  return 0;
}

/* What the kernel's own walk of a user stack costs: beside the empty program, what a complete event is judged by. */
struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, __u64[127]);
} walked SEC(".maps");

SEC("uprobe")
int on_calibration_walk(struct pt_regs* ctx) {
  u32 zero = 0;
  void* frames = bpf_map_lookup_elem(&walked, &zero);
  if (frames) bpf_get_stack(ctx, frames, 127 * sizeof(u64), BPF_F_USER_STACK);
  return 0;
}

__u64 switches = 0;

SEC("tp_btf/sched_switch")
int on_calibration_switch(u64* ctx) {
  (void)ctx;
  switches = 1;
  return 0;
}

__u32 level = 0;

/* Run by fiberprof itself (BPF_PROG_RUN): how deep its pid namespace is nested, which nothing in /proc tells. */
SEC("raw_tp")
int own_pid_level(void* ctx) {
  (void)ctx;
  level = BPF_CORE_READ((struct task_struct*)bpf_get_current_task(), thread_pid, level);
  return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
