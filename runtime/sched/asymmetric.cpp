// SPDX-License-Identifier: BSD-2-Clause
#include "sched/asymmetric.h"

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "context/sanitizer.h"

namespace fiber::detail {

bool asymmetric_is_available = false;

void asymmetric_init() {
  if (FIBER_TSAN) return;
  asymmetric_is_available = syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
}

void heavy_barrier() { syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0); }

}  // namespace fiber::detail
