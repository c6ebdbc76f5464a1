// SPDX-License-Identifier: BSD-2-Clause
#include <algorithm>
#include <charconv>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <string_view>
#include <unordered_map>

#include "symbol/symbolizer.h"

namespace fiberprof {
namespace {

struct KernelSymbol {
  uint64_t address;
  std::string_view name, module;  // module: "[nf_tables]", or empty
};

struct Kallsyms {
  std::string text;
  std::vector<KernelSymbol> symbols;  // functions, by address
};

// All of /proc/kallsyms, about 200,000 lines, read once. All addresses are 0 for who may not see them.
Kallsyms read_kallsyms() {
  Kallsyms all;
  std::ifstream file("/proc/kallsyms");
  all.text.assign(std::istreambuf_iterator<char>(file), {});
  std::string_view rest = all.text;
  while (!rest.empty()) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    const std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    // ffffffff81000000 T name	[module]
    KernelSymbol symbol{};
    const auto [stop, error] = std::from_chars(line.data(), line.data() + line.size(), symbol.address, 16);
    const auto at = static_cast<size_t>(stop - line.data());
    if (error != std::errc() || symbol.address == 0 || line.size() < at + 4) continue;
    if (std::string_view("tTwW").find(line[at + 1]) == std::string_view::npos) continue;
    const std::string_view names = line.substr(at + 3);
    const size_t tab = std::min(names.find('\t'), names.size());
    symbol.name = names.substr(0, tab);
    symbol.module = names.substr(std::min(tab + 1, names.size()));
    all.symbols.push_back(symbol);
  }
  std::stable_sort(all.symbols.begin(), all.symbols.end(),
                   [](const KernelSymbol& a, const KernelSymbol& b) { return a.address < b.address; });
  return all;
}

}  // namespace

const Frame& kernel_frame(uint64_t address) {
  static const Kallsyms kallsyms = read_kallsyms();
  const std::vector<KernelSymbol>& symbols = kallsyms.symbols;
  static std::unordered_map<uint64_t, Frame> known;
  const auto [found, added] = known.try_emplace(address);
  Frame& frame = found->second;
  if (!added) return frame;
  frame.address = address;
  frame.binary = "[kernel]";
  const auto after =
      std::upper_bound(symbols.begin(), symbols.end(), address,
                       [](uint64_t value, const KernelSymbol& symbol) { return value < symbol.address; });
  // kallsyms has no sizes; no kernel function is larger than this
  constexpr uint64_t kLargest = 1 << 20;
  if (after != symbols.begin() && address - std::prev(after)->address < kLargest) {
    frame.function = std::prev(after)->name;
    frame.binary += std::prev(after)->module;
  } else {
    char text[40];
    std::snprintf(text, sizeof text, "[kernel]+0x%llx", static_cast<unsigned long long>(address));
    frame.function = text;
  }
  return frame;
}

}  // namespace fiberprof
