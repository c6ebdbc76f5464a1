// SPDX-License-Identifier: BSD-2-Clause
#include "deadlock/image.h"

#include <dirent.h>
#include <fcntl.h>
#include <fiberprof/registry.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "process/target.h"
#include "support/unique_fd.h"

namespace fiberprof {
namespace {

constexpr uint64_t kPage = 4096;
constexpr uint64_t kRedZone = 128;

uint64_t down(uint64_t address) { return address & ~(kPage - 1); }
uint64_t up(uint64_t address) { return down(address + kPage - 1); }

std::vector<Range> merged(std::vector<Range> ranges) {
  std::sort(ranges.begin(), ranges.end(), [](const Range& a, const Range& b) { return a.start < b.start; });
  std::vector<Range> result;
  for (const Range& range : ranges) {
    if (range.start >= range.end) continue;
    if (!result.empty() && range.start <= result.back().end)
      result.back().end = std::max(result.back().end, range.end);
    else
      result.push_back(range);
  }
  return result;
}

// `range` without `holes` (ascending, apart).
std::vector<Range> without(Range range, const std::vector<Range>& holes) {
  std::vector<Range> rest;
  for (const Range& hole : holes) {
    if (hole.end <= range.start) continue;
    if (hole.start >= range.end) break;
    if (hole.start > range.start) rest.push_back({range.start, hole.start});
    range.start = hole.end;
  }
  if (range.start < range.end) rest.push_back(range);
  return rest;
}

class Copier {
 public:
  Copier(std::string label, TargetMemory& memory, Image& image, uint64_t limit)
      : label_(std::move(label)), memory_(memory), image_(image), limit_(limit) {}

  // Of a live process, for used().
  Result<void> open(uint32_t pid) {
    const std::string path = "/proc/" + std::to_string(pid) + "/pagemap";
    pagemap_ = UniqueFd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (pagemap_.get() < 0) return fail(what(), path + ": " + std::strerror(errno));
    return {};
  }
  std::string what() const { return "cannot copy the memory of " + label_; }
  Result<void> over_limit() const {
    if (image_.copied <= limit_) return {};
    return fail(what(), "it has more than " + std::to_string(limit_ >> 20) + " MiB in use", "raise --memory");
  }

  // Only pages that are there: reading others would make them.
  Result<void> used(Range range) {
    std::vector<uint64_t> entries(65'536);
    Range run;
    for (uint64_t at = range.start; at < range.end;) {
      const size_t count = std::min<size_t>(entries.size(), (range.end - at) / kPage);
      const ssize_t got = pread(pagemap_.get(), entries.data(), count * 8, static_cast<off_t>(at / kPage * 8));
      if (got <= 0) return fail(what(), "its page map cannot be read");
      const size_t pages = static_cast<size_t>(got) / 8;
      for (size_t i = 0; i < pages; ++i) {
        constexpr uint64_t kPresent = uint64_t{1} << 63, kSwapped = uint64_t{1} << 62, kGuard = uint64_t{1} << 58;
        if ((entries[i] & (kPresent | kSwapped)) == 0 || (entries[i] & kGuard) != 0) continue;
        const uint64_t page = at + i * kPage;
        if (run.end == page) {
          run.end = page + kPage;
          continue;
        }
        if (auto done = copy(run); !done) return done;
        run = {page, page + kPage};
      }
      at += pages * kPage;
    }
    return copy(run);
  }

  Result<void> copy(Range range) {
    if (range.start >= range.end) return {};
    image_.copied += range.end - range.start;
    if (auto within = over_limit(); !within) return within;
    if (add(range)) return {};
    // A page that cannot be read where its mapping can is a guard: the program cannot read it either.
    for (uint64_t page = range.start; page < range.end; page += kPage) add({page, page + kPage});
    return {};
  }

 private:
  bool add(Range range) {
    Piece piece;
    piece.start = range.start;
    piece.bytes.resize(range.end - range.start);
    if (memory_.read(range.start, piece.bytes) != ReadStatus::ok) return false;
    image_.pieces.push_back(std::move(piece));
    return true;
  }

  std::string label_;
  TargetMemory& memory_;
  Image& image_;
  uint64_t limit_;
  UniqueFd pagemap_;
};

// Stacks and records of fibers; the used part of each stack.
Result<std::vector<Range>> find_stacks(RegistryView& live, Image& image) {
  const RegistryLayout& layout = live.layout();
  const size_t size = layout.head.fiber_size;
  std::vector<uint64_t> slabs(layout.head.fiber_slab_count);
  if (!slabs.empty() && live.memory().read(layout.head.fiber_slabs,
                                           {reinterpret_cast<char*>(slabs.data()), slabs.size() * 8}) != ReadStatus::ok)
    return fail("cannot read the fibers", "their slabs are not there");
  std::vector<Range> used;
  std::vector<char> bytes(size * layout.head.fibers_per_slab);
  for (const uint64_t slab : slabs) {
    image.slabs.push_back({slab, slab + bytes.size()});
    if (live.memory().read(slab, bytes) != ReadStatus::ok) return fail("cannot read the fibers", "a slab is not there");
    for (size_t i = 0; i < layout.head.fibers_per_slab; ++i) {
      const char* slot = bytes.data() + i * size;
      const auto number = [&](fiberprof_field_index field) { return layout.number(slot, field); };
      const Range stack{number(FIBERPROF_FIELD_fiber_stack_low), number(FIBERPROF_FIELD_fiber_stack_high)};
      if (stack.start == 0 || stack.start >= stack.end) continue;
      image.stacks.push_back(stack);
      const uint64_t state = number(FIBERPROF_FIELD_fiber_state), sp = number(FIBERPROF_FIELD_fiber_sp);
      if (state == FIBERPROF_FIBER_FREE || state >= FIBERPROF_FIBER_DEAD) continue;
      const bool saved = state == FIBERPROF_FIBER_PARKED || state == FIBERPROF_FIBER_RUNNABLE;
      used.push_back(saved && stack.holds(sp) ? Range{down(std::max(stack.start, sp - kRedZone)), up(stack.end)}
                                              : Range{down(stack.start), up(stack.end)});
    }
  }
  const auto ascending = [](const Range& a, const Range& b) { return a.start < b.start; };
  std::sort(image.stacks.begin(), image.stacks.end(), ascending);
  std::sort(image.slabs.begin(), image.slabs.end(), ascending);
  // A thread may stand on the stack of a fiber that has just been said to have left.
  for (const StoppedThread& thread : image.threads)
    if (const Range* stack = range_at(image.stacks, thread.sp)) used.push_back({down(stack->start), up(stack->end)});
  return merged(std::move(used));
}

// Data words of epoll entries; whether there is an io_uring.
Result<void> read_descriptors(uint32_t pid, Image& image) {
  const std::string base = "/proc/" + std::to_string(pid);
  DIR* directory = opendir((base + "/fd").c_str());
  if (directory == nullptr)
    return fail("cannot read the descriptors of process " + std::to_string(pid), std::strerror(errno));
  std::vector<std::string> names;
  while (const dirent* entry = readdir(directory))
    if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
  closedir(directory);
  for (const std::string& name : names) {
    char link[64] = {};
    if (readlink((base + "/fd/" + name).c_str(), link, sizeof link - 1) <= 0) continue;
    if (std::strstr(link, "io_uring") != nullptr)
      return fail("no proof is possible", "the program has an io_uring, in which pointers may be under way");
    if (std::strstr(link, "[eventpoll]") == nullptr) continue;
    std::ifstream info(base + "/fdinfo/" + name);
    for (std::string line; std::getline(info, line);)
      if (const size_t at = line.find("data:"); at != std::string::npos)
        image.words.push_back(std::strtoull(line.c_str() + at + 5, nullptr, 16));
  }
  return {};
}

class ImageMemory final : public TargetMemory {
 public:
  ImageMemory(const Image& image, TargetMemory& live) : image_(image), live_(live) {}
  ReadStatus read(uint64_t address, std::span<char> out) override {
    if (const Piece* piece = image_.piece_at(address)) {
      if (piece->end() - address < out.size()) return ReadStatus::fault;
      std::memcpy(out.data(), piece->bytes.data() + (address - piece->start), out.size());
      return ReadStatus::ok;
    }
    const Mapping* mapping = find_mapping(image_.maps, address);
    if (mapping == nullptr) return ReadStatus::fault;
    if (!mapping->writable) return live_.read(address, out);
    std::fill(out.begin(), out.end(), '\0');  // a page that was never touched
    return mapping->end - address < out.size() ? ReadStatus::fault : ReadStatus::ok;
  }
  std::string label() const override { return live_.label(); }

 private:
  const Image& image_;
  TargetMemory& live_;
};

}  // namespace

const Range* range_at(const std::vector<Range>& ranges, uint64_t address) {
  auto after = std::upper_bound(ranges.begin(), ranges.end(), address,
                                [](uint64_t value, const Range& range) { return value < range.start; });
  return after == ranges.begin() || !(--after)->holds(address) ? nullptr : &*after;
}

const Piece* Image::piece_at(uint64_t address) const {
  auto after = std::upper_bound(pieces.begin(), pieces.end(), address,
                                [](uint64_t value, const Piece& piece) { return value < piece.start; });
  return after == pieces.begin() || address >= (--after)->end() ? nullptr : &*after;
}

namespace {

// Copies what the program may write: used parts of its fibers' stacks, and all else.
template <class CopyUsed>
Result<void> copy_all(RegistryView& view, Image& image, Copier& copier, CopyUsed copy_used) {
  auto stacks = find_stacks(view, image);
  if (!stacks) return tl::unexpected(stacks.error());
  for (const Range& stack : *stacks)
    if (auto done = copy_used(stack, false); !done) return done;
  std::vector<Range> not_again = *stacks;
  for (const Range& range : image.stacks) not_again.push_back({down(range.start), up(range.end)});
  not_again = merged(std::move(not_again));
  for (const Mapping& mapping : image.maps) {
    if (!mapping.writable || mapping.path.starts_with("/dev/") || mapping.path.starts_with("[vv")) continue;
    if (!mapping.readable)
      return fail("no proof is possible", "the program has memory that it writes and nobody reads");
    for (const Range& range : without({mapping.start, mapping.end}, not_again))
      if (auto done = copy_used(range, mapping.shared); !done) return done;
  }
  std::sort(image.pieces.begin(), image.pieces.end(), [](const Piece& a, const Piece& b) { return a.start < b.start; });
  return copier.over_limit();
}

}  // namespace

Result<Image> take_image(uint32_t pid, RegistryView& live, uint64_t limit) {
  Image image;
  Freeze freeze;
  if (auto stopped = freeze.stop(pid); !stopped) return tl::unexpected(stopped.error());
  image.threads = freeze.threads();
  image.tids = global_tids(pid);
  auto maps = read_maps(pid);
  if (!maps) return tl::unexpected(maps.error());
  image.maps = std::move(*maps);
  Copier copier("process " + std::to_string(pid), live.memory(), image, limit);
  if (auto opened = copier.open(pid); !opened) return tl::unexpected(opened.error());
  if (auto summary = live.summary(); !summary) return tl::unexpected(summary.error());  // reads the layout again
  // What others share may be there without this process having touched it.
  auto copied = copy_all(live, image, copier, [&](const Range& range, bool shared) {
    return shared ? copier.copy(range) : copier.used(range);
  });
  if (!copied) return tl::unexpected(copied.error());
  if (auto read = read_descriptors(pid, image); !read) return tl::unexpected(read.error());
  freeze.release();
  image.stopped_ns = freeze.stopped_ns();
  return image;
}

Result<Image> core_image(const CoreFile& core, RegistryView& view, uint64_t limit) {
  Image image;
  image.maps = core.mappings();
  for (const CoreThread& thread : core.threads()) {
    StoppedThread stopped;
    stopped.tid = thread.tid;
    stopped.sp = thread.sp;
    stopped.thread_pointer = thread.tls;
    const auto* words = reinterpret_cast<const char*>(thread.registers.data());
    stopped.registers.assign(words, words + sizeof thread.registers);
    stopped.registers.insert(stopped.registers.end(), thread.vector_registers.begin(), thread.vector_registers.end());
    image.threads.push_back(std::move(stopped));
    image.tids.emplace(thread.tid, thread.tid);
  }
  Copier copier("core file " + core.path(), view.memory(), image, limit);
  auto copied = copy_all(view, image, copier, [&](const Range& range, bool) { return copier.copy(range); });
  if (!copied) return tl::unexpected(copied.error());
  if (core.missing() != 0) return fail("no proof is possible", "the core file was cut short");
  return image;
}

std::unique_ptr<TargetMemory> image_memory(const Image& image, TargetMemory& live) {
  return std::make_unique<ImageMemory>(image, live);
}

}  // namespace fiberprof
