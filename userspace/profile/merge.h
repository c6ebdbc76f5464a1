// SPDX-License-Identifier: BSD-2-Clause
// What differs only in its amounts is made one: recordings of thousands of short-lived processes stay small.
#pragma once

#include "profile/profile.h"

namespace fiberprof {

// Keeps the order of those that come first. Sums, maxima and histograms are those of all.
void merge_samples(std::vector<Sample>& samples);
void merge_queued(std::vector<QueuedSite>& queued);
void merge_workers(std::vector<WorkerStats>& workers);

}  // namespace fiberprof
