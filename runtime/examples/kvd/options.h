// SPDX-License-Identifier: BSD-2-Clause
// The command line of fiber-kvd.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace kvd {

struct Options {
  std::string bind = "127.0.0.1";  // numeric address
  std::uint16_t port = 6379;       // 0: the kernel picks one
  unsigned shards = 64;
  unsigned processors = 0;  // 0: as many as there are CPUs
  unsigned busy_poll = 50;  // us; 0: not at all
  std::string log;          // file; empty: no log
};

// Empty when the program is to end at once with `status`: after --help, or after a message about what is wrong.
std::optional<Options> parse_options(int argc, char** argv, int& status);

}  // namespace kvd
