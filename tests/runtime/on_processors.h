// SPDX-License-Identifier: BSD-2-Clause
// The fixture of tests that run in a runtime of their own, once for each number of processors they are instantiated
// with: on one everything takes turns, on more it happens at once.
#pragma once

#include <fiber/all.h>
#include <gtest/gtest.h>

class OnProcessors : public testing::TestWithParam<unsigned> {
 protected:
  template <class F>
  void run(F body) {
    fiber::run(fiber::Options{.processors = GetParam()}, body);
  }
};
