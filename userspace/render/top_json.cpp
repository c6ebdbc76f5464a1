// SPDX-License-Identifier: BSD-2-Clause
#include <nlohmann/json.hpp>

#include "render/account_json.h"
#include "render/stack_view.h"
#include "render/top_model.h"
#include "session/profile_builder.h"
#include "support/text.h"

namespace fiberprof {
namespace {

using nlohmann::ordered_json;

ordered_json frames_json(const FrameList& frames) {
  ordered_json list = ordered_json::array();
  for (const auto& each : frames) {
    const Frame& frame = *each;
    ordered_json out = {{"function", sanitize(frame.function)}};
    if (!frame.file.empty()) out["file"] = sanitize(frame.file);
    if (frame.line != 0) out["line"] = frame.line;
    if (!frame.binary.empty()) out["binary"] = sanitize(frame.binary);
    list.push_back(std::move(out));
  }
  return list;
}

ordered_json fibers_json(const FiberCensus& census) {
  ordered_json out = {{"total", census.total()},     {"running", census.running}, {"runnable", census.runnable},
                      {"blocking", census.blocking}, {"parked", census.parked},   {"complete", census.complete}};
  ordered_json& by = out["parked_by_reason"] = ordered_json::object();
  for (const ParkedFibers& parked : census.parked_by) {
    by[parked.reason] = {{"count", parked.count}, {"oldest_ns", parked.oldest_ns}};
  }
  return out;
}

ordered_json losses_json(const Losses& losses) {
  ordered_json out = {{"total", losses.total()}};
  for (const auto& [cause, count] : named_losses(losses)) out[cause] = count;
  return out;
}

}  // namespace

std::string top_json(const TopModel& model, size_t max_stacks) {
  ordered_json out = {
      {"pid", model.pid},     {"process", sanitize(model.process)}, {"tier", model.exact ? "exact" : "sampled"},
      {"ended", model.ended}, {"interval_ns", model.interval_ns},   {"watched_ns", model.watched_ns}};
  if (model.deadlock.fibers != 0)
    out["deadlock"] = {{"fibers", model.deadlock.fibers},
                       {"causes", model.deadlock.causes},
                       {"largest", sanitize(model.deadlock.largest)}};
  if (model.fibers) {
    out["fibers"] = fibers_json(*model.fibers);
    out["fibers"]["created"] = model.fibers_created;
    out["fibers"]["age_ns"] = model.fibers_age_ns;
  }
  out["global_queue_depth"] = model.global_queue;
  ordered_json& processors = out["processors"] = ordered_json::array();
  for (const TopProcessor& processor : model.processors) {
    processors.push_back({{"index", processor.index},
                          {"state", processor.state},
                          {"depth", processor.depth},
                          {"mean_depth", processor.mean_depth},
                          {"max_depth", processor.max_depth},
                          {"idle", processor.idle}});
  }
  out["account"] = account_json(model.account);
  out["account"]["interval_ns"] = model.account_ns;
  out["queue_delay"] = {{"count", model.delays.count},
                        {"p50_ns", model.delays.p50_ns},
                        {"p99_ns", model.delays.p99_ns},
                        {"p999_ns", model.delays.p999_ns}};
  out["steals"] = model.steals;
  out["blocked"] = {{"total_ns", model.blocked_ns}, {"queued_ns", model.queued_ns}, {"count", model.waits}};
  ordered_json& stacks = out["stacks"] = ordered_json::array();
  for (const TopStack& stack : model.stacks) {
    if (stacks.size() == max_stacks) break;
    const std::vector<uint64_t> histogram = model.histogram(stack);
    stacks.push_back({{"reason", stack.reason},
                      {"pid", stack.pid},
                      {"count", stack.count},
                      {"total_ns", stack.total_ns},
                      {"queued_ns", stack.queued_ns},
                      {"mean_ns", stack.mean_ns()},
                      {"max_ns", stack.max_ns},
                      {"p50_ns", percentile(histogram, 0.5, stack.max_ns)},
                      {"p99_ns", percentile(histogram, 0.99, stack.max_ns)},
                      {"frames", frames_json(stack.shown->frames)}});
  }
  ordered_json& kernel = out["kernel"] = ordered_json::array();
  for (const TopKernelWait& wait : model.kernel) {
    if (kernel.size() == max_stacks) break;
    kernel.push_back({{"cause", wait.cause},
                      {"on_fiber", wait.on_fiber},
                      {"function", sanitize(wait.function)},
                      {"count", wait.count},
                      {"total_ns", wait.total_ns},
                      {"max_ns", wait.max_ns},
                      {"frames", frames_json(wait.shown->frames)}});
  }
  out["idle_ns"] = model.idle_ns;
  const TopWorkers& workers = model.workers;
  out["workers"] = {{"on_cpu_ns", workers.on_cpu_ns},
                    {"runnable_ns", workers.runnable_ns},
                    {"runnable_p50_ns", percentile(workers.runnable, 0.5, workers.max_runnable_ns)},
                    {"runnable_p99_ns", percentile(workers.runnable, 0.99, workers.max_runnable_ns)},
                    {"runnable_max_ns", workers.max_runnable_ns},
                    {"samples", workers.samples},
                    {"fiber_samples", workers.fiber_samples}};
  out["handoffs"] = model.handoffs;
  out["overruns"] = model.overruns;
  out["worker_starts"] = model.worker_starts;
  out["losses"] = losses_json(model.losses);
  return out.dump(-1, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace fiberprof
