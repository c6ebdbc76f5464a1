// SPDX-License-Identifier: BSD-2-Clause
// heaped FIBERS MIB: so many fibers that wait on channels somebody alive can reach, and so much memory in blocks of 1
// to 64 KiB. Two more fibers play ping-pong and count their rounds, printed each second. Ends with its input.
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "fiber/all.h"

using namespace std::chrono_literals;

int main(int argc, char** argv) {
  const int fibers = argc > 1 ? std::atoi(argv[1]) : 10'000;
  const std::size_t mib = argc > 2 ? static_cast<std::size_t>(std::atoi(argv[2])) : 64;
  fiber::run([&] {
    std::vector<std::unique_ptr<char[]>> blocks;
    std::size_t size = 1024, filled = 0;
    for (; filled < mib << 20; filled += size) {
      blocks.emplace_back(new char[size]);
      std::memset(blocks.back().get(), static_cast<int>(blocks.size()), size);
      size = size == 64 * 1024 ? 1024 : size * 2;
    }
    std::vector<fiber::Channel<int>> channels;
    for (int i = 0; i < fibers; ++i) {
      channels.emplace_back();
      fiber::spawn([from = channels.back().receiver()]() mutable { from.receive(); });
    }
    std::atomic<long> rounds{0};
    fiber::Channel<int> there, back;
    fiber::spawn([&] {
      while (auto ball = there.receive()) back.send(*ball);
    });
    fiber::spawn([&] {
      for (;;) {
        there.send(1);
        back.receive();
        rounds.fetch_add(1, std::memory_order_relaxed);
      }
    });
    std::thread([] {
      char byte;
      while (read(0, &byte, 1) > 0) {
      }
      _exit(0);
    }).detach();
    std::puts("ready");
    for (;;) {
      std::fflush(stdout);
      const long before = rounds.load();
      fiber::sleep_for(1s);
      std::printf("%ld\n", rounds.load() - before);
    }
  });
}
