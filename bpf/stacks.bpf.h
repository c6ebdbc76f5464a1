/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Stacks: walked into scratch memory, stored once under a hash of their frames.
 *
 * User stacks are walked here rather than by bpf_get_stack, which reads every frame record with an access of its
 * own. A window of up to 1 KiB is copied at once (never across a page boundary, so that a stack that ends at the end
 * of a page can be read to its last byte) and the records in it are followed for a few instructions each.
 *
 * Scratch memory is per CPU, but a uprobe program may be preempted by another fiber's event on the same CPU. Each
 * use first writes its own mark and afterwards checks that it is still there; if not, it starts over. No atomic
 * exchange is needed (5.10 has none): whoever was preempted finds the mark changed.
 */
#ifndef FIBERPROF_BPF_STACKS_H
#define FIBERPROF_BPF_STACKS_H

#include "maps.bpf.h"

#define WINDOW 1024
#define PAGE 4096

struct fp_scratch {
  u64 mark;
  u64 base; /* the window holds user memory [base, base + length) */
  u64 length;
  struct fp_stack stack;
  u8 window[WINDOW + 16];
};

enum { SCRATCH_PROBE, SCRATCH_SWITCH, SCRATCH_COUNT };

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, SCRATCH_COUNT);
  __type(key, __u32);
  __type(value, struct fp_scratch);
} scratch SEC(".maps");

/* Frame-pointer walk from (ip, fp). Ends at a zero frame pointer or return address, or where the chain stops
 * growing upwards. Returns whether memory could be read all the way. */
static __noinline int walk(struct fp_scratch* s, u64 ip, u64 fp) {
  u32 n = 1;
  int ok = 1;
  s->stack.frames[0] = ip;
  s->stack.kernel = 0;
  u64 base = 0, length = 0;
  for (u32 i = 1; i < FP_MAX_FRAMES; i++) {
    if (!fp || fp & 7) break;
    u64 at = fp - base;
    if (at + 16 > length || at > WINDOW) {
      u64 room = PAGE - (fp & (PAGE - 1));
      if (room < 16) room = 16;
      if (room > WINDOW) room = WINDOW;
      if (bpf_probe_read_user(s->window, room, (void*)fp)) {
        ok = 0;
        break;
      }
      base = fp;
      length = room;
      at = 0;
    }
    at &= WINDOW - 1;
    u64 next = *(u64*)(s->window + at);
    u64 ret = *(u64*)(s->window + at + 8);
    if (!ret) break;
    s->stack.frames[i] = ret;
    n = i + 1;
    if (next <= fp) {
      fp = 0;
      break;
    }
    fp = next;
  }
  s->stack.n = n;
  if (n == FP_MAX_FRAMES && fp) lost(FP_LOST_STACK_TRUNCATED, 1);
  return ok;
}

static __noinline u64 hash_frames(const struct fp_stack* stack) {
  u64 hash = 0x9e3779b97f4a7c15ull ^ stack->n;
  for (u32 i = 0; i < FP_MAX_FRAMES; i++) {
    if (i >= stack->n) break;
    hash = (hash ^ stack->frames[i]) * 0xff51afd7ed558ccdull;
    hash ^= hash >> 32;
  }
  return hash ? hash : 1;
}

static __noinline int same_frames(const struct fp_stack* a, const struct fp_stack* b) {
  if (a->n != b->n) return 0;
  for (u32 i = 0; i < FP_MAX_FRAMES; i++) {
    if (i >= a->n) break;
    if (a->frames[i] != b->frames[i]) return 0;
  }
  return 1;
}

/* The key under which the stack in scratch is stored; 0: it is not. */
static __always_inline u64 store_stack(const struct fp_stack* stack) {
  u64 key = hash_frames(stack);
  for (int attempt = 0; attempt < 3; attempt++) {
    const struct fp_stack* known = bpf_map_lookup_elem(&stacks, &key);
    if (!known) {
      if (stacks_full) {
        lost(FP_LOST_STACKS_FULL, 1);
        return 0;
      }
      long error = bpf_map_update_elem(&stacks, &key, stack, BPF_NOEXIST);
      if (!error) return key;
      if (error == -E2BIG) {
        stacks_full = 1;
        lost(FP_LOST_STACKS_FULL, 1);
        return 0;
      }
      if (error != -EEXIST) {
        lost(FP_LOST_MAP_BUSY, 1);
        return 0;
      }
      known = bpf_map_lookup_elem(&stacks, &key); /* another CPU was first, most likely with the same stack */
      if (!known) return 0;
    }
    if (same_frames(known, stack)) return key;
    key = (key + 0x9e3779b97f4a7c15ull) * 0xff51afd7ed558ccdull;
    if (!key) key = 1;
  }
  lost(FP_LOST_STACK_COLLISION, 1);
  return 0;
}

/* User stack of the current task, whose user registers are known. `slot`: SCRATCH_*. */
static __always_inline u64 user_stack(u32 slot, u64 ip, u64 fp) {
  struct fp_scratch* s = bpf_map_lookup_elem(&scratch, &slot);
  if (!s) return 0;
  u64 mine = bpf_get_current_pid_tgid();
  for (int attempt = 0; attempt < 3; attempt++) {
    *(volatile u64*)&s->mark = mine;
    int complete = walk(s, ip, fp);
    u64 key = store_stack(&s->stack);
    if (*(volatile u64*)&s->mark == mine) {
      if (!complete) lost(FP_LOST_STACK_WALK, 1);
      return key;
    }
  }
  lost(FP_LOST_SCRATCH, 1);
  return 0;
}

#endif
