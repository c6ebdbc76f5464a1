// SPDX-License-Identifier: BSD-2-Clause
// ends HOW MILLISECONDS
//
// Fibers that pass messages, until after MILLISECONDS the process ends: HOW is exit, exec, abort or never.
#include <fiber/all.h>

#include <unistd.h>
#include <chrono>
#include <cstdlib>
#include <cstring>

int main(int count, char** arguments) {
  const char* how = count > 1 ? arguments[1] : "exit";
  const std::chrono::milliseconds time(count > 2 ? std::atoi(arguments[2]) : 1000);
  fiber::run([&] {
    fiber::Channel<int> there, back;
    fiber::go({.name = "echo"}, [=]() mutable {
      while (auto value = there.receive()) back.send(*value);
    });
    const auto end = std::strcmp(how, "never") == 0 ? fiber::Deadline::max() : fiber::Clock::now() + time;
    for (long i = 0; fiber::Clock::now() < end; ++i) {
      there.send(1);
      back.receive();
      if (i % 64 == 0) fiber::sleep_for(std::chrono::microseconds(50));
    }
    if (std::strcmp(how, "exec") == 0) execl("/bin/sleep", "sleep", "3", nullptr);
    if (std::strcmp(how, "abort") == 0) std::abort();
  });
}
