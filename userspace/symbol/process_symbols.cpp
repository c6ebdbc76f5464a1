// SPDX-License-Identifier: BSD-2-Clause
#include <fcntl.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <tuple>
#include <unordered_map>

#include "process/maps.h"
#include "process/proc.h"
#include "symbol/binary_symbols.h"
#include "symbol/runtime_names.h"
#include "symbol/symbolizer.h"

namespace fiberprof {
namespace {

constexpr size_t kMaxMapsBytes = 512U << 20;
constexpr size_t kMaxCachedAddresses = 1'000'000;
constexpr size_t kMaxPlaces = 100'000;  // code mappings; the kernel allows 65,530 mappings in all unless told otherwise

std::string with_offset(const std::string& name, uint64_t offset) {
  char text[32];
  std::snprintf(text, sizeof text, "+0x%llx", static_cast<unsigned long long>(offset));
  return name + text;
}

// The vdso is the same in every process of a kernel, so ours stands for all: a file made of it, opened once.
UniqueFd vdso_file(uint64_t size) {
  const uint64_t start = getauxval(AT_SYSINFO_EHDR);
  if (start == 0) return UniqueFd();
  const auto maps = read_maps(static_cast<uint32_t>(getpid()));
  const Mapping* own = maps ? find_mapping(*maps, start) : nullptr;
  if (own == nullptr || own->end - start != size) return UniqueFd();
  UniqueFd fd(memfd_create("vdso", MFD_CLOEXEC));
  const auto* image =
      reinterpret_cast<const void*>(start);  // NOLINT(performance-no-int-to-ptr): so the kernel tells it
  if (!fd || write(fd.get(), image, size) != static_cast<ssize_t>(size)) return UniqueFd();
  return fd;
}

// Binaries in use, so that processes that map the same file share its symbols.
std::shared_ptr<BinarySymbols> shared_binary(UniqueFd fd, const std::string& path,
                                             const std::shared_ptr<const UniqueFd>& root) {
  using Key = std::tuple<uint64_t, uint64_t, int64_t, int64_t>;
  static std::map<Key, std::weak_ptr<BinarySymbols>> known;
  struct stat info {};
  if (fstat(fd.get(), &info) != 0) return nullptr;
  std::weak_ptr<BinarySymbols>& entry = known[Key(info.st_dev, info.st_ino, info.st_ctim.tv_sec, info.st_ctim.tv_nsec)];
  auto binary = entry.lock();
  if (known.size() > 4096)
    std::erase_if(known, [&](const auto& item) { return &item.second != &entry && item.second.expired(); });
  if (!binary) entry = binary = std::make_shared<BinarySymbols>(std::move(fd), path, root);
  return binary;
}

class Symbols final : public ProcessSymbols {
 public:
  explicit Symbols(uint32_t pid) : pid_(pid) {}
  Symbols(uint32_t pid, const std::vector<Mapping>& code, const OpenFile& open_file) : pid_(pid), fixed_(true) {
    adopt(code, open_file);
  }
  Result<void> load();
  void refresh() override {
    if (!fixed_) (void)load();
  }
  bool has_code_at(uint64_t address) const override { return place_of(address) != nullptr; }
  const std::vector<Frame>& resolve(uint64_t address, bool is_return_address) override;
  std::vector<uint64_t> complete(const LeafSnapshot& leaf, const std::vector<uint64_t>& chain) override;

 private:
  struct Place {
    Mapping mapping;
    std::shared_ptr<BinarySymbols> binary;  // null: not a file that can be read
  };
  void adopt(const std::vector<Mapping>& maps, const OpenFile& open_file);
  const Place* place_of(uint64_t address) const;
  std::vector<Frame> look_up(uint64_t address) const;

  uint32_t pid_;
  bool fixed_ = false;  // the mappings are those it was made with
  std::shared_ptr<const UniqueFd> root_;
  std::string maps_text_;
  std::vector<Place> places_;  // by address
  std::unordered_map<uint64_t, std::vector<Frame>> frames_;
};

Result<void> Symbols::load() {
  auto text = read_proc_file(pid_, "maps", kMaxMapsBytes);
  if (!text) return tl::unexpected(text.error());
  if (text->empty()) return tl::unexpected(why_without_memory(pid_));
  if (*text == maps_text_) return {};
  if (!root_) {
    // Held open: it stays when the process, and with it its mount namespace, is gone.
    root_ = std::make_shared<const UniqueFd>(
        ::open(("/proc/" + std::to_string(pid_) + "/root").c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  }
  maps_text_ = std::move(*text);
  std::vector<Mapping> maps;
  std::string_view rest = maps_text_;
  while (!rest.empty()) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    if (auto mapping = parse_mapping(rest.substr(0, end))) maps.push_back(std::move(*mapping));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  adopt(maps, [this](const Mapping& mapping) {
    auto opened = open_mapped_file(pid_, mapping);
    return opened ? std::move(opened->fd) : UniqueFd();
  });
  return {};
}

void Symbols::adopt(const std::vector<Mapping>& maps, const OpenFile& open_file) {
  std::vector<Place> places;
  const auto same_as_before = [&](const Mapping& mapping) -> const Place* {
    const Place* old = place_of(mapping.start);
    const bool same = old != nullptr && old->mapping.start == mapping.start && old->mapping.inode == mapping.inode &&
                      old->mapping.device == mapping.device && old->mapping.offset == mapping.offset;
    return same ? old : nullptr;
  };
  for (const Mapping& mapping : maps) {
    // Stacks hold addresses of code only, and a process may have tens of thousands of data mappings.
    if (!mapping.executable || places.size() >= kMaxPlaces) continue;
    Place place{mapping, nullptr};
    if (const Place* old = same_as_before(mapping)) {
      place.binary = old->binary;
    } else if (mapping.is_file()) {
      if (UniqueFd fd = open_file(mapping)) place.binary = shared_binary(std::move(fd), mapping.path, root_);
    } else if (mapping.path == "[vdso]") {
      static UniqueFd vdso = vdso_file(mapping.end - mapping.start);
      if (vdso) place.binary = shared_binary(UniqueFd(dup(vdso.get())), mapping.path, nullptr);
    }
    places.push_back(std::move(place));
  }
  // Code that is gone (dlclose, exec) may still be named by stacks taken before.
  const size_t live = places.size();
  for (const Place& old : places_) {
    if (!old.binary || places.size() >= kMaxPlaces) continue;
    const auto begin = places.begin(), end = begin + static_cast<ptrdiff_t>(live);
    const auto after =
        std::partition_point(begin, end, [&](const Place& place) { return place.mapping.end <= old.mapping.start; });
    if (after == end || after->mapping.start >= old.mapping.end) places.push_back(old);
  }
  std::sort(places.begin(), places.end(),
            [](const Place& a, const Place& b) { return a.mapping.start < b.mapping.start; });
  // Data mappings come and go all the time; when the code is the same, so are the answers.
  const bool same =
      std::equal(places.begin(), places.end(), places_.begin(), places_.end(), [](const Place& a, const Place& b) {
        return a.mapping.start == b.mapping.start && a.mapping.end == b.mapping.end && a.binary == b.binary &&
               a.mapping.path == b.mapping.path;
      });
  if (same) return;
  places_ = std::move(places);
  frames_.clear();
}

const Symbols::Place* Symbols::place_of(uint64_t address) const {
  const auto after = std::upper_bound(places_.begin(), places_.end(), address,
                                      [](uint64_t value, const Place& place) { return value < place.mapping.start; });
  if (after == places_.begin()) return nullptr;
  const Place& place = *std::prev(after);
  return address < place.mapping.end ? &place : nullptr;
}

std::vector<Frame> Symbols::look_up(uint64_t address) const {
  Frame frame;
  frame.address = address;
  const Place* place = place_of(address);
  if (place == nullptr) {
    frame.function = "[unknown]";
    return {frame};
  }
  const Mapping& mapping = place->mapping;
  frame.mapping_start = mapping.start;
  frame.mapping_end = mapping.end;
  frame.mapping_offset = mapping.offset;
  frame.binary = mapping.path;
  const uint64_t offset = address - mapping.start;
  if (!place->binary) {
    const std::string name = mapping.path.empty() ? "[anon]" : mapping.path.substr(mapping.path.rfind('/') + 1);
    frame.function = with_offset(name, offset + (mapping.is_file() ? mapping.offset : 0));
    return {frame};
  }
  frame.build_id = place->binary->build_id();
  std::vector<Frame> frames;
  for (SourceFrame& source : place->binary->find(place->binary->vaddr_of(offset + mapping.offset))) {
    frame.function = std::move(source.function);
    frame.file = std::move(source.file);
    frame.line = source.line;
    frame.inlined = source.inlined;
    frame.runtime = is_runtime_function(frame.function);
    frames.push_back(frame);
  }
  return frames;
}

const std::vector<Frame>& Symbols::resolve(uint64_t address, bool is_return_address) {
  if (is_return_address) --address;
  const auto known = frames_.find(address);
  if (known != frames_.end()) return known->second;
  if (frames_.size() >= kMaxCachedAddresses) frames_.clear();
  return frames_.emplace(address, look_up(address)).first->second;
}

std::vector<uint64_t> Symbols::complete(const LeafSnapshot& leaf, const std::vector<uint64_t>& chain) {
  return complete_stack(leaf, chain, [&](uint64_t address, bool is_return_address) -> std::optional<UnwindRow> {
    if (is_return_address) --address;
    const Place* place = place_of(address);
    if (place == nullptr || !place->binary) return std::nullopt;
    return place->binary->unwind_row(place->binary->vaddr_of(address - place->mapping.start + place->mapping.offset));
  });
}

}  // namespace

Result<std::unique_ptr<ProcessSymbols>> ProcessSymbols::open(uint32_t pid) {
  auto symbols = std::make_unique<Symbols>(pid);
  if (auto loaded = symbols->load(); !loaded) return tl::unexpected(loaded.error());
  return symbols;
}

std::unique_ptr<ProcessSymbols> ProcessSymbols::from(uint32_t pid, const std::vector<Mapping>& code,
                                                     const OpenFile& open_file) {
  return std::make_unique<Symbols>(pid, code, open_file);
}

std::vector<Frame> ProcessSymbols::stack(const std::vector<uint64_t>& addresses, bool fold_runtime,
                                         bool first_is_return) {
  std::vector<Frame> frames;
  for (size_t i = 0; i < addresses.size(); ++i) {
    const std::vector<Frame>& resolved = resolve(addresses[i], i > 0 || first_is_return);
    frames.insert(frames.end(), resolved.begin(), resolved.end());
  }
  return fold_runtime ? fold_runtime_frames(std::move(frames)) : frames;
}

}  // namespace fiberprof
