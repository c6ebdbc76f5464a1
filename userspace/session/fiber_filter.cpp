// SPDX-License-Identifier: BSD-2-Clause
#include "session/fiber_filter.h"

#include <bpf/bpf.h>
#include <fiberprof/registry.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "elf/symbol_table.h"
#include "process/maps.h"
#include "process/registry_view.h"
#include "session/skeleton.h"
#include "symbol/debug_file.h"
#include "symbol/demangle.h"
#include "symbol/symbolizer.h"

namespace fiberprof {

static_assert(FP_NAME_WORDS * 8 == FIBERPROF_NAME_SIZE);

namespace {

constexpr size_t kMaxSites = 4096;  // as many as the kernel's map has room for
constexpr size_t kMaxSuggestions = 5;
constexpr uint64_t kMaxLookedAt = 100'000;  // fibers, for suggestions

// Adds the addresses of every function of one mapped file that one of the sites means; `found` notes which did.
void add_entries(const FiberProcess& process, const Mapping& mapping, const std::vector<std::string>& sites,
                 std::set<uint64_t>& entries, std::set<std::string>& found) {
  auto opened = open_mapped_file(process.pid, mapping);
  if (!opened) return;
  const auto file = ElfFile::open(std::move(opened->fd), mapping.path);
  if (!file) return;
  const auto debug = file->section(".symtab") ? std::nullopt : find_debug_file(*file, mapping.path, -1);
  SymbolTable::functions(debug ? *debug : *file).each([&](const ElfSymbol& symbol) {
    const std::string name = demangle(symbol.name);
    for (const std::string& site : sites) {
      if (!is_site(name, site)) continue;
      const auto offset = file->offset_of(symbol.address);
      if (!offset || *offset < mapping.offset || *offset - mapping.offset >= mapping.end - mapping.start) continue;
      entries.insert(mapping.start + (*offset - mapping.offset));
      found.insert(site);
    }
  });
}

// What the fibers of a process were spawned with, most fibers first.
std::string spawned_with(const FiberProcess& process) {
  const auto view = process.registry_address ? RegistryView::open(process.pid, process.registry_address)
                                             : Result<std::unique_ptr<RegistryView>>(fail("no registry"));
  const auto symbols = ProcessSymbols::open(process.pid);
  if (!view || !symbols) return "";
  std::map<uint64_t, size_t> counts;
  (void)(*view)->fibers([&](const FiberInfo& fiber) { ++counts[fiber.entry]; }, kMaxLookedAt);
  std::vector<std::pair<size_t, uint64_t>> order;
  for (const auto& [entry, count] : counts)
    if (entry) order.emplace_back(count, entry);
  std::sort(order.rbegin(), order.rend());
  std::string text;
  for (size_t i = 0; i < std::min(order.size(), kMaxSuggestions); ++i)
    text += (i ? ", " : "") + short_name((*symbols)->resolve(order[i].second, false).back().function);
  return text;
}

fp_name_pattern pattern_of(std::string_view name) {
  fp_name_pattern pattern{};
  char text[FIBERPROF_NAME_SIZE] = {}, mask[FIBERPROF_NAME_SIZE] = {};
  const bool open_end = name.ends_with('*');
  if (open_end) name.remove_suffix(1);
  std::copy(name.begin(), name.end(), text);
  // What comes after the terminating zero is anything.
  std::fill(mask, mask + name.size() + (open_end ? 0 : 1), static_cast<char>(-1));
  std::memcpy(pattern.text, text, sizeof text);
  std::memcpy(pattern.mask, mask, sizeof mask);
  return pattern;
}

}  // namespace

bool is_site(std::string_view demangled, std::string_view site) {
  const std::string name = short_name(demangled, SIZE_MAX);
  for (size_t at = name.find(site); at != std::string::npos && !site.empty(); at = name.find(site, at + 1)) {
    const bool begins = at == 0 || (at >= 2 && name.compare(at - 2, 2, "::") == 0);
    const std::string_view rest = std::string_view(name).substr(at + site.size());
    if (begins && (rest.empty() || rest.starts_with("::{lambda") || rest.starts_with('<'))) return true;
  }
  return false;
}

Result<FiberSelection> FiberSelection::make(const FiberFilter& filter, const std::vector<FiberProcess>& processes) {
  FiberSelection selection;
  selection.filter_ = filter;
  if (filter.names.size() > FP_MAX_NAME_PATTERNS)
    return fail("too many fiber names", "at most " + std::to_string(FP_MAX_NAME_PATTERNS), {}, ExitCode::usage);
  for (const std::string& name : filter.names) {
    const std::string what = "no fiber can have the name '" + name + "'";
    if (name.empty() || name.find('*') < name.size() - 1) return fail(what, "* is for the end", {}, ExitCode::usage);
    if (name.size() >= FIBERPROF_NAME_SIZE)
      return fail(what, "names have at most " + std::to_string(FIBERPROF_NAME_SIZE - 1) + " characters", {},
                  ExitCode::usage);
  }
  if (filter.sites.empty()) return selection;
  std::set<std::string> found;
  for (const FiberProcess& process : processes) {
    const auto maps = read_maps(process.pid);
    if (!maps) return tl::unexpected(maps.error());
    for (const Mapping& mapping : *maps)
      if (mapping.executable && mapping.is_file())
        add_entries(process, mapping, filter.sites, selection.entries_[process.pid], found);
  }
  for (const std::string& site : filter.sites) {
    if (found.contains(site)) continue;
    const std::string near = processes.empty() ? "" : spawned_with(processes.front());
    return fail("no function '" + site + "'", "", near.empty() ? "" : "fibers there were spawned with " + near,
                ExitCode::usage);
  }
  return selection;
}

bool FiberSelection::wants(uint32_t pid, uint64_t entry, std::string_view name) const {
  const auto matches = [&](std::string_view pattern) {
    return pattern.ends_with('*') ? name.starts_with(pattern.substr(0, pattern.size() - 1)) : name == pattern;
  };
  if (!filter_.names.empty() && std::none_of(filter_.names.begin(), filter_.names.end(), matches)) return false;
  if (filter_.sites.empty()) return true;
  const auto entries = entries_.find(pid);
  return entries != entries_.end() && entries->second.contains(entry);
}

void FiberSelection::configure(fiberprof_bpf& skeleton) const {
  skeleton.rodata->fiber_name_at = offsetof(fiberprof_fiber, name);
  skeleton.rodata->filter_sites = !filter_.sites.empty();
  skeleton.rodata->filter_names = static_cast<uint8_t>(filter_.names.size());
  for (size_t i = 0; i < filter_.names.size(); ++i) skeleton.rodata->name_patterns[i] = pattern_of(filter_.names[i]);
}

Result<void> FiberSelection::fill(const fiberprof_bpf& skeleton) const {
  size_t count = 0;
  for (const auto& [pid, entries] : entries_)
    for (const uint64_t entry : entries) {
      const fp_site site{entry, pid, 0};
      const uint8_t yes = 1;
      if (++count > kMaxSites ||
          bpf_map__update_elem(skeleton.maps.sites, &site, sizeof site, &yes, sizeof yes, BPF_ANY))
        return fail("too many functions match", "at most " + std::to_string(kMaxSites), "name one more exactly",
                    ExitCode::usage);
    }
  return {};
}

}  // namespace fiberprof
