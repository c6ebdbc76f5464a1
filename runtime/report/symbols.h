// SPDX-License-Identifier: BSD-2-Clause
// Names of functions of this process, from the symbol tables of the files it was loaded from: static functions and
// lambdas too, which dladdr does not know.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "fiber/leaks.h"

namespace fiber::detail {

// Reads each file once in its life. Not for a signal handler; one thread at a time.
class Symbols {
 public:
  Symbols() = default;
  Symbols(const Symbols&) = delete;
  Symbols& operator=(const Symbols&) = delete;
  ~Symbols();

  // `returned_to`: it is the address after a call, which may belong to the next function already.
  CodeLocation locate(const void* address, bool returned_to);

 private:
  struct Symbol {
    std::uint64_t value, size;
    const char* name;
  };
  struct File {
    const std::byte* data = nullptr;
    std::size_t size = 0;
    std::vector<Symbol> functions;  // sorted by value
  };
  const File& file(const std::string& path);
  std::string name(std::uint64_t address, bool returned_to);
  std::map<std::string, File> files_;
  std::unordered_map<std::uint64_t, std::string> names_[2];  // by returned_to: many fibers share their frames
};

}  // namespace fiber::detail
