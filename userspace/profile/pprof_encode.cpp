// SPDX-License-Identifier: BSD-2-Clause
#include <algorithm>
#include <limits>
#include <map>
#include <protozero/pbf_writer.hpp>
#include <tuple>
#include <unordered_map>

#include "profile/losses.h"
#include "profile/pprof_format.h"

namespace fiberprof::pprof {
namespace {

int64_t clamp(uint64_t value) {
  return static_cast<int64_t>(std::min<uint64_t>(value, std::numeric_limits<int64_t>::max()));
}

// Collects the tables of a profile while samples refer to them. Ids start at 1; 0 means "none" in pprof.
class Encoder {
 public:
  explicit Encoder(const Profile& profile) : profile_(profile), out_(bytes_) { string(""); }

  std::string run() {
    for (const ValueType& type : kValueTypes) value_type(kSampleType, type);
    for (const Sample& sample : profile_.samples) add(sample);
    for (size_t i = 0; i < profile_.chains.size(); ++i) {
      for (size_t step = 0; step < profile_.chains[i].size(); ++step) add(profile_.chains[i][step], i + 1, step + 1);
    }
    out_.add_int64(kTimeNanos, clamp(profile_.start_unix_ns));
    out_.add_int64(kDurationNanos, clamp(profile_.duration_ns));
    value_type(kPeriodType, kValueTypes[kBlocked]);
    out_.add_int64(kPeriod, 1);
    out_.add_int64(kDefaultSampleType, string(kDefaultType));
    out_.add_int64(kComment, string(summary()));
    out_.add_int64(kComment, string(std::string(kExtrasPrefix) + encode_extras(profile_, runtime_functions_)));
    for (const std::string* text : strings_in_order_) out_.add_string(kStringTable, *text);
    return std::move(bytes_);
  }

 private:
  // What `pprof` prints at the head of its reports.
  std::string summary() const {
    std::string text = "fiberprof: waits of fibers, " + profile_.target;
    if (!profile_.host.empty()) text += " on " + profile_.host;
    if (!profile_.tier.empty()) text += ", " + profile_.tier;
    uint64_t lost = 0;
    for (const auto& [cause, events] : profile_.losses) lost += is_lost(cause) ? events : 0;
    if (lost != 0) text += ", " + std::to_string(lost) + " events lost";
    std::replace(text.begin(), text.end(), '\n', ' ');
    return text;
  }

  int64_t string(std::string_view text) {
    const auto [slot, inserted] = strings_.try_emplace(std::string(text), static_cast<int64_t>(strings_.size()));
    if (inserted) strings_in_order_.push_back(&slot->first);
    return slot->second;
  }

  void value_type(uint32_t field, const ValueType& type) {
    protozero::pbf_writer message(out_, field);
    message.add_int64(kTypeName, string(type.name));
    message.add_int64(kTypeUnit, string(type.unit));
  }

  uint64_t mapping(const ProfileFrame& frame) {
    if (frame.binary.empty()) return 0;
    auto key =
        std::make_tuple(frame.binary, frame.build_id, frame.mapping_start, frame.mapping_end, frame.mapping_offset);
    const auto [slot, inserted] = mappings_.try_emplace(std::move(key), mappings_.size() + 1);
    if (!inserted) return slot->second;
    const int64_t file = string(frame.binary), build_id = string(frame.build_id);
    protozero::pbf_writer message(out_, kMapping);
    message.add_uint64(kMappingId, slot->second);
    message.add_uint64(kMappingStart, frame.mapping_start);
    message.add_uint64(kMappingLimit, frame.mapping_end);
    message.add_uint64(kMappingOffset, frame.mapping_offset);
    message.add_int64(kMappingFile, file);
    message.add_int64(kMappingBuildId, build_id);
    // All said: viewers must not try to symbolize again with binaries that may not be there.
    message.add_bool(kMappingHasFunctions, true);
    message.add_bool(kMappingHasFilenames, true);
    message.add_bool(kMappingHasLines, true);
    message.add_bool(kMappingHasInlines, true);
    return slot->second;
  }

  uint64_t function(const ProfileFrame& frame) {
    auto key = std::make_tuple(frame.function, frame.file, frame.runtime);
    const auto [slot, inserted] = functions_.try_emplace(std::move(key), functions_.size() + 1);
    if (!inserted) return slot->second;
    if (frame.runtime) runtime_functions_.push_back(slot->second);
    const int64_t name = string(frame.function), file = string(frame.file);
    protozero::pbf_writer message(out_, kFunction);
    message.add_uint64(kFunctionId, slot->second);
    message.add_int64(kFunctionName, name);
    message.add_int64(kFunctionSystemName, name);
    message.add_int64(kFunctionFile, file);
    return slot->second;
  }

  // One address: frames inlined into it first, the function that really is there last.
  uint64_t location(const std::vector<uint32_t>& group) {
    const auto [slot, inserted] = locations_.try_emplace(group, locations_.size() + 1);
    if (!inserted) return slot->second;
    const ProfileFrame& outer = profile_.frames[group.back()];
    const uint64_t mapping_id = mapping(outer);
    std::vector<std::pair<uint64_t, uint32_t>> lines;
    for (const uint32_t index : group)
      lines.emplace_back(function(profile_.frames[index]), profile_.frames[index].line);
    protozero::pbf_writer message(out_, kLocation);
    message.add_uint64(kLocationId, slot->second);
    if (mapping_id != 0) message.add_uint64(kLocationMapping, mapping_id);
    message.add_uint64(kLocationAddress, outer.address);
    for (const auto& [function_id, number] : lines) {
      protozero::pbf_writer line(message, kLocationLine);
      line.add_uint64(kLineFunction, function_id);
      line.add_int64(kLineNumber, number);
    }
    return slot->second;
  }

  std::vector<uint64_t> locations(const std::vector<uint32_t>& frames) {
    std::vector<uint64_t> ids;
    std::vector<uint32_t> group;
    for (const uint32_t index : frames) {
      if (index >= profile_.frames.size()) continue;
      group.push_back(index);
      if (profile_.frames[index].inlined) continue;
      ids.push_back(location(group));
      group.clear();
    }
    if (!group.empty()) ids.push_back(location(group));
    return ids;
  }

  // Who ended a wait, in a word: for a fiber its innermost function that is the program's.
  std::string_view waker(const Sample& sample) const {
    if (sample.chain == 0 || sample.chain > profile_.chains.size()) return "";
    const Chain& chain = profile_.chains[sample.chain - 1];
    if (chain.empty() || !chain.front().text.empty()) return chain.empty() ? "" : std::string_view(chain.front().text);
    for (const uint32_t index : chain.front().frames) {
      if (index < profile_.frames.size() && !profile_.frames[index].runtime) return profile_.frames[index].function;
    }
    return "fiber";
  }

  void add(const Sample& sample) {
    const std::vector<uint64_t> ids = locations(sample.frames);
    std::array<int64_t, kValueTypes.size()> values{};
    values[kLongest] = clamp(sample.max_ns);
    if (sample.kind == SampleKind::blocked || sample.kind == SampleKind::open) {
      values[kWaits] = clamp(sample.count);
      values[kBlocked] = clamp(sample.total_ns);
      values[kQueued] = clamp(sample.queued_ns);
    } else if (sample.kind == SampleKind::on_cpu) {
      values[kSamples] = clamp(sample.count);
      values[kCpu] = clamp(sample.total_ns);
    } else {
      values[kSwitches] = clamp(sample.count);
      values[kRunnable] = clamp(sample.queued_ns);
      values[sample.kind == SampleKind::idle ? kIdle : kOffCpu] = clamp(sample.total_ns);
    }
    message(ids, values,
            {{kLabelKind, kind_name(sample.kind)},
             {kLabelReason, sample.reason},
             {kLabelProcess, sample.process},
             {kLabelName, sample.name},
             {kLabelWaker, waker(sample)}},
            sample.chain != 0 ? std::vector<Number>{{kLabelPid, sample.pid}, {kLabelChain, sample.chain}}
                              : std::vector<Number>{{kLabelPid, sample.pid}});
  }

  void add(const Cause& cause, size_t chain, size_t step) {
    message(locations(cause.frames), {},
            {{kLabelKind, kKindCause}, {kLabelName, cause_name(cause.kind)}, {kLabelReason, cause.text}},
            {{kLabelChain, chain}, {kLabelStep, step}});
  }

  struct Text {
    std::string_view key, value;
  };
  struct Number {
    std::string_view key;
    uint64_t value;
  };
  void message(const std::vector<uint64_t>& ids, const std::array<int64_t, kValueTypes.size()>& values,
               const std::vector<Text>& texts, const std::vector<Number>& numbers) {
    std::vector<std::pair<int64_t, int64_t>> labels, counts;
    for (const Text& each : texts) {
      if (!each.value.empty()) labels.emplace_back(string(each.key), string(each.value));
    }
    for (const Number& each : numbers) counts.emplace_back(string(each.key), clamp(each.value));
    protozero::pbf_writer sample(out_, kSample);
    sample.add_packed_uint64(kSampleLocation, ids.begin(), ids.end());
    sample.add_packed_int64(kSampleValue, values.begin(), values.end());
    for (const auto& [key, value] : labels) {
      protozero::pbf_writer label(sample, kSampleLabel);
      label.add_int64(kLabelKey, key);
      label.add_int64(kLabelText, value);
    }
    for (const auto& [key, value] : counts) {
      protozero::pbf_writer label(sample, kSampleLabel);
      label.add_int64(kLabelKey, key);
      label.add_int64(kLabelNumber, value);
    }
  }

  const Profile& profile_;
  std::string bytes_;
  protozero::pbf_writer out_;
  std::unordered_map<std::string, int64_t> strings_;
  std::vector<const std::string*> strings_in_order_;
  std::map<std::tuple<std::string, std::string, uint64_t, uint64_t, uint64_t>, uint64_t> mappings_;
  std::map<std::tuple<std::string, std::string, bool>, uint64_t> functions_;
  std::map<std::vector<uint32_t>, uint64_t> locations_;
  std::vector<uint64_t> runtime_functions_;
};

}  // namespace

std::string encode(const Profile& profile) { return Encoder(profile).run(); }

}  // namespace fiberprof::pprof
