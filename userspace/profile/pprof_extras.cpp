// SPDX-License-Identifier: BSD-2-Clause
#include <algorithm>
#include <nlohmann/json.hpp>

#include "profile/pprof_format.h"
#include "profile/queue_json.h"

namespace fiberprof::pprof {
namespace {

using nlohmann::json;

constexpr int kFormat = 1;
constexpr size_t kMaxBuckets = 64;    // log2 of any 64-bit number
constexpr size_t kMaxQueues = 65536;  // processors over all processes of a recording
constexpr size_t kMaxNames = 1024;    // losses, counters
constexpr size_t kMaxProcesses = 65536;

uint64_t number(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number_unsigned() ? found->get<uint64_t>() : 0;
}

double real(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number() ? found->get<double>() : 0;
}

std::string text(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

std::map<std::string, uint64_t> counts(const json& object, const char* key) {
  std::map<std::string, uint64_t> result;
  const auto found = object.find(key);
  if (found == object.end() || !found->is_object()) return result;
  for (const auto& [name, value] : found->items()) {
    if (result.size() == kMaxNames) break;
    if (value.is_number_unsigned()) result[name] = value.get<uint64_t>();
  }
  return result;
}

std::vector<uint64_t> buckets(const json& list) {
  std::vector<uint64_t> result;
  if (!list.is_array()) return result;
  for (const json& value : list) {
    if (result.size() == kMaxBuckets) break;
    result.push_back(value.is_number_unsigned() ? value.get<uint64_t>() : 0);
  }
  return result;
}

void decode_variances(const json& root, Profile& profile) {
  const auto list = root.find("variances");
  if (list == root.end() || !list->is_array()) return;
  for (const json& each : *list) {
    if (!each.is_array() || each.size() != 3 || !each[0].is_number_unsigned()) continue;
    const auto index = each[0].get<uint64_t>();
    if (index >= profile.samples.size() || !each[1].is_number() || !each[2].is_number()) continue;
    profile.samples[index].variance_ns2 = std::max(each[1].get<double>(), 0.0);
    profile.samples[index].count_variance = std::max(each[2].get<double>(), 0.0);
  }
}

}  // namespace

std::string_view kind_name(SampleKind kind) {
  switch (kind) {
    case SampleKind::blocked:
      return "blocked";
    case SampleKind::open:
      return "open";
    case SampleKind::off_cpu:
      return "off-cpu";
    case SampleKind::idle:
      return "idle";
    case SampleKind::on_cpu:
      return "on-cpu";
  }
  return "blocked";
}

bool kind_from_name(std::string_view name, SampleKind& kind) {
  for (const SampleKind each :
       {SampleKind::blocked, SampleKind::open, SampleKind::off_cpu, SampleKind::idle, SampleKind::on_cpu}) {
    if (kind_name(each) == name) {
      kind = each;
      return true;
    }
  }
  return false;
}

bool cause_from_name(std::string_view name, CauseKind& kind) {
  for (const CauseKind each :
       {CauseKind::woken, CauseKind::waited, CauseKind::queued, CauseKind::held, CauseKind::cut}) {
    if (cause_name(each) == name) {
      kind = each;
      return true;
    }
  }
  return false;
}

std::string encode_extras(const Profile& profile, const std::vector<uint64_t>& runtime_functions) {
  json root = {{"format", kFormat},          {"host", profile.host},        {"kernel", profile.kernel},
               {"command", profile.command}, {"target", profile.target},    {"tier", profile.tier},
               {"losses", profile.losses},   {"counters", profile.counters}};
  root["queues"] = queues_json<json>(profile.queues);
  json& queued = root["queued"] = json::array();
  for (const QueuedSite& site : profile.queued) {
    queued.push_back({{"pid", site.pid}, {"process", site.process}, {"site", site.site}, {"total_ns", site.total_ns}});
  }
  root["delays"] = delays_json<json>(profile.delays);
  json& workers = root["workers"] = json::array();
  for (const WorkerStats& worker : profile.workers) {
    workers.push_back({{"pid", worker.pid},
                       {"on_cpu_ns", worker.on_cpu_ns},
                       {"off_cpu_ns", worker.off_cpu_ns},
                       {"runnable_ns", worker.runnable_ns},
                       {"max_runnable_ns", worker.max_runnable_ns},
                       {"samples", worker.samples},
                       {"fiber_samples", worker.fiber_samples},
                       {"runnable", worker.runnable}});
  }
  json& histograms = root["histograms"] = json::array();  // one per sample, in their order
  for (const Sample& sample : profile.samples) {
    size_t used = sample.histogram.size();
    while (used > 0 && sample.histogram[used - 1] == 0) --used;
    histograms.push_back(
        std::vector<uint64_t>(sample.histogram.begin(), sample.histogram.begin() + static_cast<std::ptrdiff_t>(used)));
  }
  json& variances = root["variances"] = json::array();  // the same, where there is one
  for (size_t i = 0; i < profile.samples.size(); ++i) {
    const Sample& sample = profile.samples[i];
    if (sample.variance_ns2 > 0) variances.push_back({i, sample.variance_ns2, sample.count_variance});
  }
  root["runtime_functions"] = runtime_functions;
  // Names come from the target and need not be UTF-8: replace, never throw.
  return root.dump(-1, ' ', false, json::error_handler_t::replace);
}

Result<void> decode_extras(std::string_view source, Profile& profile, std::vector<uint64_t>& runtime_functions) {
  const json root = json::parse(source, nullptr, false);
  if (!root.is_object()) return fail("", "its fiberprof comment is not a JSON object");
  if (number(root, "format") > kFormat) {
    return fail("", "written by a newer fiberprof (format " + std::to_string(number(root, "format")) + ")",
                "read it with that version");
  }
  profile.host = text(root, "host");
  profile.kernel = text(root, "kernel");
  profile.command = text(root, "command");
  profile.target = text(root, "target");
  profile.tier = text(root, "tier");
  profile.losses = counts(root, "losses");
  profile.counters = counts(root, "counters");
  if (const auto queues = root.find("queues"); queues != root.end() && queues->is_array()) {
    for (const json& each : *queues) {
      if (!each.is_object() || profile.queues.size() == kMaxQueues) continue;
      QueueStats queue;
      queue.pid = static_cast<uint32_t>(number(each, "pid"));
      queue.processor = static_cast<uint32_t>(number(each, "processor"));
      queue.ticks = number(each, "ticks");
      queue.mean_depth = real(each, "mean_depth");
      queue.max_depth = number(each, "max_depth");
      queue.idle_fraction = real(each, "idle_fraction");
      if (const auto list = each.find("histogram_log2"); list != each.end()) queue.histogram = buckets(*list);
      profile.queues.push_back(std::move(queue));
    }
  }
  if (const auto queued = root.find("queued"); queued != root.end() && queued->is_array()) {
    for (const json& each : *queued) {
      if (!each.is_object() || profile.queued.size() == kMaxQueues) continue;
      profile.queued.push_back({static_cast<uint32_t>(number(each, "pid")), text(each, "process"), text(each, "site"),
                                number(each, "total_ns")});
    }
  }
  if (const auto delays = root.find("delays"); delays != root.end() && delays->is_array()) {
    for (const json& each : *delays) {
      if (!each.is_object() || profile.delays.size() == kMaxQueues) continue;
      profile.delays.push_back({static_cast<uint32_t>(number(each, "pid")), number(each, "count"),
                                number(each, "p50_ns"), number(each, "p99_ns"), number(each, "p999_ns")});
    }
  }
  if (const auto workers = root.find("workers"); workers != root.end() && workers->is_array()) {
    for (const json& each : *workers) {
      if (!each.is_object() || profile.workers.size() == kMaxProcesses) continue;
      WorkerStats worker;
      worker.pid = static_cast<uint32_t>(number(each, "pid"));
      worker.on_cpu_ns = number(each, "on_cpu_ns");
      worker.off_cpu_ns = number(each, "off_cpu_ns");
      worker.runnable_ns = number(each, "runnable_ns");
      worker.max_runnable_ns = number(each, "max_runnable_ns");
      worker.samples = number(each, "samples");
      worker.fiber_samples = number(each, "fiber_samples");
      if (const auto list = each.find("runnable"); list != each.end()) worker.runnable = buckets(*list);
      profile.workers.push_back(std::move(worker));
    }
  }
  // Only when no other tool has merged or dropped samples in between.
  if (const auto lists = root.find("histograms");
      lists != root.end() && lists->is_array() && lists->size() == profile.samples.size()) {
    for (size_t i = 0; i < profile.samples.size(); ++i) profile.samples[i].histogram = buckets((*lists)[i]);
    decode_variances(root, profile);
  }
  if (const auto ids = root.find("runtime_functions"); ids != root.end() && ids->is_array()) {
    for (const json& id : *ids) {
      if (id.is_number_unsigned()) runtime_functions.push_back(id.get<uint64_t>());
    }
  }
  return {};
}

}  // namespace fiberprof::pprof
