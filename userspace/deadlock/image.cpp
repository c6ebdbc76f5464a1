// SPDX-License-Identifier: BSD-2-Clause
#include "deadlock/image.h"

#include <dirent.h>
#include <fiberprof/registry.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "deadlock/copier.h"
#include "deadlock/snapshot.h"
#include "process/target.h"

namespace fiberprof {
namespace {

constexpr uint64_t kRedZone = 128;

uint64_t down(uint64_t address) { return address & ~(kPage - 1); }
uint64_t up(uint64_t address) { return down(address + kPage - 1); }

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

Result<void> provable(const Mapping& mapping) {
  if (!mapping.writable) return {};
  if (!mapping.readable) return fail("no proof is possible", "the program has memory that it writes and nobody reads");
  // A word's upper bits may be a tag, and are not looked at.
  if (mapping.end - 1 > kAddressBits)
    return fail("no proof is possible", "the program has memory at addresses of more than " +
                                            std::to_string(std::bit_width(kAddressBits)) + " bits");
  return {};
}

const Piece* Image::piece_at(uint64_t address) const {
  auto after = std::upper_bound(pieces.begin(), pieces.end(), address,
                                [](uint64_t value, const Piece& piece) { return value < piece.start; });
  return after == pieces.begin() || address >= (--after)->end() ? nullptr : &*after;
}

namespace {

// Finds what the program may write: used parts of its fibers' stacks, and all else. `find_used` is told whether others
// share a range, so that it may be there without this process having touched it.
template <class FindUsed>
Result<void> find_all(RegistryView& view, Image& image, Copier& copier, FindUsed find_used) {
  copier.clear();
  image.stacks.clear();
  image.slabs.clear();
  auto stacks = find_stacks(view, image);
  if (!stacks) return tl::unexpected(stacks.error());
  for (const Range& stack : *stacks)
    if (auto done = find_used(stack, false); !done) return done;
  std::vector<Range> not_again = *stacks;
  for (const Range& range : image.stacks) not_again.push_back({down(range.start), up(range.end)});
  not_again = merged(std::move(not_again));
  for (const Mapping& mapping : image.maps) {
    if (!mapping.writable || mapping.path.starts_with("/dev/") || mapping.path.starts_with("[vv")) continue;
    if (auto may = provable(mapping); !may) return may;
    for (const Range& range : without({mapping.start, mapping.end}, not_again)) {
      if (auto done = find_used(range, mapping.shared); !done) return done;
    }
  }
  return copier.within_limit();
}

}  // namespace

namespace {

// More memory than that in use is not copied while the process stands still, if there is another way.
constexpr uint64_t kCopiedAtOnce = 32 << 20;

std::vector<Range> shared_ranges(const std::vector<Mapping>& maps) {
  std::vector<Range> ranges;
  for (const Mapping& mapping : maps)
    if (mapping.shared && mapping.writable && !mapping.path.starts_with("/dev/"))
      ranges.push_back({mapping.start, mapping.end});
  return merged(std::move(ranges));
}

// What others share goes on changing: it is copied while the process stands still. All else comes from the snapshot.
// `maps`: as they were before.
Result<Image> image_by_snapshot(uint32_t pid, RegistryView& live, const std::vector<Mapping>& maps, uint64_t limit) {
  Image image;
  const std::string label = "process " + std::to_string(pid);
  image.tids = global_tids(pid);
  Copier shared(label, live.memory(), image, limit);
  const std::vector<Range> known = shared_ranges(maps);
  for (const Range& range : known) shared.add(range);
  if (auto within = shared.within_limit(); !within) return tl::unexpected(within.error());
  image.storage.emplace_back(shared.total());
  MemorySnapshot snapshot;
  {
    Freeze freeze;
    if (auto stopped = freeze.stop(pid); !stopped) return tl::unexpected(stopped.error());
    image.threads = freeze.threads();
    shared.copy();
    if (auto read = read_descriptors(pid, image); !read) return tl::unexpected(read.error());
    if (auto taken = snapshot.take(pid, freeze); !taken) return tl::unexpected(taken.error());
    freeze.release();
    image.stopped_ns = freeze.stopped_ns();
  }
  auto now = read_maps(snapshot.pid());
  if (!now) return tl::unexpected(now.error());
  image.maps = std::move(*now);
  for (const Range& range : shared_ranges(image.maps))
    if (!without(range, known).empty()) return fail("cannot copy the memory of " + label, "it began to share some");
  auto view = RegistryView::open(snapshot.pid(), live.address());
  if (!view) return tl::unexpected(view.error());
  Copier copier(label, (*view)->memory(), image, limit);
  copier.concurrent();
  if (auto opened = copier.open(snapshot.pid()); !opened) return tl::unexpected(opened.error());
  auto found = find_all(**view, image, copier, [&](const Range& range, bool others) -> Result<void> {
    return others ? Result<void>() : copier.used(range);
  });
  if (!found) return tl::unexpected(found.error());
  image.storage.emplace_back(copier.total());
  copier.copy();
  return image;
}

}  // namespace

Result<Image> take_image(uint32_t pid, RegistryView& live, uint64_t limit) {
  Image image;
  Copier copier("process " + std::to_string(pid), live.memory(), image, limit);
  copier.concurrent();
  if (auto opened = copier.open(pid); !opened) return tl::unexpected(opened.error());
  const auto find = [&]() -> Result<void> {
    auto maps = read_maps(pid);
    if (!maps) return tl::unexpected(maps.error());
    image.maps = std::move(*maps);
    if (auto summary = live.summary(); !summary) return tl::unexpected(summary.error());  // reads the layout again
    return find_all(live, image, copier, [&](const Range& range, bool others) -> Result<void> {
      if (!others) return copier.used(range);
      copier.add(range);
      return {};
    });
  };
  // A first time while it goes on, only to know how much there is.
  if (auto found = find(); !found) return tl::unexpected(found.error());
  if (copier.total() > kCopiedAtOnce && MemorySnapshot::possible(pid))
    if (auto forked = image_by_snapshot(pid, live, image.maps, limit); forked && MemorySnapshot::possible(pid))
      return forked;
  image.storage.emplace_back(copier.total() + copier.total() / 8 + (4 << 20));

  Freeze freeze;
  if (auto stopped = freeze.stop(pid); !stopped) return tl::unexpected(stopped.error());
  image.threads = freeze.threads();
  image.tids = global_tids(pid);
  if (auto found = find(); !found) return tl::unexpected(found.error());
  copier.copy();
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
    stopped.vector_registers.assign(thread.vector_registers.begin(), thread.vector_registers.end());
    image.threads.push_back(std::move(stopped));
    image.tids.emplace(thread.tid, thread.tid);
  }
  if (core.missing() != 0) return fail("no proof is possible", "the core file was cut short");
  Copier copier("core file " + core.path(), view.memory(), image, limit);
  auto found = find_all(view, image, copier, [&](const Range& range, bool) -> Result<void> {
    copier.add(range);
    return {};
  });
  if (!found) return tl::unexpected(found.error());
  copier.copy();
  return image;
}

std::unique_ptr<TargetMemory> image_memory(const Image& image, TargetMemory& live) {
  return std::make_unique<ImageMemory>(image, live);
}

}  // namespace fiberprof
