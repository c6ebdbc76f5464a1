/* SPDX-License-Identifier: BSD-2-Clause */
/* How long fibers are runnable before they run: a histogram fine enough for percentiles. */
#ifndef FIBERPROF_BPF_DELAY_H
#define FIBERPROF_BPF_DELAY_H

#include "maps.bpf.h"

static __always_inline void count_delay(u32 tgid, u64 queued_ns, u64 weight) {
  struct fp_delay_value* value = bpf_map_lookup_elem(&delays, &tgid);
  if (!value) {
    insert(&delays, &tgid, &no_delays);
    value = bpf_map_lookup_elem(&delays, &tgid);
    if (!value) {
      lost(FP_LOST_QUEUED_FULL, 1);
      return;
    }
  }
  u32 bucket = queued_ns;
  if (queued_ns >= 4) {
    const u32 exponent = log2_of(queued_ns);
    bucket = 4 * exponent + ((queued_ns >> (exponent - 2)) & 3);
  }
  if (bucket >= FP_DELAY_BUCKETS) bucket = FP_DELAY_BUCKETS - 1;
  ADD(value->count[bucket], weight);
}

#endif
