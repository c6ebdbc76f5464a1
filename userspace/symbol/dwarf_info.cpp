// SPDX-License-Identifier: BSD-2-Clause
#include "symbol/dwarf_info.h"

#include <dwarf.h>
#include <elfutils/libdw.h>

#include <algorithm>
#include <unordered_map>

#include "symbol/debug_image.h"
#include "symbol/demangle.h"

namespace fiberprof {
namespace {

// A unit of a large template-heavy program has about 300,000 entries; a nesting of 30 is unusual.
constexpr size_t kMaxEntriesPerUnit = 5'000'000;
constexpr int kMaxDepth = 200;
constexpr size_t kMaxUnits = 1'000'000;
constexpr size_t kMaxRanges = 10'000'000;

struct DwarfEnd {
  void operator()(Dwarf* dwarf) const { dwarf_end(dwarf); }
};
using DwarfHandle = std::unique_ptr<Dwarf, DwarfEnd>;

// Code ranges [low, high) with what they belong to, sorted by `low`.
struct CodeRange {
  uint64_t low, high;
  uint32_t index;
};

// The range with the highest start that holds `address`. Ranges nest at most a little (hot and cold parts, units of
// link-time optimization), so a few steps back do.
const CodeRange* find_range(const std::vector<CodeRange>& ranges, uint64_t address) {
  auto after = std::upper_bound(ranges.begin(), ranges.end(), address,
                                [](uint64_t value, const CodeRange& range) { return value < range.low; });
  for (int steps = 0; steps < 16 && after != ranges.begin(); ++steps) {
    --after;
    if (address < after->high) return &*after;
  }
  return nullptr;
}

void add_ranges(Dwarf_Die& die, uint32_t index, std::vector<CodeRange>& ranges) {
  Dwarf_Addr base = 0, low = 0, high = 0;
  ptrdiff_t offset = 0;
  while ((offset = dwarf_ranges(&die, offset, &base, &low, &high)) > 0 && ranges.size() < kMaxRanges)
    if (low < high && low != 0) ranges.push_back({low, high, index});  // 0: code that the linker dropped
}

void sort_ranges(std::vector<CodeRange>& ranges) {
  std::sort(ranges.begin(), ranges.end(),
            [](const CodeRange& a, const CodeRange& b) { return a.low != b.low ? a.low < b.low : a.high > b.high; });
}

// The next entry on the same level. libdw follows DW_AT_sibling wherever it points: only forwards is believed.
bool next_sibling(Dwarf_Die& die) {
  const Dwarf_Off before = dwarf_dieoffset(&die);
  Dwarf_Die next;
  if (dwarf_siblingof(&die, &next) != 0 || dwarf_dieoffset(&next) <= before) return false;
  die = next;
  return true;
}

class Info final : public DwarfInfo {
 public:
  Info(std::unique_ptr<DebugImage> image, std::unique_ptr<DebugImage> alternate)
      : image_(std::move(image)), alternate_image_(std::move(alternate)) {}

  bool load(bool needs_alternate);
  std::vector<SourceFrame> find(uint64_t vaddr) override;

 private:
  // An entry that encloses functions: namespace, class, function.
  struct Scope {
    Dwarf_Die die;
    uint32_t parent;  // kNoScope: the unit
  };
  struct Unit {
    Dwarf_Die die{};
    bool indexed = false;
    std::vector<CodeRange> functions;  // index: into `dies`
    std::vector<Dwarf_Die> dies;       // concrete functions
    std::vector<Scope> scopes;
    std::unordered_map<Dwarf_Off, uint32_t> enclosing;  // of functions without a linkage name
  };
  static constexpr uint32_t kNoScope = UINT32_MAX;

  void index_unit(Unit& unit);
  void index_children(Unit& unit, Dwarf_Die& parent, uint32_t scope, int depth, size_t& budget);
  const std::string& function_name(Unit& unit, Dwarf_Die& die);
  // "ns::Class::", for a function that has only its own name.
  std::string scope_of(Unit& unit, Dwarf_Off function, int depth);
  std::string scope_name(Unit& unit, uint32_t scope, int depth);
  void line_at(Unit& unit, uint64_t vaddr, SourceFrame& frame);
  // The inlined calls that lead from `function` to `vaddr`, outermost first.
  void inlined_calls(Dwarf_Die& function, uint64_t vaddr, std::vector<Dwarf_Die>& calls, int depth, size_t& budget);

  std::unique_ptr<DebugImage> image_, alternate_image_;
  DwarfHandle alternate_, dwarf_;  // dwarf_ refers to alternate_: destroyed first
  std::vector<Unit> units_;
  std::vector<CodeRange> ranges_;  // index: into units_
  std::unordered_map<Dwarf_Off, std::string> names_;
};

bool Info::load(bool needs_alternate) {
  dwarf_.reset(dwarf_begin_elf(image_->handle(), DWARF_C_READ, nullptr));
  if (!dwarf_) return false;
  if (needs_alternate) {
    // Left alone libdw would open by itself whatever path the file names.
    if (!alternate_image_) return false;
    alternate_.reset(dwarf_begin_elf(alternate_image_->handle(), DWARF_C_READ, nullptr));
    if (!alternate_) return false;
    dwarf_setalt(dwarf_.get(), alternate_.get());
  }
  Dwarf_CU* cu = nullptr;
  Dwarf_Half version = 0;
  uint8_t type = 0;
  Dwarf_Die die;
  // Without asking for the split part: it too would be opened by a path from the file.
  while (units_.size() < kMaxUnits && dwarf_get_units(dwarf_.get(), cu, &cu, &version, &type, &die, nullptr) == 0) {
    if (type != DW_UT_compile && type != DW_UT_skeleton) continue;
    units_.emplace_back();
    units_.back().die = die;
    add_ranges(die, static_cast<uint32_t>(units_.size() - 1), ranges_);
  }
  sort_ranges(ranges_);
  return !ranges_.empty();
}

void Info::index_unit(Unit& unit) {
  unit.indexed = true;
  size_t budget = kMaxEntriesPerUnit;
  Dwarf_Die root = unit.die;
  index_children(unit, root, kNoScope, 0, budget);
  sort_ranges(unit.functions);
}

void Info::index_children(Unit& unit, Dwarf_Die& parent, uint32_t scope, int depth, size_t& budget) {
  Dwarf_Die die;
  if (depth > kMaxDepth || dwarf_child(&parent, &die) != 0) return;
  do {
    if (budget == 0) return;
    --budget;
    switch (dwarf_tag(&die)) {
      case DW_TAG_subprogram: {
        const size_t before = unit.functions.size();
        add_ranges(die, static_cast<uint32_t>(unit.dies.size()), unit.functions);
        if (unit.functions.size() != before) unit.dies.push_back(die);
        if (scope != kNoScope && !dwarf_hasattr(&die, DW_AT_linkage_name))
          unit.enclosing.emplace(dwarf_dieoffset(&die), scope);
        [[fallthrough]];
      }
      case DW_TAG_namespace:
      case DW_TAG_module:
      case DW_TAG_class_type:
      case DW_TAG_structure_type:
      case DW_TAG_union_type:
        if (dwarf_haschildren(&die) != 1) break;
        unit.scopes.push_back({die, scope});
        index_children(unit, die, static_cast<uint32_t>(unit.scopes.size() - 1), depth + 1, budget);
        break;
      case DW_TAG_lexical_block:
        index_children(unit, die, scope, depth + 1, budget);
        break;
      default:
        break;
    }
  } while (next_sibling(die));
}

// Every inlined or concrete copy of a function leads to the one entry that describes it.
Dwarf_Die origin_of(Dwarf_Die die) {
  for (int steps = 0; steps < 16; ++steps) {
    Dwarf_Attribute attribute;
    Dwarf_Die next;
    if ((dwarf_attr(&die, DW_AT_abstract_origin, &attribute) == nullptr &&
         dwarf_attr(&die, DW_AT_specification, &attribute) == nullptr) ||
        dwarf_formref_die(&attribute, &next) == nullptr)
      break;
    die = next;
  }
  return die;
}

const char* linkage_name(Dwarf_Die& die) {
  Dwarf_Attribute attribute;
  for (const unsigned name : {DW_AT_linkage_name, DW_AT_MIPS_linkage_name})
    if (dwarf_attr_integrate(&die, name, &attribute) != nullptr) return dwarf_formstring(&attribute);
  return nullptr;
}

bool is_closure(Dwarf_Die& type) {
  Dwarf_Die member;
  if (dwarf_child(&type, &member) != 0) return false;
  int members = 0;
  do {
    const char* name = dwarf_tag(&member) == DW_TAG_subprogram ? dwarf_diename(&member) : nullptr;
    if (name != nullptr && std::string_view(name) == "operator()") return true;
  } while (++members < 1000 && next_sibling(member));
  return false;
}

std::string Info::scope_of(Unit& unit, Dwarf_Off function, int depth) {
  const auto found = unit.enclosing.find(function);
  return found != unit.enclosing.end() ? scope_name(unit, found->second, depth) : std::string();
}

std::string Info::scope_name(Unit& unit, uint32_t index, int depth) {
  // Deeper only where entries refer to each other in a circle.
  if (index == kNoScope || depth > 32) return {};
  auto [die, parent] = unit.scopes[index];
  const char* name = dwarf_diename(&die);
  switch (dwarf_tag(&die)) {
    case DW_TAG_subprogram: {
      if (const char* mangled = linkage_name(die)) return std::string(qualified_name(demangle(mangled))) + "::";
      Dwarf_Die origin = origin_of(die);
      return scope_of(unit, dwarf_dieoffset(&origin), depth + 1) + (name != nullptr ? name : "?") + "::";
    }
    case DW_TAG_namespace:
      return scope_name(unit, parent, depth + 1) + (name != nullptr ? name : "(anonymous namespace)") + "::";
    default:
      return scope_name(unit, parent, depth + 1) +
             (name != nullptr   ? name
              : is_closure(die) ? "{lambda}"
                                : "{unnamed}") +
             "::";
  }
}

const std::string& Info::function_name(Unit& unit, Dwarf_Die& die) {
  Dwarf_Die origin = origin_of(die);
  const auto [known, added] = names_.try_emplace(dwarf_dieoffset(&origin));
  if (!added) return known->second;
  if (const char* mangled = linkage_name(die))
    known->second = demangle(mangled);
  else if (const char* name = dwarf_diename(&die))
    known->second = scope_of(unit, dwarf_dieoffset(&origin), 0) + name;
  return known->second;
}

void Info::line_at(Unit& unit, uint64_t vaddr, SourceFrame& frame) {
  Dwarf_Line* line = dwarf_getsrc_die(&unit.die, vaddr);
  int number = 0;
  if (line == nullptr || dwarf_lineno(line, &number) != 0) return;
  frame.line = number > 0 ? static_cast<uint32_t>(number) : 0;
  if (const char* file = dwarf_linesrc(line, nullptr, nullptr)) frame.file = file;
}

void Info::inlined_calls(Dwarf_Die& parent, uint64_t vaddr, std::vector<Dwarf_Die>& calls, int depth, size_t& budget) {
  Dwarf_Die die;
  if (depth > kMaxDepth || dwarf_child(&parent, &die) != 0) return;
  do {
    if (budget == 0) return;
    --budget;
    const int tag = dwarf_tag(&die);
    if (tag == DW_TAG_inlined_subroutine && dwarf_haspc(&die, vaddr) == 1) {
      calls.push_back(die);
      inlined_calls(die, vaddr, calls, depth + 1, budget);
      return;
    }
    if (tag == DW_TAG_lexical_block) {
      const size_t before = calls.size();
      inlined_calls(die, vaddr, calls, depth + 1, budget);
      if (calls.size() != before) return;
    }
  } while (next_sibling(die));
}

std::vector<SourceFrame> Info::find(uint64_t vaddr) {
  const CodeRange* range = find_range(ranges_, vaddr);
  if (range == nullptr) return {};
  Unit& unit = units_[range->index];
  if (!unit.indexed) index_unit(unit);
  std::vector<SourceFrame> frames(1);
  line_at(unit, vaddr, frames.front());
  const CodeRange* function = find_range(unit.functions, vaddr);
  if (function == nullptr) return frames.front().line != 0 ? frames : std::vector<SourceFrame>();
  Dwarf_Die& die = unit.dies[function->index];
  std::vector<Dwarf_Die> calls;
  size_t budget = 200'000;
  inlined_calls(die, vaddr, calls, 0, budget);

  Dwarf_Files* files = nullptr;
  size_t file_count = 0;
  if (!calls.empty()) dwarf_getsrcfiles(&unit.die, &files, &file_count);
  // The line table gives the place in the innermost function; each inlined function knows where it was called.
  for (auto call = calls.rbegin(); call != calls.rend(); ++call) {
    frames.back().function = function_name(unit, *call);
    frames.back().inlined = true;
    SourceFrame caller;
    Dwarf_Attribute attribute;
    Dwarf_Word number = 0;
    if (dwarf_attr(&*call, DW_AT_call_line, &attribute) != nullptr && dwarf_formudata(&attribute, &number) == 0)
      caller.line = static_cast<uint32_t>(number);
    if (files != nullptr && dwarf_attr(&*call, DW_AT_call_file, &attribute) != nullptr &&
        dwarf_formudata(&attribute, &number) == 0 && number < file_count)
      if (const char* name = dwarf_filesrc(files, number, nullptr, nullptr)) caller.file = name;
    frames.push_back(std::move(caller));
  }
  frames.back().function = function_name(unit, die);
  return frames;
}

}  // namespace

bool has_dwarf(const ElfFile& file) {
  for (const char* name : {".debug_info", ".zdebug_info"}) {
    const ElfSection* section = file.section(name);
    if (section != nullptr && section->type != SHT_NOBITS && section->size != 0) return true;
  }
  return false;
}

std::unique_ptr<DwarfInfo> DwarfInfo::open(const ElfFile& file, const ElfFile* alternate) {
  auto image = DebugImage::build(file);
  if (!image) return nullptr;
  auto info = std::make_unique<Info>(std::move(image), alternate != nullptr ? DebugImage::build(*alternate) : nullptr);
  if (!info->load(file.section(".gnu_debugaltlink") != nullptr)) return nullptr;
  return info;
}

}  // namespace fiberprof
