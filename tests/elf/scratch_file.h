// SPDX-License-Identifier: BSD-2-Clause
// Bytes as a file, for readers of files.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <string>

#include "support/unique_fd.h"

namespace fiberprof::test {

inline std::string file_bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.good()) << path;
  return {std::istreambuf_iterator<char>(file), {}};
}

// A file in memory; the descriptor is a regular file to everybody.
inline UniqueFd scratch_file(const std::string& bytes) {
  UniqueFd fd(memfd_create("scratch", MFD_CLOEXEC));
  EXPECT_EQ(write(fd.get(), bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  return fd;
}

}  // namespace fiberprof::test
