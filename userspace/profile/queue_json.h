// SPDX-License-Identifier: BSD-2-Clause
// Statistics of queues as JSON: the same in a recording and in a report.
#pragma once

#include "profile/profile.h"

namespace fiberprof {

template <class Json>
Json queues_json(const std::vector<QueueStats>& queues) {
  Json list = Json::array();
  for (const QueueStats& queue : queues) {
    list.push_back({{"pid", queue.pid},
                    {"processor", queue.processor},
                    {"ticks", queue.ticks},
                    {"mean_depth", queue.mean_depth},
                    {"max_depth", queue.max_depth},
                    {"idle_fraction", queue.idle_fraction},
                    {"histogram_log2", queue.histogram}});
  }
  return list;
}

template <class Json>
Json delays_json(const std::vector<QueueDelays>& delays) {
  Json list = Json::array();
  for (const QueueDelays& delay : delays) {
    list.push_back({{"pid", delay.pid},
                    {"count", delay.count},
                    {"p50_ns", delay.p50_ns},
                    {"p99_ns", delay.p99_ns},
                    {"p999_ns", delay.p999_ns}});
  }
  return list;
}

}  // namespace fiberprof
