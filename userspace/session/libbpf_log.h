// SPDX-License-Identifier: BSD-2-Clause
// libbpf's own log: kept off the terminal, its last telling line kept for error messages.
#pragma once

#include <string>
#include <string_view>

namespace fiberprof {

// Which program the kernel refused and the line that says why, of libbpf's message with the verifier's log; empty: it
// is no such message.
std::string refusal_in(std::string_view message);

// Installs the log handler for the whole process; sessions install it quietly. `verbose`: also print every line on
// stderr.
void capture_libbpf_log(bool verbose);

// Why a program was refused since clear_libbpf_log(), else the last warning, without the "libbpf:" prefix and line end;
// may be empty.
std::string last_libbpf_warning();
// Forgets that line; installs the handler if that has not been done.
void clear_libbpf_log();

}  // namespace fiberprof
