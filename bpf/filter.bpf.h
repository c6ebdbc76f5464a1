/* SPDX-License-Identifier: BSD-2-Clause */
/* Which fibers a session is about: by the function they were spawned with, by name. Decided before any stack walk. */
#ifndef FIBERPROF_BPF_FILTER_H
#define FIBERPROF_BPF_FILTER_H

#include "maps.bpf.h"

/* Set before loading; the verifier removes what they switch off. */
const volatile __u8 filter_sites = 0; /* only those spawned with a function in `sites` */
const volatile __u8 filter_names = 0; /* only those with a name that matches one of the first so many patterns */
const volatile struct fp_name_pattern name_patterns[FP_MAX_NAME_PATTERNS] = {};

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 4096);
  __type(key, struct fp_site);
  __type(value, __u8);
} sites SEC(".maps");

static __always_inline int name_wanted(u64 fiber) {
  u64 name[FP_NAME_WORDS];
  if (!fiber || bpf_probe_read_user(name, sizeof(name), (void*)(fiber + fiber_name_at))) {
    lost(FP_LOST_FILTER, 1);
    return 0;
  }
  for (u32 i = 0; i < FP_MAX_NAME_PATTERNS; i++) {
    if (i >= filter_names) break;
    u64 difference = 0;
    for (u32 word = 0; word < FP_NAME_WORDS; word++)
      difference |= (name[word] & name_patterns[i].mask[word]) ^ name_patterns[i].text[word];
    if (!difference) return 1;
  }
  return 0;
}

/* Whether the fiber on this worker is one of them; 0 without a fiber. */
static __always_inline int has_wanted_fiber(const struct fp_worker* worker) {
  struct {
    u64 current_fiber, fiber_entry, fiber;
  } record;
  if (bpf_probe_read_user(&record, sizeof(record), (void*)(worker->record + worker_current_at))) {
    lost(FP_LOST_FILTER, 1);
    return 0;
  }
  if (!record.current_fiber) return 0;
  if (filter_sites) {
    struct fp_site site = {.entry = record.fiber_entry, .tgid = worker->why.tgid};
    if (record.fiber && bpf_probe_read_user(&site.entry, sizeof(site.entry), (void*)(record.fiber + fiber_entry_at))) {
      lost(FP_LOST_FILTER, 1);
      return 0;
    }
    if (!bpf_map_lookup_elem(&sites, &site)) return 0;
  }
  return !filter_names || name_wanted(record.fiber);
}

/* The same of the current thread. */
static __always_inline int is_wanted_fiber(void) {
  u32 tid = pid_level ? visible_id((struct task_struct*)bpf_get_current_task()) : (u32)bpf_get_current_pid_tgid();
  const struct fp_worker* worker = bpf_map_lookup_elem(&workers, &tid);
  if (worker) return has_wanted_fiber(worker);
  lost(FP_LOST_FILTER, 1);
  return 0;
}

#endif
