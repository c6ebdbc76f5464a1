// SPDX-License-Identifier: BSD-2-Clause
// Compiled with -mno-red-zone: a probed nop may become a call, which writes below the stack pointer.
#include "session/nop_sites.h"

#if defined(__x86_64__)
#define NOPS                                                  \
  ".byte 0x90\n"                                              \
  ".byte 0x66,0x2e,0x0f,0x1f,0x84,0x00,0x00,0x00,0x00,0x00\n" \
  ".byte 0x0f,0x1f,0x44,0x00,0x00\n"
#else
#define NOPS "nop\n"
#endif

#define SITE(n)                                                                                     \
  extern "C" const char fiberprof_calibration_nop_##n[] __attribute__((visibility("hidden")));      \
  extern "C" __attribute__((noinline, noipa, visibility("hidden"))) void fiberprof_calibration_##n( \
      uint64_t, uint64_t, uint64_t, uint64_t, uint64_t) {                                           \
    __asm__ volatile(".globl fiberprof_calibration_nop_" #n                                         \
                     "\n"                                                                           \
                     ".hidden fiberprof_calibration_nop_" #n                                        \
                     "\n"                                                                           \
                     "fiberprof_calibration_nop_" #n ":\n" NOPS ::                                  \
                         : "memory");                                                               \
  }
SITE(0)
SITE(1)
SITE(2)
SITE(3)
SITE(4)

namespace fiberprof {

void calibration_site(int index) {
  switch (index) {
    case 0:
      return fiberprof_calibration_0(1, 2, 3, 1000, 100);
    case 1:
      return fiberprof_calibration_1(1, 2, 3, 1000, 100);
    case 2:
      return fiberprof_calibration_2(1, 2, 3, 1000, 100);
    case 3:
      return fiberprof_calibration_3(1, 2, 3, 1000, 100);
    default:
      return fiberprof_calibration_4(1, 2, 3, 1000, 100);
  }
}

uint64_t calibration_site_address(int index) {
  const char* const sites[] = {fiberprof_calibration_nop_0, fiberprof_calibration_nop_1, fiberprof_calibration_nop_2,
                               fiberprof_calibration_nop_3, fiberprof_calibration_nop_4};
  return reinterpret_cast<uint64_t>(sites[index]);
}

}  // namespace fiberprof
