// SPDX-License-Identifier: BSD-2-Clause
// Programs that fiberprof attaches to itself to learn what this kernel can do and what it costs.
#include "kernel.h"

SEC("uprobe")
int on_calibration_site(struct pt_regs* ctx) {
  (void)ctx;
  return 0;
}

__u64 switches = 0;

SEC("tp_btf/sched_switch")
int on_calibration_switch(u64* ctx) {
  (void)ctx;
  switches = 1;
  return 0;
}

/* What one stack walk costs: `walk_frames` frames with bpf_get_stack. Doctor compares it with an empty hit. */
struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, __u64[127]);
} frames SEC(".maps");

__u64 frames_seen = 0;

SEC("uprobe")
int on_calibration_stack(struct pt_regs* ctx) {
  u32 zero = 0;
  void* into = bpf_map_lookup_elem(&frames, &zero);
  if (!into) return 0;
  long size = bpf_get_stack(ctx, into, 127 * 8, BPF_F_USER_STACK);
  if (size > 0) frames_seen = size / 8;
  return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
