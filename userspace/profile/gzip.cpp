// SPDX-License-Identifier: BSD-2-Clause
#include "profile/gzip.h"

#include <zlib.h>

#include <algorithm>
#include <array>

namespace fiberprof {
namespace {

constexpr int kGzipOnly = 15 + 16;  // zlib: largest window, gzip header and trailer
constexpr size_t kStep = 1 << 16;

Bytef* input(std::string_view text) { return reinterpret_cast<Bytef*>(const_cast<char*>(text.data())); }

struct Inflate {
  z_stream stream{};
  bool open = inflateInit2(&stream, kGzipOnly) == Z_OK;
  ~Inflate() {
    if (open) inflateEnd(&stream);
  }
};

}  // namespace

std::string gzip(std::string_view plain) {
  z_stream stream{};
  if (deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, kGzipOnly, 8, Z_DEFAULT_STRATEGY) != Z_OK) return {};
  std::string packed;
  std::array<char, kStep> step;
  size_t fed = 0;
  int state = Z_OK;
  while (state == Z_OK) {  // fed in steps: avail_in is 32 bits wide
    if (stream.avail_in == 0 && fed < plain.size()) {
      const size_t chunk = std::min(plain.size() - fed, kStep);
      stream.next_in = input(plain.substr(fed));
      stream.avail_in = static_cast<uInt>(chunk);
      fed += chunk;
    }
    stream.next_out = reinterpret_cast<Bytef*>(step.data());
    stream.avail_out = static_cast<uInt>(step.size());
    state = deflate(&stream, fed == plain.size() ? Z_FINISH : Z_NO_FLUSH);
    packed.append(step.data(), step.size() - stream.avail_out);
  }
  deflateEnd(&stream);
  return packed;
}

Result<std::string> gunzip(std::string_view packed, size_t limit) {
  if (packed.size() < 2 || packed.substr(0, 2) != "\x1f\x8b") return fail("", "not a gzip file");
  Inflate inflater;
  if (!inflater.open) return fail("", "zlib could not start (out of memory)");
  z_stream& stream = inflater.stream;
  std::string plain;
  std::array<char, kStep> step;
  size_t fed = 0;
  for (;;) {
    if (stream.avail_in == 0 && fed < packed.size()) {
      const size_t chunk = std::min(packed.size() - fed, kStep);
      stream.next_in = input(packed.substr(fed));
      stream.avail_in = static_cast<uInt>(chunk);
      fed += chunk;
    }
    stream.next_out = reinterpret_cast<Bytef*>(step.data());
    stream.avail_out = static_cast<uInt>(step.size());
    const int state = inflate(&stream, Z_NO_FLUSH);
    const size_t got = step.size() - stream.avail_out;
    if (got > limit - plain.size()) {
      return fail("", "unpacks to more than " + std::to_string(limit >> 20) + " MiB");
    }
    plain.append(step.data(), got);
    if (state == Z_STREAM_END) return plain;
    if (state == Z_BUF_ERROR && fed == packed.size()) return fail("", "truncated");
    if (state != Z_OK && state != Z_BUF_ERROR) {
      return fail("", std::string("damaged gzip data (") + (stream.msg != nullptr ? stream.msg : "zlib error") + ")");
    }
  }
}

}  // namespace fiberprof
