/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * User stacks of workers at sched_switch, with their inner ends.
 *
 * A worker mostly sleeps inside the C library, which has no frame pointers. switch_stack() looks for the caller by the
 * look of the words on the stack, which may miss frames or take an old word for one. Therefore registers and the
 * innermost part of the stack are kept for userspace, which has the unwind tables and knows (symbol/leaf_unwind.h).
 * Only when a stack is new: later switches at the same place cost one map lookup.
 */
#ifndef FIBERPROF_BPF_LEAF_H
#define FIBERPROF_BPF_LEAF_H

#include "stacks.bpf.h"

struct fp_leaf_scratch {
  struct fp_leaf leaf;
  u8 beyond[FP_LEAF_BYTES]; /* for the verifier: it adds the largest offset to the largest length */
};

/* Interrupts are off in sched_switch: nobody else uses this CPU's meanwhile. */
struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct fp_leaf_scratch);
} leaf_scratch SEC(".maps");

/* Keeps one more only if there are fewer than `most`. */
static __always_inline void keep_leaf(u64 key, const struct pt_regs* regs, u32 most) {
  if (bpf_map_lookup_elem(&leaves, &key)) return;
  u32 zero = 0;
  u32 slot = SCRATCH_SWITCH;
  struct fp_leaf_scratch* s = bpf_map_lookup_elem(&leaf_scratch, &zero);
  const struct fp_scratch* walked = bpf_map_lookup_elem(&scratch, &slot);
  if (!s || !walked) return;
  if (leaves_full || leaves_kept >= most) goto missing;
  u64 sp = REG_SP(regs);
  s->leaf.ip = REG_IP(regs);
  s->leaf.sp = sp;
  s->leaf.fp = REG_FP(regs);
  s->leaf.lr = REG_LR(regs);
  s->leaf.from = walked->from;
  s->leaf.guessed = walked->extra[0] ? walked->extra[1] ? 2 : 1 : 0;
  /* Up to the end of the page, which is there as the thread has just used it; the next may be the end of the stack. */
  u64 first = PAGE - (sp & (PAGE - 1));
  if (first >= FP_LEAF_BYTES) {
    if (bpf_probe_read_user(s->leaf.bytes, FP_LEAF_BYTES, (void*)sp)) goto missing;
    s->leaf.length = FP_LEAF_BYTES;
  } else {
    first &= FP_LEAF_BYTES - 1;
    if (bpf_probe_read_user(s->leaf.bytes, first, (void*)sp)) goto missing;
    s->leaf.length = first;
    if (!bpf_probe_read_user(s->leaf.bytes + first, FP_LEAF_BYTES - 1, (void*)(sp + first)))
      s->leaf.length = FP_LEAF_BYTES;
  }
  int error = insert(&leaves, &key, &s->leaf);
  if (!error) __sync_fetch_and_add(&leaves_kept, 1);
  if (!error || error == -EEXIST) return;
  if (error == -E2BIG) leaves_full = 1;
missing:
  lost(FP_LOST_LEAF, 1);
}

/* Key of the current worker's user stack; 0: not stored. */
static __always_inline u64 worker_stack(u32 tgid, const struct pt_regs* regs, int only_known, u32 most_leaves) {
  u64 key = switch_stack(tgid, regs, only_known);
  if (key && !only_known) keep_leaf(key, regs, most_leaves);
  return key;
}

#endif
