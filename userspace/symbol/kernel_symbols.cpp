// SPDX-License-Identifier: BSD-2-Clause
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <unordered_map>

#include "symbol/symbolizer.h"

namespace fiberprof {
namespace {

struct KernelSymbol {
  uint64_t address;
  std::string name;
  std::string module;  // "[nf_tables]", or empty
};

// All of /proc/kallsyms, about 200,000 lines, read once. All addresses are 0 for who may not see them.
std::vector<KernelSymbol> read_kallsyms() {
  std::vector<KernelSymbol> symbols;
  std::ifstream file("/proc/kallsyms");
  std::string line;
  while (std::getline(file, line)) {
    // ffffffff81000000 T name	[module]
    char* end = nullptr;
    const uint64_t address = std::strtoull(line.c_str(), &end, 16);
    if (address == 0 || end[0] != ' ' || end[1] == 0 || end[2] != ' ') continue;
    const char type = end[1];
    if (type != 't' && type != 'T' && type != 'w' && type != 'W') continue;
    std::istringstream rest(end + 3);
    KernelSymbol symbol{address, {}, {}};
    rest >> symbol.name >> symbol.module;
    symbols.push_back(std::move(symbol));
  }
  std::stable_sort(symbols.begin(), symbols.end(),
                   [](const KernelSymbol& a, const KernelSymbol& b) { return a.address < b.address; });
  return symbols;
}

}  // namespace

const Frame& kernel_frame(uint64_t address) {
  static const std::vector<KernelSymbol> symbols = read_kallsyms();
  static std::unordered_map<uint64_t, Frame> known;
  const auto [found, added] = known.try_emplace(address);
  Frame& frame = found->second;
  if (!added) return frame;
  frame.address = address;
  frame.binary = "[kernel]";
  const auto after = std::upper_bound(symbols.begin(), symbols.end(), address,
                                      [](uint64_t value, const KernelSymbol& symbol) { return value < symbol.address; });
  // kallsyms has no sizes; no kernel function is larger than this
  constexpr uint64_t kLargest = 1 << 20;
  if (after != symbols.begin() && address - std::prev(after)->address < kLargest) {
    frame.function = std::prev(after)->name;
    if (!std::prev(after)->module.empty()) frame.binary += std::prev(after)->module;
  } else {
    char text[40];
    std::snprintf(text, sizeof text, "[kernel]+0x%llx", static_cast<unsigned long long>(address));
    frame.function = text;
  }
  return frame;
}

}  // namespace fiberprof
