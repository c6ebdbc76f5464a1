// SPDX-License-Identifier: BSD-2-Clause
// select: wait for whichever comes first, but not for ever. A client asks two replicas and takes the faster answer;
// when neither answers within 20 ms it gives up.
//
//   build/bin/select-deadline [SECONDS]    default 10
//   fiberprof top select-deadline          the client waits in "select", the replicas in "sleep"
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <random>
#include <string>

#include "fiber/channel.h"
#include "fiber/fiber.h"
#include "fiber/runtime.h"
#include "fiber/select.h"
#include "fiber/time.h"

using namespace std::chrono_literals;

// Answers after 1 to 60 ms.
void replica(unsigned seed, fiber::Receiver<int> questions, fiber::Sender<int> answers) {
  std::minstd_rand random(seed);
  for (int question : questions) {
    fiber::sleep_for(std::chrono::milliseconds(1 + random() % 60));
    answers.send(question);
  }
}

int main(int argc, char** argv) {
  const double seconds = argc > 1 ? std::atof(argv[1]) : 10;

  fiber::run([=] {
    fiber::Channel<int> questions(1024), first(1024), second(1024);
    fiber::go({.name = "replica 1"}, [&] { replica(1, questions, first); });
    fiber::go({.name = "replica 2"}, [&] { replica(2, questions, second); });

    fiber::set_name("client");
    const auto end = fiber::Clock::now() +
                     std::chrono::duration_cast<fiber::Clock::duration>(std::chrono::duration<double>(seconds));
    int from_first = 0, from_second = 0, late = 0;
    for (int n = 0; fiber::Clock::now() < end; ++n) {
      questions.try_send(n);  // does not wait: when the replicas are that far behind, one question less
      fiber::select(          //
          fiber::on_receive(first, [&](std::optional<int>) { ++from_first; }),  //
          fiber::on_receive(second, [&](std::optional<int>) { ++from_second; }), fiber::after(20ms, [&] { ++late; }));
    }
    std::printf("replica 1: %d, replica 2: %d, too late: %d\n", from_first, from_second, late);
    // The replicas still wait for questions; they end with the runtime when this fiber returns.
  });
}
