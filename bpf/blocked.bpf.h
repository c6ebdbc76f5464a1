/* SPDX-License-Identifier: BSD-2-Clause */
/* Waits of fibers: one event at resume, on the fiber's own stack, tells the whole wait. */
#ifndef FIBERPROF_BPF_BLOCKED_H
#define FIBERPROF_BPF_BLOCKED_H

#include "delay.bpf.h"
#include "filter.bpf.h"
#include "stacks.bpf.h"
#include "waker.bpf.h"

static __always_inline struct fp_blocked_value* entry_of_cpu(const struct fp_blocked_key* key) {
  struct fp_blocked_value* value = bpf_map_lookup_elem(&blocked, key);
  if (value) return value;
  if (blocked_full) return 0;
  int error = insert(&blocked, key, &no_waits);
  if (error == -E2BIG) blocked_full = 1;
  return bpf_map_lookup_elem(&blocked, key);
}

/* Its slot may be another by the time it has got one: a key has the slot that it was inserted with. */
static __always_inline int take_slot(const struct fp_blocked_key* key, u32* number) {
  if (blocked_full) return 0;
  int error = (int)bpf_map_pop_elem(&free_slots, number);
  if (error) {
    if (error == -ENOENT) blocked_full = 1;
    return 0;
  }
  ADD(slots_taken, 1);
  struct fp_blocked_slot* slot = bpf_map_lookup_elem(&blocked_slots, number);
  if (!slot) return 0;
  slot->key = *key;
  if (!insert(&slot_of, key, number)) return 1;
  slot->key = no_key;
  bpf_map_push_elem(&free_slots, number, 0);
  const u32* theirs = bpf_map_lookup_elem(&slot_of, key);
  if (!theirs) return 0;
  *number = *theirs;
  return 1;
}

static __always_inline struct fp_blocked_value* shared_entry(const struct fp_blocked_key* key) {
  u32 number;
  const u32* known = bpf_map_lookup_elem(&slot_of, key);
  if (known)
    number = *known;
  else if (!take_slot(key, &number))
    return 0;
  struct fp_blocked_slot* slot = bpf_map_lookup_elem(&blocked_slots, &number);
  return slot ? &slot->value : 0;
}

/* What one chosen event adds to the variance of the sums over its entry. */
static __always_inline void add_variance(struct fp_blocked_value* value, u64 ns, u64 weight, int rough) {
  const u64 most = 0xffffffff;
  if (weight > 1) {
    u64 all = ns * weight >> 10, others = ns * (weight - 1) >> 10;
    if (all > most) all = most;
    if (others > most) others = most;
    const u64 square = all * others;
    ADD(value->variance_low, square & most);
    ADD(value->variance_high, square >> 32);
    ADD(value->count_variance, weight * (weight - 1));
  }
  if (rough) {
    u64 error = weight * (tick_ns * 418 >> 20); /* sqrt(1/6) ticks in units of 1,024 ns */
    if (error > most) error = most;
    ADD(value->variance_low, error * error & most);
    ADD(value->variance_high, error * error >> 32);
  }
}

static __always_inline int on_blocked(struct pt_regs* ctx, u64 weight, int sampled) {
  struct fp_blocked_key key = {};
  key.tgid = watched_process();
  if (!key.tgid) return 0;
  u64 reason = ARG1(ctx), parked = ARG3(ctx), queued = ARG4(ctx);
  const int rough = (parked & rough_bit) != 0;
  const int right_reason = reasons >> (reason & 31) & 1;
  int wanted = right_reason && parked + queued >= min_wait_ns;
  if (wanted && (filter_sites || filter_names)) wanted = is_wanted_fiber();
  if (right_reason && !wanted) lost(FP_FILTERED, weight);
  /* A wait that is not wanted may explain one that is, unless it is too short for that. */
  if (!wanted && (!wakers || (parked + queued) * 4 < min_wait_ns)) {
    if (wakers) forget_waker(key.tgid, ARG0(ctx));
    return 0;
  }
  key.reason = reason > 255 ? 255 : reason;
  key.stack = probe_stack(REG_IP(ctx), REG_FP(ctx));
  if (wakers) key.chain = end_wait(key.tgid, ARG0(ctx), key.reason, parked, queued, ARG5(ctx), weight, key.stack);
  if (!wanted) return 0;
  struct fp_blocked_value* value = sampled ? shared_entry(&key) : entry_of_cpu(&key);
  if (!value) {
    lost(FP_LOST_BLOCKED_FULL, weight);
    return 0;
  }
  count_delay(key.tgid, queued, weight);
  u64 total = parked + queued;
  /* max and histogram tell how long the wait was; the totals only what of it lies within the session */
  u32 bucket = log2_of(total);
  if (bucket >= FP_BUCKETS) bucket = FP_BUCKETS - 1;
  if (total > value->max_ns) value->max_ns = total;
  if (total > elapsed_at_least) {
    u64 elapsed = bpf_ktime_get_ns() - attached_ns;
    elapsed_at_least = elapsed;
    if (total > elapsed) {
      if (queued > elapsed) queued = elapsed;
      parked = elapsed - queued;
      lost(FP_CLIPPED, weight);
    }
  }
  ADD(value->parked_ns, parked * weight);
  ADD(value->queued_ns, queued * weight);
  if (sampled) add_variance(value, parked + queued, weight, rough);
  ADD(value->histogram[bucket], weight);
  ADD(value->events, 1); /* last: by it userspace sees that the others have changed */
  return 0;
}

SEC("uprobe")
int on_blocked_exact(struct pt_regs* ctx) {
  STAY_ON_THE_TASKS_STACK(ctx);
  return on_blocked(ctx, 1, 0);
}

SEC("uprobe")
int on_blocked_sampled(struct pt_regs* ctx) {
  STAY_ON_THE_TASKS_STACK(ctx);
  return on_blocked(ctx, ARG6(ctx), 1);
}

#endif
