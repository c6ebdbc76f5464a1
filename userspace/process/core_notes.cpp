// SPDX-License-Identifier: BSD-2-Clause
#include "process/core_notes.h"

#include <sys/procfs.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <string_view>

namespace fiberprof {
namespace {

// Bounds far above what the kernel writes: it limits NT_FILE to 4 MiB, and threads to some 32,000 unless raised.
constexpr uint64_t kMaxNotes = 2'000'000;
constexpr size_t kMaxThreads = 200'000;
constexpr size_t kMaxVectorBytes = 512U << 20;  // of all threads
constexpr size_t kMaxVectorState = 64U << 10;   // of one, in one note
constexpr size_t kMaxFileNote = 64U << 20;
constexpr size_t kMaxAuxiliary = 64U << 10;

// Parts of a file in order, a window at a time.
class Window {
 public:
  explicit Window(const ElfFile& file) : file_(file) {}
  // Valid until the next call; empty when the file ends before.
  std::string_view at(uint64_t offset, size_t size) {
    if (offset < start_ || offset - start_ > bytes_.size() || bytes_.size() - (offset - start_) < size) {
      bytes_ = file_.read(offset, std::max<size_t>(size, 256U << 10));
      start_ = offset;
      if (bytes_.size() < size) return {};
    }
    return std::string_view(bytes_).substr(offset - start_, size);
  }

 private:
  const ElfFile& file_;
  uint64_t start_ = 0;
  std::string bytes_;
};

template <class T>
std::optional<T> value_at(std::string_view bytes, uint64_t offset = 0) {
  T value;
  if (offset > bytes.size() || bytes.size() - offset < sizeof value) return std::nullopt;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

bool add_thread(std::string_view bytes, CoreNotes& notes) {
  const auto status = value_at<elf_prstatus>(bytes);
  static_assert(sizeof status->pr_reg == sizeof(user_regs_struct));
  if (!status || notes.threads.size() >= kMaxThreads) return false;
  if (notes.threads.empty()) notes.signal = status->pr_cursig;
  CoreThread thread;
  thread.tid = static_cast<uint32_t>(status->pr_pid);
  user_regs_struct registers;
  std::memcpy(&registers, &status->pr_reg, sizeof registers);
  std::memcpy(thread.registers.data(), &registers, sizeof registers);
#if defined(__x86_64__)
  thread.pc = registers.rip;
  thread.sp = registers.rsp;
  thread.bp = registers.rbp;
  thread.tls = registers.fs_base;
#else
  thread.pc = registers.pc;
  thread.sp = registers.sp;
  thread.bp = registers.regs[29];
#endif
  notes.threads.push_back(std::move(thread));
  return true;
}

bool add_process(std::string_view bytes, CoreNotes& notes) {
  const auto process = value_at<elf_prpsinfo>(bytes);
  if (!process) return false;
  notes.pid = static_cast<uint32_t>(process->pr_pid);
  notes.name.assign(process->pr_fname, strnlen(process->pr_fname, sizeof process->pr_fname));
  return true;
}

bool add_auxiliary(std::string_view bytes, CoreNotes& notes) {
  for (; bytes.size() >= 16; bytes.remove_prefix(16)) {
    const uint64_t key = *value_at<uint64_t>(bytes), value = *value_at<uint64_t>(bytes, 8);
    if (key == AT_NULL) return true;
    notes.auxv.emplace(key, value);
  }
  return bytes.empty();
}

// Two words, count and unit of the offsets; then {start, end, offset} of each, then their paths.
bool add_files(std::string_view bytes, CoreNotes& notes) {
  const auto count = value_at<uint64_t>(bytes), unit = value_at<uint64_t>(bytes, 8);
  if (!count || !unit || *count > (bytes.size() - 16) / 24 || *unit == 0) return false;
  std::string_view paths = bytes.substr(16 + *count * 24);
  for (uint64_t i = 0; i < *count; ++i) {
    CoreFileRange range;
    range.start = *value_at<uint64_t>(bytes, 16 + i * 24);
    range.end = *value_at<uint64_t>(bytes, 24 + i * 24);
    const bool wraps = __builtin_mul_overflow(*value_at<uint64_t>(bytes, 32 + i * 24), *unit, &range.offset);
    const size_t end = paths.find('\0');
    if (wraps || end == std::string_view::npos || range.end <= range.start) return false;
    std::string_view path = paths.substr(0, end);
    paths.remove_prefix(end + 1);
    constexpr std::string_view kDeleted = " (deleted)";
    range.deleted = path.ends_with(kDeleted);
    if (range.deleted) path.remove_suffix(kDeleted.size());
    range.path = path;
    notes.files.push_back(std::move(range));
  }
  return true;
}

// Whether a note of this type is read, and how long one is believed.
size_t most_bytes(uint32_t type) {
  switch (type) {
    case NT_PRSTATUS:
    case NT_PRPSINFO:
      return 4096;
    case NT_AUXV:
      return kMaxAuxiliary;
    case NT_FILE:
      return kMaxFileNote;
    case NT_FPREGSET:
    case NT_X86_XSTATE:
    case NT_ARM_TLS:
    case NT_ARM_SVE:
      return kMaxVectorState;
    default:
      return 0;
  }
}

bool add_note(uint32_t type, std::string_view bytes, CoreNotes& notes, size_t& vector_bytes) {
  CoreThread* const thread = notes.threads.empty() ? nullptr : &notes.threads.back();
  switch (type) {
    case NT_PRSTATUS:
      return add_thread(bytes, notes);
    case NT_PRPSINFO:
      return add_process(bytes, notes);
    case NT_AUXV:
      return add_auxiliary(bytes, notes);
    case NT_FILE:
      return add_files(bytes, notes);
    case NT_ARM_TLS:
      if (thread == nullptr || bytes.size() < 8) return false;
      thread->tls = *value_at<uint64_t>(bytes);
      return true;
    default:
      if (thread == nullptr || vector_bytes + bytes.size() > kMaxVectorBytes) return false;
      vector_bytes += bytes.size();
      thread->vector_registers += bytes;
      return true;
  }
}

}  // namespace

void read_core_notes(const ElfFile& core, uint64_t offset, uint64_t size, CoreNotes& notes) {
  if (offset > core.file_size()) return;
  const uint64_t end = offset + std::min(size, core.file_size() - offset);
  const auto round = [](uint64_t value) { return (value + 3) & ~uint64_t{3}; };
  Window window(core);
  size_t vector_bytes = 0;
  for (uint64_t count = 0; end - offset >= 12 && count < kMaxNotes; ++count) {
    const std::string_view head = window.at(offset, 12);
    if (head.empty()) return;
    const uint64_t name_size = *value_at<uint32_t>(head), description_size = *value_at<uint32_t>(head, 4);
    const uint32_t type = *value_at<uint32_t>(head, 8);
    const uint64_t description = offset + 12 + round(name_size), next = description + round(description_size);
    if (description + description_size > end) {
      ++notes.malformed;
      return;
    }
    // "CORE" and "LINUX" number their notes apart from each other.
    if (const size_t most = most_bytes(type); most != 0 && (name_size == 5 || name_size == 6)) {
      const std::string_view name = window.at(offset + 12, name_size).substr(0, name_size - 1);
      if (name == "CORE" || name == "LINUX") {
        const std::string_view bytes =
            description_size <= most ? window.at(description, description_size) : std::string_view();
        if (bytes.empty() || !add_note(type, bytes, notes, vector_bytes)) ++notes.malformed;
      }
    }
    if (next > end) return;
    offset = next;
  }
}

}  // namespace fiberprof
