// SPDX-License-Identifier: BSD-2-Clause
#include "symbol/unwind_table.h"

#include <dwarf.h>
#include <elfutils/libdw.h>

#include <cstdlib>
#include <cstring>
#include <new>
#include <span>
#include <string_view>
#include <unordered_map>

namespace fiberprof {
namespace {

constexpr size_t kMaxCached = 100'000;      // rows
constexpr uint64_t kMaxTable = 1ULL << 30;  // bytes; that of a 300 MB browser has 20 MB

// DWARF register numbers of the two psABIs.
struct Machine {
  int sp, fp, return_address;
};
constexpr Machine kX86{7, 6, 16}, kArm{31, 29, 30};

struct FrameEnd {
  void operator()(Dwarf_Frame* frame) const { std::free(frame); }
};
struct ElfEnd {
  void operator()(Elf* elf) const { elf_end(elf); }
};
struct TableEnd {
  void operator()(Dwarf_CFI* table) const { dwarf_cfi_end(table); }
};

// The table as an ELF file of its own in memory, followed by zeros: libdw 0.188 may read past the end of a section that
// is not well-formed (see debug_image.h). Without .eh_frame_hdr, as its search table is one more thing to be wrong;
// libdw then reads .eh_frame from its beginning as far as it has to, once.
struct Image {
  std::unique_ptr<char[]> bytes;
  std::unique_ptr<Elf, ElfEnd> elf;
};

Image image_of(const ElfFile& file, const ElfSection& section) {
  constexpr size_t kZeros = 64;  // more than the longest number that a table can hold
  constexpr std::string_view kNames("\0.eh_frame\0.shstrtab\0", 21);
  struct {
    Elf64_Ehdr head{};
    Elf64_Shdr sections[3]{};
    char names[24]{};
  } front;
  Image image;
  const std::string table = file.read(section.offset, section.size);
  if (table.size() != section.size) return image;
  std::memcpy(front.head.e_ident, ELFMAG, SELFMAG);
  front.head.e_ident[EI_CLASS] = ELFCLASS64;
  front.head.e_ident[EI_DATA] = ELFDATA2LSB;
  front.head.e_ident[EI_VERSION] = EV_CURRENT;
  front.head.e_type = ET_EXEC;
  front.head.e_machine = file.machine();
  front.head.e_version = EV_CURRENT;
  front.head.e_ehsize = sizeof front.head;
  front.head.e_shoff = offsetof(decltype(front), sections);
  front.head.e_shentsize = sizeof(Elf64_Shdr);
  front.head.e_shnum = 3;
  front.head.e_shstrndx = 2;
  std::memcpy(front.names, kNames.data(), kNames.size());
  Elf64_Shdr& frames = front.sections[1];
  frames.sh_name = 1;
  frames.sh_type = SHT_PROGBITS;
  frames.sh_flags = SHF_ALLOC;
  frames.sh_addr = section.address;  // addresses in the table are relative to their place
  frames.sh_offset = sizeof front;
  frames.sh_size = table.size();
  frames.sh_addralign = 8;
  Elf64_Shdr& names = front.sections[2];
  names.sh_name = 11;
  names.sh_type = SHT_STRTAB;
  names.sh_offset = offsetof(decltype(front), names);
  names.sh_size = kNames.size();
  names.sh_addralign = 1;
  const size_t size = sizeof front + table.size() + kZeros;
  image.bytes.reset(new (std::nothrow) char[size]());
  if (!image.bytes) return image;
  std::memcpy(image.bytes.get(), &front, sizeof front);
  std::memcpy(image.bytes.get() + sizeof front, table.data(), table.size());
  image.elf.reset(elf_memory(image.bytes.get(), size));
  return image;
}

// One operation of the form "register plus offset". nullopt: something else.
std::optional<std::pair<uint64_t, int64_t>> register_plus(const Dwarf_Op& op) {
  if (op.atom >= DW_OP_breg0 && op.atom <= DW_OP_breg31)
    return std::pair(uint64_t{op.atom} - DW_OP_breg0, static_cast<int64_t>(op.number));
  if (op.atom == DW_OP_bregx) return std::pair(op.number, static_cast<int64_t>(op.number2));
  return std::nullopt;
}

std::optional<RegisterRule::From> base(uint64_t number, const Machine& machine) {
  if (number == static_cast<uint64_t>(machine.sp)) return RegisterRule::From::sp;
  if (number == static_cast<uint64_t>(machine.fp)) return RegisterRule::From::fp;
  return std::nullopt;
}

// The few expressions that compilers emit for functions: CFA, sp or fp, plus a constant. All others, which occur in
// linkage tables and hand-written code, are not understood.
RegisterRule rule_of(std::span<const Dwarf_Op> ops, const Machine& machine) {
  RegisterRule rule;
  if (ops.size() == 1 && ops[0].atom == DW_OP_regx) {
    if (ops[0].number == static_cast<uint64_t>(machine.return_address)) rule.kind = RegisterRule::Kind::link;
    return rule;
  }
  if (ops.empty()) return rule;
  if (ops[0].atom == DW_OP_call_frame_cfa) {
    rule.from = RegisterRule::From::cfa;
  } else if (const auto place = register_plus(ops[0])) {
    const auto from = base(place->first, machine);
    if (!from) return rule;
    rule.from = *from;
    rule.offset = place->second;
  } else {
    return rule;
  }
  bool value = false;
  for (size_t i = 1; i < ops.size(); ++i) {
    if (ops[i].atom == DW_OP_plus_uconst && !value) {
      rule.offset = static_cast<int64_t>(static_cast<uint64_t>(rule.offset) + ops[i].number);
    } else if (ops[i].atom == DW_OP_stack_value && i + 1 == ops.size()) {
      value = true;
    } else {
      return RegisterRule{};
    }
  }
  rule.kind = value ? RegisterRule::Kind::value : RegisterRule::Kind::memory;
  return rule;
}

RegisterRule rule_of(Dwarf_Frame* frame, int number, const Machine& machine) {
  Dwarf_Op simple[3];
  Dwarf_Op* ops = nullptr;
  size_t count = 0;
  RegisterRule rule;
  if (dwarf_frame_register(frame, number, simple, &ops, &count) != 0) return rule;
  if (count != 0) return rule_of({ops, count}, machine);
  rule.kind = ops == simple ? RegisterRule::Kind::undefined : RegisterRule::Kind::same;
  return rule;
}

class Table final : public UnwindTable {
 public:
  Table(Image image, Dwarf_CFI* table, const Machine& machine)
      : image_(std::move(image)), table_(table), machine_(machine) {}

  std::optional<UnwindRow> find(uint64_t vaddr) override {
    const auto known = rows_.find(vaddr);
    if (known != rows_.end()) return known->second;
    if (rows_.size() >= kMaxCached) rows_.clear();
    return rows_.emplace(vaddr, look_up(vaddr)).first->second;
  }

 private:
  std::optional<UnwindRow> look_up(uint64_t vaddr) {
    Dwarf_Frame* raw = nullptr;
    if (dwarf_cfi_addrframe(table_.get(), vaddr, &raw) != 0) return std::nullopt;
    const std::unique_ptr<Dwarf_Frame, FrameEnd> frame(raw);
    UnwindRow row;
    Dwarf_Addr start = 0, end = 0;
    const int return_column = dwarf_frame_info(frame.get(), &start, &end, &row.signal_frame);
    if (return_column != machine_.return_address) return std::nullopt;
    Dwarf_Op* ops = nullptr;
    size_t count = 0;
    if (dwarf_frame_cfa(frame.get(), &ops, &count) != 0 || count != 1) return std::nullopt;
    const auto place = register_plus(ops[0]);
    const auto from = place ? base(place->first, machine_) : std::nullopt;
    if (!from) return std::nullopt;
    row.cfa_from = *from;
    row.cfa_offset = place->second;
    row.return_address = rule_of(frame.get(), return_column, machine_);
    row.fp = rule_of(frame.get(), machine_.fp, machine_);
    return row;
  }

  Image image_;
  std::unique_ptr<Dwarf_CFI, TableEnd> table_;  // reads image_
  const Machine& machine_;
  std::unordered_map<uint64_t, std::optional<UnwindRow>> rows_;
};

}  // namespace

std::unique_ptr<UnwindTable> UnwindTable::open(const ElfFile& file) {
  const Machine* machine = file.machine() == EM_X86_64 ? &kX86 : file.machine() == EM_AARCH64 ? &kArm : nullptr;
  const ElfSection* section = file.section(".eh_frame");
  if (machine == nullptr || section == nullptr || section->type == SHT_NOBITS || section->size > kMaxTable)
    return nullptr;
  Image image = image_of(file, *section);
  Dwarf_CFI* table = image.elf ? dwarf_getcfi_elf(image.elf.get()) : nullptr;
  return table ? std::make_unique<Table>(std::move(image), table, *machine) : nullptr;
}

}  // namespace fiberprof
