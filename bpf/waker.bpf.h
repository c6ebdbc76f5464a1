/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who ended a wait, and what that fiber had been waiting for meanwhile: chains of waits. Only with `wakers`.
 *
 * `unpark` fires on the waker's stack. Of each fiber we remember the last things that kept it from running: its waits
 * with the chains that ended them, its time in run queues, its worker's time off the CPU. When fiber B wakes A, the one
 * of these that covered most of A's wait explains it, if that was at least a quarter; else B was running. So a link
 * {B's stack, what held B up} is made, and A's chain is that link, followed by the chain of B's own wait.
 *
 * A wait counts from park to wake-up here. A fiber that waits cannot wake anybody, so of two that wake each other in
 * turn neither had waited during the wait of the other: such a chain ends by itself. Rings of three and more are cut
 * where a fiber comes up again, all chains at FP_MAX_CHAIN.
 */
#ifndef FIBERPROF_BPF_WAKER_H
#define FIBERPROF_BPF_WAKER_H

#include "stacks.bpf.h"

/* One thing that kept a fiber from running, or several of the same kind with the same cause. */
struct fp_delay {
  u64 begin, end; /* CLOCK_MONOTONIC; end 0: none */
  u64 ns;         /* how much of that; less than end - begin when several were merged */
  u32 why, cause;
  s32 syscall;
  u32 futex_op;
  u64 user_stack, kernel_stack;
  u64 chain;
  u64 fibers[FP_MAX_CHAIN]; /* those in the chain */
};

#define FP_WAITS 3

/* By fiber. The first part is about the wait in progress, once it has been ended. */
struct fp_past {
  u64 chain;
  u64 fibers[FP_MAX_CHAIN];
  struct fp_delay waits[FP_WAITS];
  /* One each: written by different programs, which may interrupt each other. */
  struct fp_delay queued, off_cpu;
};

struct fp_fiber_key {
  u64 fiber;
  u32 tgid;
  u32 zero;
};

/* 11 MiB. Who has not run for long is forgotten first: its delays are too old to explain anything. */
struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(max_entries, 16384);
  __type(key, struct fp_fiber_key);
  __type(value, struct fp_past);
} pasts SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 16384);
  __type(key, __u64);
  __type(value, struct fp_link);
} links SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 16384);
  __type(key, __u64);
  __type(value, struct fp_chain);
} chains SEC(".maps");

static const struct fp_past no_past;

static __always_inline struct fp_past* past_of(u32 tgid, u64 fiber) {
  const struct fp_fiber_key key = {.fiber = fiber, .tgid = tgid};
  struct fp_past* past = bpf_map_lookup_elem(&pasts, &key);
  if (past) return past;
  bpf_map_update_elem(&pasts, &key, &no_past, BPF_NOEXIST);
  return bpf_map_lookup_elem(&pasts, &key);
}

/* The wait in progress is of no interest. */
static __always_inline void forget_waker(u32 tgid, u64 fiber) {
  const struct fp_fiber_key key = {.fiber = fiber, .tgid = tgid};
  struct fp_past* past = bpf_map_lookup_elem(&pasts, &key);
  if (past) past->chain = 0;
}

/* A delay of less than a quarter of the time since it ended explains no wait any more. */
static __always_inline int is_useless(const struct fp_delay* delay, u64 now) {
  return delay->ns * 4 < now - delay->end;
}

/* Adds the same once more. */
static __always_inline void extend(struct fp_delay* delay, u64 begin, u64 end, u64 ns, u64 now) {
  if (is_useless(delay, now)) {
    delay->begin = begin;
    delay->ns = 0;
  }
  delay->ns += ns;
  delay->end = end;
}

/* The wait of `fiber` that ends now stood for `weight` of its kind. Returns the key of its chain. */
static __always_inline u64 end_wait(u32 tgid, u64 fiber, u32 reason, u64 parked, u64 queued, u64 waker, u64 weight,
                                    u64 stack) {
  struct fp_past* past = past_of(tgid, fiber);
  if (!past) {
    lost(FP_LOST_WAKER, 1);
    return 0;
  }
  const u64 chain = past->chain, now = bpf_ktime_get_ns(), woken = now - queued, begin = woken - parked;
  /* Woken before it was off its stack it had no wake-up. */
  if (!chain && (waker || queued)) lost(FP_LOST_WAKER, 1);
  past->chain = 0;
  /* The same as before; else in place of the one that explains least. */
  struct fp_delay* slot = &past->waits[0];
  s64 least = 0x7fffffffffffffff;
  for (int i = 0; i < FP_WAITS; i++) {
    struct fp_delay* each = &past->waits[i];
    s64 use = (s64)(each->ns * 4) - (s64)(now - each->end);
    if (each->end && each->cause == reason && each->user_stack == stack && each->chain == chain)
      use = -0x7fffffffffffffff;
    if (use < least) {
      least = use;
      slot = each;
    }
  }
  if (least == -0x7fffffffffffffff) {
    extend(slot, begin, woken, parked * weight, now);
  } else {
    slot->begin = begin;
    slot->end = woken;
    slot->ns = parked * weight;
    slot->why = FP_WHY_WAITED;
    slot->cause = reason;
    slot->user_stack = stack;
    slot->chain = chain;
    __builtin_memcpy(slot->fibers, past->fibers, sizeof(slot->fibers));
  }
  if (queued) {
    past->queued.why = FP_WHY_QUEUED;
    extend(&past->queued, woken, now, queued * weight, now);
  }
  return chain;
}

/* The worker of `fiber` was off its CPU until now. */
static __always_inline void end_off_cpu(u32 tgid, u64 fiber, const struct fp_offcpu_key* key, u64 begin, u64 now) {
  struct fp_past* past = past_of(tgid, fiber);
  if (!past) return;
  struct fp_delay* slot = &past->off_cpu;
  if (slot->end && slot->cause == key->cause && slot->syscall == key->syscall && slot->user_stack == key->user_stack) {
    extend(slot, begin, now, now - begin, now);
    return;
  }
  if (slot->end && !is_useless(slot, now) && slot->ns > now - begin) return;
  slot->begin = begin;
  slot->end = now;
  slot->ns = now - begin;
  slot->why = FP_WHY_OFF_CPU;
  slot->cause = key->cause;
  slot->syscall = key->syscall;
  slot->futex_op = key->futex_op;
  slot->user_stack = key->user_stack;
  slot->kernel_stack = key->kernel_stack;
}

static __always_inline u64 hash_words(const u64* words, int n) {
  u64 hash = HASH_START;
  for (int i = 0; i < n; i++) hash = mix(hash, words[i]);
  return hash ? hash : 1;
}

static __always_inline int same_words(const u64* a, const u64* b, int n) {
  u64 difference = 0;
  for (int i = 0; i < n; i++) difference |= a[i] ^ b[i];
  return !difference;
}

/* Stores a value under the hash of its words; the key, or 0. */
#define STORE_ONCE(map, value)                                                     \
  ({                                                                               \
    const int words_ = sizeof(*(value)) / 8;                                       \
    u64 key_ = hash_words((const u64*)(value), words_);                            \
    const void* known_ = bpf_map_lookup_elem(map, &key_);                          \
    if (!known_ && !chains_full) {                                                 \
      if (insert(map, &key_, value) == -E2BIG) chains_full = 1;                    \
      known_ = bpf_map_lookup_elem(map, &key_);                                    \
    }                                                                              \
    if (!known_ || !same_words((const u64*)known_, (const u64*)(value), words_)) { \
      lost(FP_LOST_CHAINS_FULL, 1);                                                \
      key_ = 0;                                                                    \
    }                                                                              \
    key_;                                                                          \
  })

/* What held the waker up for most of the last `parked` ns; null: nothing for a quarter of them. */
static __always_inline const struct fp_delay* main_delay(const struct fp_past* past, u64 parked) {
  /* What ended before the wait began does not explain it: rather a moment too late than too early. */
  u64 error = parked & rough_bit ? tick_ns : 0;
  if (error > parked / 2) error = parked / 2;
  const u64 start = bpf_ktime_get_ns() - parked + error;
  const struct fp_delay* best = 0;
  u64 most = parked / 4;
  for (int i = 0; i < FP_WAITS + 2; i++) {
    const struct fp_delay* each = i < FP_WAITS ? &past->waits[i] : i == FP_WAITS ? &past->queued : &past->off_cpu;
    if (each->end <= start) continue;
    u64 covered = each->end - (each->begin > start ? each->begin : start);
    /* of several that were merged: their share of the time */
    if (each->ns < each->end - each->begin) covered = covered * (each->ns * 1024 / (each->end - each->begin)) / 1024;
    if (covered > most) {
      most = covered;
      best = each;
    }
  }
  return best;
}

/* Appends the chain of the waker's own wait to the first link, up to where one of its fibers comes up again. */
static __always_inline void follow(struct fp_chain* chain, u64* fibers, u64 fiber, const struct fp_delay* delay) {
  const struct fp_chain* further = bpf_map_lookup_elem(&chains, &delay->chain);
  if (!further) return;
  chain->end = further->end;
  for (int i = 0; i < FP_MAX_CHAIN; i++) {
    if ((u32)i >= further->n) break;
    if (i + 1 == FP_MAX_CHAIN) {
      chain->end = FP_CHAIN_DEEP;
      break;
    }
    const u64 by = delay->fibers[i];
    chain->links[i + 1] = further->links[i];
    fibers[i + 1] = by;
    chain->n = i + 2;
    if (by && (by == fiber || by == fibers[0])) {
      chain->end = FP_CHAIN_CYCLE;
      break;
    }
  }
}

SEC("uprobe")
int on_unpark(struct pt_regs* ctx) {
  STAY_ON_THE_TASKS_STACK(ctx);
  const u32 tgid = watched_process();
  if (!tgid) return 0;
  const u64 fiber = ARG0(ctx), waker = ARG1(ctx);
  struct fp_chain chain = {.n = 1};
  u64 fibers[FP_MAX_CHAIN] = {waker};
  {
    struct fp_link link = {.tgid = tgid, .by = FP_BY_FIBER, .reason = ARG2(ctx)};
    link.waker_stack = probe_stack(REG_IP(ctx), REG_FP(ctx));
    if (waker) {
      const struct fp_fiber_key key = {.fiber = waker, .tgid = tgid};
      const struct fp_past* past = bpf_map_lookup_elem(&pasts, &key);
      const struct fp_delay* delay = past ? main_delay(past, ARG6(ctx)) : 0;
      if (delay) {
        link.why = delay->why;
        link.cause = delay->cause;
        link.syscall = delay->syscall;
        link.futex_op = delay->futex_op;
        link.user_stack = delay->user_stack;
        link.kernel_stack = delay->kernel_stack;
        if (delay->chain) follow(&chain, fibers, fiber, delay);
      }
    } else {
      u32 tid = visible_id((struct task_struct*)bpf_get_current_task());
      link.by = bpf_map_lookup_elem(&workers, &tid) ? FP_BY_WORKER : FP_BY_THREAD;
      if (link.by == FP_BY_THREAD) bpf_get_current_comm(link.thread, sizeof(link.thread));
    }
    chain.links[0] = STORE_ONCE(&links, &link);
  }
  const u64 key = STORE_ONCE(&chains, &chain);
  struct fp_past* past = past_of(tgid, fiber);
  if (!past) {
    lost(FP_LOST_WAKER, 1);
    return 0;
  }
  past->chain = key;
  __builtin_memcpy(past->fibers, fibers, sizeof(fibers));
  return 0;
}

#endif
