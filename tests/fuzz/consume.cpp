// SPDX-License-Identifier: BSD-2-Clause
#include "fuzz/consume.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

#include "dump/dump.h"
#include "fuzz/image.h"
#include "render/dump_json.h"
#include "render/dump_text.h"
#include "support/unique_fd.h"

namespace fiberprof::test {
namespace {

class BytesMemory final : public TargetMemory {
 public:
  explicit BytesMemory(std::string_view bytes) : bytes_(bytes) {}
  ReadStatus read(uint64_t address, std::span<char> out) override {
    if (address < Image::kBase || address - Image::kBase > bytes_.size() ||
        bytes_.size() - (address - Image::kBase) < out.size())
      return ReadStatus::fault;
    if (!out.empty()) std::memcpy(out.data(), bytes_.data() + (address - Image::kBase), out.size());
    return ReadStatus::ok;
  }
  std::string label() const override { return "bytes"; }

 private:
  std::string_view bytes_;
};

size_t dump_every_way(DumpSource& source) {
  size_t fibers = 0;
  const DumpSink nowhere = [](std::string_view) { return true; };
  for (const DumpBy by : {DumpBy::fiber, DumpBy::group, DumpBy::channel, DumpBy::object}) {
    DumpOptions options;
    options.by = by;
    const auto dump = gather(source, options);
    if (!dump) continue;
    fibers = std::max<size_t>(fibers, dump->fibers_seen);
    dump_text(*dump, options, Style(false), 100, nowhere);
    dump_json(*dump, options, nowhere);
  }
  DumpOptions one;
  one.filter.fiber_id = 1;
  if (const auto dump = gather(source, one)) dump_text(*dump, one, Style(true), 80, nowhere);
  return fibers;
}

}  // namespace

size_t consume_memory(std::string_view bytes) {
  DumpSource source;
  auto view = RegistryView::open(std::make_unique<BytesMemory>(bytes), Image::kBase);
  if (!view) return 0;
  source.view = std::move(*view);
  source.symbols = ProcessSymbols::from(0, {}, [](const Mapping&) { return UniqueFd(); });
  if (auto summary = source.view->summary()) source.summary = std::move(*summary);
  source.now_ns = source.summary.clock_ns;
  return dump_every_way(source);
}

size_t consume_core(std::string_view bytes) {
  const UniqueFd fd(memfd_create("core", MFD_CLOEXEC));
  if (!fd || write(fd.get(), bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size())) return 0;
  auto source = DumpSource::from_core("/proc/self/fd/" + std::to_string(fd.get()), "", CoreGaps::zeros);
  if (!source) return 0;
  (void)source->core->remarks();
  return dump_every_way(*source);
}

}  // namespace fiberprof::test
