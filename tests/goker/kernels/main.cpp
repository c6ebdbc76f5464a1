// SPDX-License-Identifier: BSD-2-Clause
// goker --list | --variants | NAME | NAME --unforced | NAME --fixed [--rounds N]
//
// Real blocking bugs, each under a live supervisor. --list prints for each, separated by tabs: name, class, proof, the
// grade of verdict to expect, the fibers that are blocked for ever, those among them whom identity alone proves, and
// how many of the scheduler's seeds 1 to 200 find it unforced. --variants: the same for what is not one of the 45.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "goker/kernels/supervisor.h"

namespace {

int usage() {
  std::fputs("usage: goker --list | --variants | NAME [--unforced | --fixed [--rounds N]]\n", stderr);
  return 2;
}

int list(bool variants) {
  for (const goker::Kernel& kernel : goker::kernels()) {
    if (kernel.variant != variants) continue;
    const bool certain = std::strcmp(kernel.blocked, kernel.certain) == 0;
    std::printf("%s\t%s\t%s\t%s\t%s\t%s", kernel.name, kernel.kind, kernel.proof, certain ? "certain" : "proved",
                kernel.blocked, kernel.certain);
    if (!variants) std::printf("\t%d", kernel.seeds);
    std::puts("");
  }
  return 0;
}

const goker::Kernel* find(std::string_view name) {
  for (const goker::Kernel& kernel : goker::kernels()) {
    if (kernel.name == name) return &kernel;
  }
  return nullptr;
}

}  // namespace

int main(int count, char** arguments) {
  bool unforced = false, fixed = false;
  long rounds = 50;
  if (count < 2) return usage();
  const std::string_view name = arguments[1];
  if (name == "--list" || name == "--variants") return list(name == "--variants");
  for (int i = 2; i < count; ++i) {
    const std::string_view word = arguments[i];
    if (word == "--unforced") {
      unforced = true;
    } else if (word == "--fixed") {
      fixed = true;
    } else if (word == "--rounds" && i + 1 < count) {
      rounds = std::atol(arguments[++i]);
    } else {
      return usage();
    }
  }
  const goker::Kernel* kernel = find(name);
  if (kernel == nullptr) {
    std::fprintf(stderr, "goker: no kernel is called %s\n", arguments[1]);
    return 2;
  }
  int status = 0;
  // A fiber that waits for itself is one of the bugs.
  fiber::run(fiber::Options{.self_lock_check = false}, [&] {
    fiber::set_name("supervisor");
    status = fixed ? run_fixed(*kernel, rounds) : unforced ? try_bug(*kernel) : show_bug(*kernel);
  });
  if (status != 0 || !fixed) {
    std::fflush(nullptr);
    std::_Exit(status);  // kernels that hang leave memory behind
  }
  return 0;
}
