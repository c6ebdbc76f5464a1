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
  u64 hash;
  u32 truncated;
  u32 unreadable;
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

#define HASH_START 0x9e3779b97f4a7c15ull
#define HASH_FACTOR 0xff51afd7ed558ccdull

static __always_inline u64 mix(u64 hash, u64 word) {
  hash = (hash ^ word) * HASH_FACTOR;
  return hash ^ hash >> 32;
}

/*
 * The three functions below are global on purpose: the verifier then checks each once by itself. Inlined or static,
 * it follows every number of frames through everything after the loop and gives up at a million instructions. For
 * kernels before 5.13 their arguments must be numbers, so each looks the scratch memory up again.
 */

/* Frame-pointer walk from (ip, fp) into scratch. Ends at a zero frame pointer or return address, or where the chain
 * stops growing upwards. */
__attribute__((noinline)) int walk(u32 slot, u64 ip, u64 fp) {
  struct fp_scratch* s = bpf_map_lookup_elem(&scratch, &slot);
  if (!s) return 0;
  u32 n = 1;
  u64 hash = mix(HASH_START, ip);
  s->stack.frames[0] = ip;
  s->stack.kernel = 0;
  s->truncated = 0;
  s->unreadable = 0;
  /* base and length live in memory, where the verifier does not track them: every round then looks the same to it */
  volatile u64* base = &s->base;
  volatile u64* length = &s->length;
  *length = 0;
  for (u32 i = 1; i < FP_MAX_FRAMES; i++) {
    if (!fp || fp & 7) break;
    u64 at = fp - *base;
    if (at > WINDOW || at + 16 > *length) {
      u64 room = PAGE - (fp & (PAGE - 1));
      if (room < 16) room = 16;
      if (room > WINDOW) room = WINDOW;
      if (bpf_probe_read_user(s->window, room, (void*)fp)) {
        s->unreadable = 1;
        break;
      }
      *base = fp;
      *length = room;
      at = 0;
    }
    at &= WINDOW - 1;
    u64 next = *(u64*)(s->window + at);
    u64 ret = *(u64*)(s->window + at + 8);
    if (!ret) break;
    s->stack.frames[i] = ret;
    hash = mix(hash, ret);
    n = i + 1;
    if (next <= fp) break;
    fp = next;
    if (n == FP_MAX_FRAMES) s->truncated = 1;
  }
  s->stack.n = n;
  s->hash = hash ? hash : 1;
  return 1;
}

/* Hash of a stack that the kernel walked, `n` frames of it in scratch. */
__attribute__((noinline)) int hash_frames(u32 slot) {
  struct fp_scratch* s = bpf_map_lookup_elem(&scratch, &slot);
  if (!s) return 0;
  u64 hash = HASH_START;
  for (u32 i = 0; i < FP_MAX_FRAMES; i++) {
    if (i >= s->stack.n) break;
    hash = mix(hash, s->stack.frames[i]);
  }
  s->hash = hash ? hash : 1;
  return 1;
}

enum { STACK_UNKNOWN, STACK_SAME, STACK_DIFFERENT };

/* What is stored under `key`, compared with the stack in scratch. */
__attribute__((noinline)) int compare_stack(u32 slot, u64 key) {
  struct fp_scratch* s = bpf_map_lookup_elem(&scratch, &slot);
  const struct fp_stack* known = bpf_map_lookup_elem(&stacks, &key);
  if (!s || !known) return STACK_UNKNOWN;
  if (known->n != s->stack.n) return STACK_DIFFERENT;
  for (u32 i = 0; i < FP_MAX_FRAMES; i++) {
    if (i >= known->n) break;
    if (known->frames[i] != s->stack.frames[i]) return STACK_DIFFERENT;
  }
  return STACK_SAME;
}

/* The key under which the stack in scratch is stored; 0: it is not. */
static __always_inline u64 store_stack(u32 slot, const struct fp_scratch* s) {
  u64 key = s->hash;
  for (int attempt = 0; attempt < 3; attempt++) {
    int known = compare_stack(slot, key);
    if (known == STACK_UNKNOWN) {
      if (stacks_full) {
        lost(FP_LOST_STACKS_FULL, 1);
        return 0;
      }
      long error = bpf_map_update_elem(&stacks, &key, &s->stack, BPF_NOEXIST);
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
      known = compare_stack(slot, key); /* another CPU was first, most likely with the same stack */
    }
    if (known == STACK_SAME) return key;
    key = mix(key, HASH_START);
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
    walk(slot, ip, fp);
    u64 key = store_stack(slot, s);
    u32 truncated = s->truncated, unreadable = s->unreadable;
    if (*(volatile u64*)&s->mark != mine) continue;
    if (truncated) lost(FP_LOST_STACK_TRUNCATED, 1);
    if (unreadable) lost(FP_LOST_STACK_WALK, 1);
    return key;
  }
  lost(FP_LOST_SCRATCH, 1);
  return 0;
}

#endif
