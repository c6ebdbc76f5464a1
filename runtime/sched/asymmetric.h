// SPDX-License-Identifier: BSD-2-Clause
// Asymmetric synchronisation: a protocol between one party that acts all the time and one that hardly ever does can
// put the whole price on the second. Where both would need a full fence (or a locked instruction, 5 ns), the first has
// a mere compiler barrier and the second makes the kernel run a full fence on every CPU of this process
// (membarrier(2), MEMBARRIER_CMD_PRIVATE_EXPEDITED, Linux 4.14; 1 to 3 us).
#pragma once

#include <atomic>

#include "sched/atomics.h"

namespace fiber::detail {

// Once per process, before the first use. Afterwards asymmetric_available() says whether the kernel can do it; not in
// a ThreadSanitizer build, which does not know what membarrier orders.
void asymmetric_init();
extern bool asymmetric_is_available;
inline bool asymmetric_available() { return asymmetric_is_available; }

// The frequent party's: keeps the compiler, not the CPU, from moving accesses across.
inline void light_barrier() { std::atomic_signal_fence(std::memory_order_seq_cst); }
// The rare party's. Whatever others did before their light barrier is visible now, or they will see what the caller did
// before this. Only where available.
void heavy_barrier();

// Both, as a parameter of the protocols that use them (atomics.h).
struct AsymmetricAtomics : StdAtomics {
  static void light_barrier() { detail::light_barrier(); }
  static void heavy_barrier() { detail::heavy_barrier(); }
};

}  // namespace fiber::detail
