// SPDX-License-Identifier: BSD-2-Clause
// make_seeds DIRECTORY: what fuzzing begins with, as DIRECTORY/memory/image and DIRECTORY/core/image.
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "fuzz/image.h"

int main(int count, char** arguments) {
  if (count != 2) return std::fprintf(stderr, "usage: make_seeds DIRECTORY\n"), 2;
  const std::filesystem::path directory(arguments[1]);
  const fiberprof::test::Image image;
  for (const auto& [folder, bytes] : {std::pair{"memory", image.bytes()}, std::pair{"core", image.core()}}) {
    std::filesystem::create_directories(directory / folder);
    std::ofstream(directory / folder / "image", std::ios::binary) << bytes;
  }
}
