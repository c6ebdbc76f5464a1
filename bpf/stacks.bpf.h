/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Stacks: walked into scratch memory, stored once under a hash of their frames.
 *
 * User stacks are walked here rather than by bpf_get_stack, which reads every frame record with an access of its
 * own. A window of up to 1 KiB is copied at once (never across a page boundary, so that a stack that ends at the end
 * of a page can be read to its last byte) and the records in it are followed for a few instructions each: 4 ns a frame
 * instead of 45. A complete event, hit included, takes 795 ns with 8 frames and 890 with 33 (6.18, 5-byte nop).
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
  u64 extra[2]; /* return addresses to put after the first frame, see find_caller; 0: none */
  u64 from;     /* the first frame record of the walk */
  u32 truncated;
  u32 unreadable;
  struct fp_stack stack;
  u8 window[WINDOW + 16];
};

enum { SCRATCH_PROBE, SCRATCH_SWITCH, SCRATCH_TASK, SCRATCH_COUNT };

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
  if (s->extra[0]) {
    s->stack.frames[1] = s->extra[0];
    hash = mix(hash, s->extra[0]);
    n = 2;
    if (s->extra[1]) {
      s->stack.frames[2] = s->extra[1];
      hash = mix(hash, s->extra[1]);
      n = 3;
    }
  }
  s->stack.kernel = 0;
  s->truncated = 0;
  s->unreadable = 0;
  /* base and length live in memory, where the verifier does not track them: every round then looks the same to it */
  volatile u64* base = &s->base;
  volatile u64* length = &s->length;
  *length = 0;
  for (u32 i = n; i < FP_MAX_FRAMES; i++) {
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
  s->hash = hash;
  return 1;
}

/*
 * libc is built without frame pointers. A thread that leaves the CPU in one of its functions has fp = the frame of the
 * function F that called libc, so a plain walk starts with F's caller: F itself is missing. Its return address lies
 * between sp and fp, the first word there that points behind a call instruction in code with frame pointers. If libc
 * uses fp for something else, it has pushed F's fp before: the first word that points at a frame record further up.
 * Leaves what it finds in scratch: the return address in extra[0], the frame pointer to go on from in base.
 */
#define SCAN_WORDS 96

/* Inside a loop these are global for the same reason as above: found or not, the rest looks the same. */
__attribute__((noinline)) int in_code(u32 tgid, u64 address) {
  const struct fp_process* process = bpf_map_lookup_elem(&processes, &tgid);
  if (!process) return 1; /* not known: as if all code had frame pointers */
  if (address >= process->code_low[0] && address < process->code_high[0]) return 1;
  return address >= process->code_low[1] && address < process->code_high[1];
}

__attribute__((noinline)) int is_return_address(u32 tgid, u64 address) {
  u8 code[8];
  if (!in_code(tgid, address) || bpf_probe_read_user(code, sizeof(code), (void*)(address - 8))) return 0;
  /* call rel32; call *reg; call *disp8(reg); call *rip-relative or disp32(reg), with and without a prefix */
  return code[3] == 0xe8 || code[6] == 0xff || code[5] == 0xff || code[2] == 0xff || code[1] == 0xff;
}

/* Whether the word found at `at` is the frame pointer of a function with one. */
__attribute__((noinline)) int is_frame_pointer(u32 tgid, u64 at, u64 word) {
  u64 ret = 0;
  if (word <= at || word - at >= 65536 || word & 7) return 0;
  return !bpf_probe_read_user(&ret, sizeof(ret), (void*)(word + 8)) && in_code(tgid, ret);
}

__attribute__((noinline)) int find_caller(u32 slot, u32 tgid, u64 sp, u64 fp) {
  struct fp_scratch* s = bpf_map_lookup_elem(&scratch, &slot);
  if (!s) return 0;
  const int lost_fp = fp < sp || fp - sp > 65536;
  s->extra[0] = 0;
  s->extra[1] = 0;
  s->base = lost_fp ? 0 : fp;
  if (bpf_probe_read_user(s->window, SCAN_WORDS * 8, (void*)sp)) {
    u64 room = PAGE - (sp & (PAGE - 1));
    if (room > SCAN_WORDS * 8) room = SCAN_WORDS * 8;
    /* a failed read has zeroed the window */
    if (bpf_probe_read_user(s->window, room, (void*)sp)) return 0;
  }
  for (u32 i = 0; i < SCAN_WORDS; i++) {
    const u64 at = sp + i * 8, word = ((u64*)s->window)[i];
    if (!lost_fp && at >= fp) break;
    if (!s->base && is_frame_pointer(tgid, at, word)) s->base = word;
    if (is_return_address(tgid, word)) {
      s->extra[0] = word;
      break;
    }
  }
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
  s->hash = hash;
  return 1;
}

/* At the first instructions of a function its frame record is not there yet, and at its last not any more: a walk
 * would leave out its caller. That one's return address; 0: there is a record. */
static __always_inline u64 caller_without_record(u64 ip, u64 sp) {
  u8 code[4];
  u64 ret = 0;
  if (bpf_probe_read_user(code, sizeof(code), (void*)ip)) return 0;
  const int endbr = code[0] == 0xf3 && code[1] == 0x0f && code[2] == 0x1e && code[3] == 0xfa;
  if (code[0] == 0x48 && code[1] == 0x89 && code[2] == 0xe5) /* mov %rsp,%rbp, after push %rbp */
    sp += 8;
  else if (!endbr && code[0] != 0x55 && code[0] != 0xc3) /* push %rbp, ret */
    return 0;
  if (bpf_probe_read_user(&ret, sizeof(ret), (void*)sp)) return 0;
  return ret;
}

enum { STACK_UNKNOWN, STACK_SAME, STACK_DIFFERENT };

/* Where the kernel finds workers there is no fiber's probe to interrupt, and the other way round: which scratch memory
 * a stack was walked in tells whose it is. */
static __always_inline u64 key_of(u32 slot, u32 n, u64 hash) {
  hash &= ~(FP_KEY_WORKER | FP_KEY_DEEP);
  if (slot != SCRATCH_PROBE) return hash | FP_KEY_WORKER;
  if (n > FP_SHORT_FRAMES) return hash | FP_KEY_DEEP;
  return hash ? hash : 4;
}

/* What is stored under `key`, compared with the stack in scratch. */
__attribute__((noinline)) int compare_short_stack(u32 slot, u64 key) {
  struct fp_scratch* s = bpf_map_lookup_elem(&scratch, &slot);
  const struct fp_short_stack* known = bpf_map_lookup_elem(&stacks, &key);
  if (!s || !known) return STACK_UNKNOWN;
  if (known->n != s->stack.n) return STACK_DIFFERENT;
  for (u32 i = 0; i < FP_SHORT_FRAMES; i++) {
    if (i >= known->n) break;
    if (known->frames[i] != s->stack.frames[i]) return STACK_DIFFERENT;
  }
  return STACK_SAME;
}

__attribute__((noinline)) int compare_long_stack(u32 slot, u64 key) {
  struct fp_scratch* s = bpf_map_lookup_elem(&scratch, &slot);
  const struct fp_stack* known;
  if (key & FP_KEY_WORKER)
    known = bpf_map_lookup_elem(&worker_stacks, &key);
  else
    known = bpf_map_lookup_elem(&deep_stacks, &key);
  if (!s || !known) return STACK_UNKNOWN;
  if (known->n != s->stack.n) return STACK_DIFFERENT;
  for (u32 i = 0; i < FP_MAX_FRAMES; i++) {
    if (i >= known->n) break;
    if (known->frames[i] != s->stack.frames[i]) return STACK_DIFFERENT;
  }
  return STACK_SAME;
}

static __always_inline int compare_stack(u32 slot, u64 key) {
  return key & (FP_KEY_WORKER | FP_KEY_DEEP) ? compare_long_stack(slot, key) : compare_short_stack(slot, key);
}

static __always_inline int insert_stack(u64 key, const struct fp_stack* stack) {
  int error;
  if (key & FP_KEY_WORKER) {
    error = worker_stacks_full ? -E2BIG : insert(&worker_stacks, &key, stack);
    if (error == -E2BIG) worker_stacks_full = 1;
  } else if (key & FP_KEY_DEEP) {
    error = deep_stacks_full ? -E2BIG : insert(&deep_stacks, &key, stack);
    if (error == -E2BIG) deep_stacks_full = 1;
  } else {
    error = stacks_full ? -E2BIG : insert(&stacks, &key, stack);
    if (error == -E2BIG) stacks_full = 1;
  }
  return error;
}

/* The key under which the stack in scratch is stored; 0: it is not. */
static __always_inline u64 store_stack(u32 slot, const struct fp_scratch* s) {
  u64 hash = s->hash;
  for (int attempt = 0; attempt < 3; attempt++) {
    const u64 key = key_of(slot, s->stack.n, hash);
    int known = compare_stack(slot, key);
    if (known == STACK_UNKNOWN) {
      const int error = insert_stack(key, &s->stack);
      if (!error) return key;
      if (error == -E2BIG) {
        lost(slot == SCRATCH_PROBE ? FP_LOST_STACKS_FULL : FP_LOST_WORKER_STACKS_FULL, 1);
        return 0;
      }
      if (error != -EEXIST) {
        lost(FP_LOST_MAP_BUSY, 1);
        return 0;
      }
      known = compare_stack(slot, key); /* another CPU was first, most likely with the same stack */
    }
    if (known == STACK_SAME) return key;
    hash = mix(hash, HASH_START);
  }
  lost(FP_LOST_STACK_COLLISION, 1);
  return 0;
}

/* The same, if it has been stored before. */
static __always_inline u64 known_stack(u32 slot, const struct fp_scratch* s) {
  const u64 key = key_of(slot, s->stack.n, s->hash);
  return compare_stack(slot, key) == STACK_SAME ? key : 0;
}

/* User stack of the current task at a probe site. */
static __always_inline u64 probe_stack(u64 ip, u64 fp) {
  const u32 slot = SCRATCH_PROBE;
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

/* User stack of a task that is being switched out, where nothing else runs on this CPU. */
static __always_inline u64 switch_stack(u32 tgid, const struct pt_regs* regs, int only_known) {
  (void)tgid; /* only x86-64 needs it */
  const u32 slot = SCRATCH_SWITCH;
  struct fp_scratch* s = bpf_map_lookup_elem(&scratch, &slot);
  if (!s) return 0;
  u64 fp = REG_FP(regs);
  s->extra[0] = 0;
  s->extra[1] = 0;
#if defined(__TARGET_ARCH_x86) /* AArch64's ABI has libc keep frame pointers */
  if (in_code(tgid, REG_IP(regs))) {
    s->extra[0] = caller_without_record(REG_IP(regs), REG_SP(regs));
  } else {
    u64 record[2];
    if (find_caller(slot, tgid, REG_SP(regs), fp)) fp = s->base;
    /* the vdso has frame pointers, its caller in libc has none: the same again, one frame up */
    if (!s->extra[0] && fp && !bpf_probe_read_user(record, sizeof(record), (void*)fp) && record[1] &&
        !in_code(tgid, record[1]) && find_caller(slot, tgid, fp + 16, record[0])) {
      fp = s->base;
      s->extra[1] = s->extra[0];
      s->extra[0] = record[1];
    }
  }
#endif
  s->from = fp;
  walk(slot, REG_IP(regs), fp);
  /* Different ways into the same system call may have equal frames but, mostly, another distance to them. */
  const u64 distance = fp - REG_SP(regs);
  if (distance < FP_LEAF_BYTES) s->hash = mix(s->hash, distance);
  if (s->truncated) lost(FP_LOST_STACK_TRUNCATED, 1);
  if (s->unreadable) lost(FP_LOST_STACK_WALK, 1);
  return only_known ? known_stack(slot, s) : store_stack(slot, s);
}

#endif
