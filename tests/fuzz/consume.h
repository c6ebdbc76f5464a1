// SPDX-License-Identifier: BSD-2-Clause
// Everything the tool does with the memory of a process or with a core file, on bytes that may be anything. It must
// end, in little time and memory, and without a complaint of the sanitizers; what it says does not matter.
#pragma once

#include <string>
#include <string_view>

namespace fiberprof::test {

// The memory of a process from Image::kBase on, with the registry at its beginning. Returns whether it was one: the
// number of fibers that were seen in it.
size_t consume_memory(std::string_view bytes);
// A core file.
size_t consume_core(std::string_view bytes);

}  // namespace fiberprof::test
