// SPDX-License-Identifier: BSD-2-Clause
// libbpf's own log: kept off the terminal, its last telling line kept for error messages.
#pragma once

#include <string>

namespace fiberprof {

// Installs the log handler for the whole process; sessions install it quietly. `verbose`: also print every line on
// stderr.
void capture_libbpf_log(bool verbose);

// The last warning since clear_libbpf_log(), without the "libbpf:" prefix and line end; may be empty.
std::string last_libbpf_warning();
// Forgets that line; installs the handler if that has not been done.
void clear_libbpf_log();

}  // namespace fiberprof
