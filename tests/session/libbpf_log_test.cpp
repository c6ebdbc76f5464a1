// SPDX-License-Identifier: BSD-2-Clause
// Why the kernel refused a program, found in what libbpf prints.
#include "session/libbpf_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace fiberprof::test {
namespace {

TEST(LibbpfLog, TheRefusalIsTheLastLineBeforeTheStatistics) {
  EXPECT_EQ(refusal_in("prog 'on_task': -- BEGIN PROG LOAD LOG --\n"
                       "40: (05) goto pc+0\n"
                       "41: <invalid CO-RE relocation>\n"
                       "failed to resolve CO-RE relocation <byte_off> [189] struct task_struct.on_cpu\n"
                       "processed 24 insns (limit 1000000) max_states_per_insn 0 total_states 2\n"
                       "-- END PROG LOAD LOG --\n"),
            "prog 'on_task': failed to resolve CO-RE relocation <byte_off> [189] struct task_struct.on_cpu");
  EXPECT_EQ(refusal_in("prog 'p': -- BEGIN PROG LOAD LOG --\n-- END PROG LOAD LOG --\n"), "prog 'p': ");
  EXPECT_EQ(refusal_in("prog 'p': -- BEGIN PROG LOAD LOG --\ncut off"), "prog 'p': cut off");
  EXPECT_EQ(refusal_in("failed to load BPF skeleton 'fiberprof_bpf': -22"), "");
  EXPECT_EQ(refusal_in(""), "");
}

}  // namespace
}  // namespace fiberprof::test
