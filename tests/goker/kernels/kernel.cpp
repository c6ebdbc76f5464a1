// SPDX-License-Identifier: BSD-2-Clause
#include "goker/kernels/kernel.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>

namespace goker {

namespace {

std::vector<Kernel>& registered() {
  static std::vector<Kernel> all;
  return all;
}

std::atomic<Mode> mode_now{Mode::forced};
// With a seed for the scheduler, what is random here depends on it, too.
std::uint64_t seed() {
  const char* text = std::getenv("FIBER_SCHED_SEED");
  return text == nullptr ? 0 : std::strtoull(text, nullptr, 10);
}
std::atomic<std::uint64_t> drawn{seed() * 0x2545f4914f6cdd1d};

// splitmix64
std::uint64_t random() {
  std::uint64_t z = drawn.fetch_add(0x9e3779b97f4a7c15, std::memory_order_relaxed);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

}  // namespace

Registration::Registration(const Kernel& kernel) { registered().push_back(kernel); }

const std::vector<Kernel>& kernels() {
  auto& all = registered();
  const auto rank = [](const Kernel& kernel) {
    return std::strchr("rcm", kernel.kind[0]) == nullptr ? 3
           : kernel.kind[0] == 'r'                       ? 0
           : kernel.kind[0] == 'c'                       ? 1
                                                         : 2;
  };
  std::sort(all.begin(), all.end(), [&](const Kernel& a, const Kernel& b) {
    return rank(a) != rank(b) ? rank(a) < rank(b) : std::strcmp(a.name, b.name) < 0;
  });
  return all;
}

Mode mode() { return mode_now.load(std::memory_order_relaxed); }
void set_mode(Mode mode) { mode_now.store(mode, std::memory_order_relaxed); }

bool chance(unsigned so_many, unsigned all) { return mode() == Mode::forced || random() % all < so_many; }

[[gnu::noinline]] void scrub_stack() {
  volatile char unused[16 * 1024];
  for (volatile char& byte : unused) byte = 0;
}

void jitter() {
  const std::uint64_t draw = random();
  switch (draw % 8) {
    case 0:
      fiber::sleep_for(std::chrono::microseconds(1 + draw / 8 % 100));
      break;
    case 1:
    case 2:
    case 3:
      for (std::uint64_t left = draw / 8 % 6; left != 0; --left) fiber::yield();
      break;
    default:
      break;
  }
}

}  // namespace goker
