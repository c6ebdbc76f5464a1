// SPDX-License-Identifier: BSD-2-Clause
#include "options.h"

#include <arpa/inet.h>
#include <getopt.h>

#include <charconv>
#include <cstdio>
#include <cstring>
#include <string_view>

namespace kvd {

namespace {

constexpr char kUsage[] =
    "usage: fiber-kvd [options]\n"
    "\n"
    "A key-value server that speaks the Redis protocol: one fiber a connection.\n"
    "\n"
    "  --port N         TCP port (6379); 0: the kernel picks one, which is printed\n"
    "  --bind ADDRESS   numeric address to listen on (127.0.0.1). There is no password: keep it on loopback\n"
    "  --log FILE       append-only log: a write that was acknowledged is there after a crash.\n"
    "                   It only grows\n"
    "  --shards N       parts of the data, each under its own lock (64)\n"
    "  --processors N   fibers that run at the same time (the number of CPUs)\n"
    "  --busy-poll N    microseconds to look for the next request awake when requests come that fast (50); 0: sleep\n"
    "                   at once\n"
    "  --help\n";

template <class T>
bool parse_number(const char* option, std::string_view text, unsigned low, unsigned high, T& value) {
  unsigned number = 0;
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (status == std::errc{} && end == text.data() + text.size() && number >= low && number <= high) {
    value = static_cast<T>(number);
    return true;
  }
  std::fprintf(stderr, "fiber-kvd: --%s takes a number from %u to %u, not '%.*s'\n", option, low, high,
               static_cast<int>(text.size()), text.data());
  return false;
}

bool is_address(const char* text) {
  unsigned char bytes[sizeof(in6_addr)];
  return ::inet_pton(AF_INET, text, bytes) == 1 || ::inet_pton(AF_INET6, text, bytes) == 1;
}

}  // namespace

std::optional<Options> parse_options(int argc, char** argv, int& status) {
  static const option kOptions[] = {
      {"port", required_argument, nullptr, 'p'},
      {"bind", required_argument, nullptr, 'b'},
      {"log", required_argument, nullptr, 'l'},
      {"shards", required_argument, nullptr, 's'},
      {"help", no_argument, nullptr, 'h'},
      {"processors", required_argument, nullptr, 'P'},
      {"busy-poll", required_argument, nullptr, 'B'},
      {nullptr, 0, nullptr, 0},
  };
  Options options;
  status = 2;
  while (true) {
    const int which = ::getopt_long(argc, argv, "h", kOptions, nullptr);
    if (which == -1) break;
    switch (which) {
      case 'p':
        if (!parse_number("port", optarg, 0, 65535, options.port)) return {};
        break;
      case 's':
        if (!parse_number("shards", optarg, 1, 65536, options.shards)) return {};
        break;
      case 'P':
        if (!parse_number("processors", optarg, 1, 1024, options.processors)) return {};
        break;
      case 'B':
        if (!parse_number("busy-poll", optarg, 0, 10000, options.busy_poll)) return {};
        break;
      case 'b':
        if (!is_address(optarg)) {
          std::fprintf(stderr, "fiber-kvd: --bind takes a numeric address such as 127.0.0.1 or ::1, not '%s'\n",
                       optarg);
          return {};
        }
        options.bind = optarg;
        break;
      case 'l':
        if (*optarg == '\0') {
          std::fprintf(stderr, "fiber-kvd: --log takes the name of a file\n");
          return {};
        }
        options.log = optarg;
        break;
      case 'h':
        std::fputs(kUsage, stdout);
        status = 0;
        return {};
      default:  // getopt has said what is wrong
        std::fprintf(stderr, "Try 'fiber-kvd --help'.\n");
        return {};
    }
  }
  if (optind < argc) {
    std::fprintf(stderr, "fiber-kvd: what is '%s'? Try 'fiber-kvd --help'.\n", argv[optind]);
    return {};
  }
  return options;
}

}  // namespace kvd
