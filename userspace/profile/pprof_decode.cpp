// SPDX-License-Identifier: BSD-2-Clause
// A recording may come from anywhere: every index is checked, every count and every expansion is bounded.
#include <algorithm>
#include <protozero/exception.hpp>
#include <unordered_map>
#include <unordered_set>

#include "profile/pprof_format.h"
#include "profile/pprof_messages.h"

namespace fiberprof::pprof {
namespace {

// A recording of a large service has some ten thousand stacks; these leave two orders of magnitude.
constexpr size_t kMaxEntries = 2'000'000;  // of each table
constexpr size_t kMaxFramesPerSample = 4096;
constexpr size_t kMaxFrameReferences = 50'000'000;
constexpr size_t kMaxLabels = 64;
constexpr size_t kMaxValueTypes = 64;
constexpr size_t kMaxExpandedText = 512U << 20;  // one long string can be named by a million frames

uint64_t clamp(int64_t value) { return value < 0 ? 0 : static_cast<uint64_t>(value); }

class Decoder {
 public:
  Profile run(std::string_view bytes) {
    collect(bytes);
    if (strings_.empty() || strings_.front().size() != 0) bad("not a pprof profile (no string table)");
    comments();
    value_types();
    for (const data_view view : mapping_messages_) insert(mappings_, mapping_of(view), "mapping");
    for (const data_view view : function_messages_) insert(functions_, function_of(view), "function");
    // Samples first count, since the extras' histograms go by sample.
    for (const data_view view : location_messages_) location(view);
    profile_.samples.reserve(sample_messages_.size());
    for (const data_view view : sample_messages_) sample(view);
    for (Sample& each : profile_.samples) {
      if (each.chain > profile_.chains.size() || (each.chain != 0 && profile_.chains[each.chain - 1].empty()))
        each.chain = 0;
    }
    apply_extras();
    return std::move(profile_);
  }

 private:
  void collect(std::string_view bytes) {
    pbf_reader reader(bytes.data(), bytes.size());
    while (reader.next()) {
      switch (reader.tag()) {
        case kSampleType:
          keep(reader, type_messages_, kMaxValueTypes, "sample types");
          break;
        case kSample:
          keep(reader, sample_messages_, kMaxEntries, "samples");
          break;
        case kMapping:
          keep(reader, mapping_messages_, kMaxEntries, "mappings");
          break;
        case kLocation:
          keep(reader, location_messages_, kMaxEntries, "locations");
          break;
        case kFunction:
          keep(reader, function_messages_, kMaxEntries, "functions");
          break;
        case kStringTable:
          keep(reader, strings_, kMaxEntries, "strings");
          break;
        case kTimeNanos:
          profile_.start_unix_ns = clamp(signed_number(reader));
          break;
        case kDurationNanos:
          profile_.duration_ns = clamp(signed_number(reader));
          break;
        case kComment:
          numbers(reader, [&](uint64_t index) {
            bounded(comment_indices_, kMaxLabels, "comments");
            comment_indices_.push_back(index);
          });
          break;
        default:
          reader.skip();
      }
    }
  }

  static void keep(pbf_reader& reader, std::vector<data_view>& list, size_t limit, const char* name) {
    bounded(list, limit, name);
    list.push_back(message(reader));
  }

  std::string_view view(uint64_t index) const {
    if (index >= strings_.size()) bad("string index " + std::to_string(index) + " out of range");
    return {strings_[index].data(), strings_[index].size()};
  }

  std::string text(uint64_t index) {
    const std::string_view found = view(index);
    expanded_ += found.size();
    if (expanded_ > kMaxExpandedText) bad("names expand to more than 512 MiB");
    return std::string(found);
  }

  void comments() {
    for (const uint64_t index : comment_indices_) {
      const std::string_view found = view(index);
      if (found.substr(0, kExtrasPrefix.size()) == kExtrasPrefix) extras_ = found.substr(kExtrasPrefix.size());
    }
  }

  // Other tools may reorder sample types: find ours by name.
  void value_types() {
    value_at_.fill(kMaxValueTypes);
    for (size_t i = 0; i < type_messages_.size(); ++i) {
      const ValueTypeMessage type = value_type_of(type_messages_[i]);
      for (size_t ours = 0; ours < kValueTypes.size(); ++ours) {
        if (view(type.name) == kValueTypes[ours].name && view(type.unit) == kValueTypes[ours].unit) value_at_[ours] = i;
      }
    }
    if (value_at_[kBlocked] == kMaxValueTypes)
      bad("it has no sample type blocked/nanoseconds, so fiberprof did not record it");
  }

  template <class Entry>
  static void insert(std::unordered_map<uint64_t, Entry>& table, const Entry& entry, const char* name) {
    insert(table, entry.id, entry, name);
  }
  template <class Table, class Entry>
  static void insert(Table& table, uint64_t id, Entry entry, const char* name) {
    if (id == 0) bad(std::string(name) + " without an id");
    if (!table.emplace(id, std::move(entry)).second) bad(std::string(name) + " id " + std::to_string(id) + " twice");
  }

  // Locations become frames at once; a sample refers to them by a range.
  void location(data_view bytes) {
    const LocationMessage message = location_of(bytes);
    MappingMessage mapped;
    if (message.mapping != 0) {
      const auto found = mappings_.find(message.mapping);
      if (found == mappings_.end())
        bad("location refers to mapping " + std::to_string(message.mapping) + ", which is not there");
      mapped = found->second;
    }
    ProfileFrame frame;
    frame.binary = text(mapped.file);
    frame.build_id = text(mapped.build_id);
    frame.address = message.address;
    frame.mapping_start = mapped.start;
    frame.mapping_end = mapped.limit;
    frame.mapping_offset = mapped.offset;
    const auto first = static_cast<uint32_t>(profile_.frames.size());
    const std::vector<LineMessage>& lines = message.lines;
    for (size_t i = 0; i < lines.size(); ++i) {
      bounded(profile_.frames, kMaxEntries, "frames");
      const auto found = functions_.find(lines[i].function);
      if (found == functions_.end()) {
        bad("location refers to function " + std::to_string(lines[i].function) + ", which is not there");
      }
      expanded_ += frame.binary.size() + frame.build_id.size();
      frame.function = text(found->second.name);
      frame.file = text(found->second.file);
      frame.line = static_cast<uint32_t>(std::clamp<int64_t>(lines[i].number, 0, UINT32_MAX));
      frame.inlined = i + 1 < lines.size();
      frames_of_function_[lines[i].function].push_back(static_cast<uint32_t>(profile_.frames.size()));
      profile_.frames.push_back(frame);
    }
    if (lines.empty()) {
      bounded(profile_.frames, kMaxEntries, "frames");
      profile_.frames.push_back(frame);
    }
    for (uint32_t i = first; i < profile_.frames.size(); ++i) {
      if (profile_.frames[i].function.empty()) profile_.frames[i].function = "[unknown]";
    }
    insert(locations_, message.id, std::make_pair(first, static_cast<uint32_t>(profile_.frames.size())), "location");
  }

  void add_location(Sample& result, uint64_t id) {
    const auto found = locations_.find(id);
    if (found == locations_.end()) bad("sample refers to location " + std::to_string(id) + ", which is not there");
    for (uint32_t i = found->second.first; i < found->second.second; ++i) {
      if (result.frames.size() == kMaxFramesPerSample) bad("a stack of more than 4096 frames");
      if (++frame_references_ > kMaxFrameReferences) bad("more than 50 million frames in all stacks");
      result.frames.push_back(i);
    }
  }

  void sample(data_view bytes) {
    pbf_reader reader(bytes);
    Sample result;
    step_ = 0;
    is_cause_ = false;
    std::array<uint64_t, kMaxValueTypes> values{};
    size_t value_count = 0, label_count = 0;
    while (reader.next()) {
      switch (reader.tag()) {
        case kSampleLocation:
          numbers(reader, [&](uint64_t id) { add_location(result, id); });
          break;
        case kSampleValue:
          numbers(reader, [&](uint64_t each) {
            if (value_count == values.size()) bad("a sample with more than 64 values");
            values[value_count++] = clamp(static_cast<int64_t>(each));
          });
          break;
        case kSampleLabel:
          if (++label_count > kMaxLabels) bad("a sample with more than 64 labels");
          label(result, message(reader));
          break;
        default:
          reader.skip();
      }
    }
    if (is_cause_) return cause(std::move(result));
    const auto value = [&](size_t ours) { return value_at_[ours] < value_count ? values[value_at_[ours]] : 0; };
    const bool waits = result.kind == SampleKind::blocked || result.kind == SampleKind::open;
    const bool ran = result.kind == SampleKind::on_cpu;
    result.count = value(waits ? kWaits : ran ? kSamples : kSwitches);
    result.total_ns = value(waits ? kBlocked : ran ? kCpu : result.kind == SampleKind::idle ? kIdle : kOffCpu);
    result.queued_ns = waits ? value(kQueued) : ran ? 0 : value(kRunnable);
    result.max_ns = value(kLongest);
    profile_.samples.push_back(std::move(result));
  }

  // A step of a chain. They come in order, unless another tool has been at it; then chains end early.
  void cause(Sample&& sample) {
    Cause result;
    if (!cause_from_name(sample.name, result.kind)) bad("a cause of unknown kind");
    if (sample.chain == 0 || sample.chain > kMaxEntries) bad("a cause outside of any chain");
    if (sample.chain > profile_.chains.size() + 1) return;
    if (sample.chain > profile_.chains.size()) profile_.chains.emplace_back();
    Chain& chain = profile_.chains[sample.chain - 1];
    if (step_ != chain.size() + 1) return;
    result.text = std::move(sample.reason);
    result.frames = std::move(sample.frames);
    chain.push_back(std::move(result));
  }

  void label(Sample& result, data_view bytes) {
    const LabelMessage message = label_of(bytes);
    const std::string_view name = view(message.key);
    if (name == kLabelKind) {
      is_cause_ = view(message.text) == kKindCause;
      if (!is_cause_ && !kind_from_name(view(message.text), result.kind)) bad("a sample of unknown kind");
    } else if (name == kLabelReason) {
      result.reason = text(message.text);
    } else if (name == kLabelProcess) {
      result.process = text(message.text);
    } else if (name == kLabelName) {
      result.name = text(message.text);
    } else if (name == kLabelPid) {
      result.pid = static_cast<uint32_t>(std::clamp<int64_t>(message.number, 0, UINT32_MAX));
    } else if (name == kLabelChain) {
      result.chain = static_cast<uint32_t>(std::clamp<int64_t>(message.number, 0, UINT32_MAX));
    } else if (name == kLabelStep) {
      step_ = static_cast<size_t>(std::clamp<int64_t>(message.number, 0, UINT32_MAX));
    }
  }

  void apply_extras() {
    if (extras_.empty()) return;
    std::vector<uint64_t> runtime_functions;
    const Result<void> decoded = decode_extras(extras_, profile_, runtime_functions);
    if (!decoded) bad(decoded.error().why);
    for (const uint64_t id : std::unordered_set<uint64_t>(runtime_functions.begin(), runtime_functions.end())) {
      const auto found = frames_of_function_.find(id);
      if (found == frames_of_function_.end()) continue;
      for (const uint32_t index : found->second) profile_.frames[index].runtime = true;
    }
  }

  Profile profile_;
  std::string_view extras_;
  bool is_cause_ = false;  // the sample being read
  size_t step_ = 0;
  size_t expanded_ = 0, frame_references_ = 0;
  std::array<size_t, kValueTypes.size()> value_at_{};
  std::vector<uint64_t> comment_indices_;
  std::vector<data_view> type_messages_, sample_messages_, mapping_messages_, location_messages_, function_messages_,
      strings_;
  std::unordered_map<uint64_t, MappingMessage> mappings_;
  std::unordered_map<uint64_t, FunctionMessage> functions_;
  std::unordered_map<uint64_t, std::vector<uint32_t>> frames_of_function_;
  std::unordered_map<uint64_t, std::pair<uint32_t, uint32_t>> locations_;
};

}  // namespace

Result<Profile> decode(std::string_view bytes) {
  try {
    return Decoder().run(bytes);
  } catch (const Bad& error) {
    return fail("", error.why);
  } catch (const protozero::exception& error) {
    return fail("", std::string("damaged profile (") + error.what() + ")");
  }
}

}  // namespace fiberprof::pprof
