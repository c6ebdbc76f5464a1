// SPDX-License-Identifier: BSD-2-Clause
// The kernel side: everything a session loads, one object. Its parts by job:
#include "kernel.h"     // kernel types and registers
#include "shared.h"     // keys and values
#include "maps.bpf.h"   // maps, settings, loss counters
#include "stacks.bpf.h"
#include "filter.bpf.h"
#include "waker.bpf.h"
#include "blocked.bpf.h"
#include "queue.bpf.h"
#include "offcpu.bpf.h"
#include "asleep.bpf.h"
#include "oncpu.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";
