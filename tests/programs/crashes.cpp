// SPDX-License-Identifier: BSD-2-Clause
// crashes
//
// A fiber that runs into its death, for what a core file says of fibers that are on their processor.
#include <fiber/all.h>

#include <cstdlib>

namespace app {

[[gnu::noinline]] void find_the_world_wanting() {
  std::abort();
  asm volatile("");
}

[[gnu::noinline]] void go_about_business() {
  find_the_world_wanting();
  asm volatile("");
}

}  // namespace app

int main() {
  fiber::run([] { fiber::spawn({.name = "victim"}, app::go_about_business).join(); });
}
