// SPDX-License-Identifier: BSD-2-Clause
// libFuzzer: the memory of a process.
#include <cstddef>
#include <cstdint>

#include "fuzz/consume.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  fiberprof::test::consume_memory({reinterpret_cast<const char*>(bytes), size});
  return 0;
}
