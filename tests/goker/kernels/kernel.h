// SPDX-License-Identifier: BSD-2-Clause
// What a kernel is: a small program with one real blocking bug, its repair, and what must be found when it has struck.
//
// Every kernel starts as the fiber "M". Its other fibers are named as in the catalogue. Its objects are in M's frame or
// on the heap, and nobody but its fibers refers to them: then the rest of the program lives on, and this is a partial
// deadlock.
#pragma once

#include <fiber/all.h>

#include <vector>

#include "runtime/observe.h"

namespace goker {

// Values of signal-only channels.
struct Nothing {};

enum class Mode {
  forced,    // the bug strikes
  unforced,  // it may
  fixed,     // repaired; times vary
};

struct Kernel {
  const char* name;
  const char* kind;     // resource, communication or mixed
  const char* proof;    // the evidence it takes: id, orphan, reach, joined by +
  const char* blocked;  // names of the fibers that wait for ever, sorted, joined by commas
  const char* certain;  // those among them for whom identity is evidence enough, without reachability
  void (*body)(bool fixed);
  int seeds = 200;         // of the scheduler's seeds 1 to 200, how many find it without forcing, when last counted
  const char* alive = "";  // name of fibers that live on for long with nothing wrong with them
  bool variant = false;    // not one of the catalogue's 45; its seeds are not counted
};

// In the order of the catalogue.
const std::vector<Kernel>& kernels();

struct Registration {
  explicit Registration(const Kernel& kernel);
};

Mode mode();
void set_mode(Mode mode);

// Whether something that happens in `so_many` of `all` cases does. Forced: it does.
bool chance(unsigned so_many, unsigned all);

// Overwrites what calls have left on the stack below the caller's frame: addresses that the caller does not know any
// more, which would let a conservative reader believe that it can still get at them.
void scrub_stack();

// Lets others go first, at random, for none, some or much time.
void jitter();

// Where the interleaving is decided. Forced: goes on when `holds()`; that is asked again and again between yields, so
// that no wait is added to those of the kernel.
template <class Predicate>
void until(Predicate holds) {
  switch (mode()) {
    case Mode::forced:
      while (!holds()) fiber::yield();
      break;
    case Mode::unforced:
      break;
    case Mode::fixed:
      jitter();
      break;
  }
}

// Whether that many fibers wait for the object.
inline bool waits(const void* object, std::size_t count = 1) { return observe::parked_on(object).size() >= count; }

}  // namespace goker
