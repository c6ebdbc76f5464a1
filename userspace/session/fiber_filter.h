// SPDX-License-Identifier: BSD-2-Clause
// Which fibers a session is about: by name, by the function they were spawned with. The kernel side decides; what it
// needs to know is worked out here.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "process/target.h"
#include "support/error.h"

struct fiberprof_bpf;

namespace fiberprof {

struct FiberFilter {
  // A fiber's name; with * at its end, names that begin like it. Several: any of them. None: all fibers.
  std::vector<std::string> names;
  // A function that fibers are spawned with, or that spawns a lambda: "kvd::Log::run", or just its last parts,
  // "Log::run". Several: any of them. None: all fibers.
  std::vector<std::string> sites;
  bool empty() const { return names.empty() && sites.empty(); }
};

// Whether a function is meant by one of FiberFilter::sites.
bool is_site(std::string_view demangled, std::string_view site);

// The filter as it applies to some processes.
class FiberSelection {
 public:
  // Finds the functions in each process. Errors: a name that no pattern can be, a function that no process has.
  static Result<FiberSelection> make(const FiberFilter& filter, const std::vector<FiberProcess>& processes);
  bool is_for_all() const { return filter_.empty(); }
  bool wants(uint32_t pid, uint64_t entry, std::string_view name) const;
  // Before and after the programs are loaded.
  void configure(fiberprof_bpf& skeleton) const;
  Result<void> fill(const fiberprof_bpf& skeleton) const;

 private:
  FiberFilter filter_;
  std::map<uint32_t, std::set<uint64_t>> entries_;  // of the sites, by process
};

}  // namespace fiberprof
