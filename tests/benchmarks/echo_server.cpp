// SPDX-License-Identifier: BSD-2-Clause
// echo_server WORKERS: sends back what it reads, one fiber a connection. Listens on loopback, prints the port, serves
// until its standard input ends.
#include <fiber/all.h>

#include <unistd.h>
#include <cstdio>
#include <cstdlib>

namespace {

void serve(fiber::TcpStream stream) {
  char buffer[4096];
  for (;;) {
    const ssize_t size = stream.read(buffer, sizeof buffer);
    if (size <= 0 || stream.write(buffer, static_cast<std::size_t>(size)) != size) return;
  }
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 2) {
    std::fprintf(stderr, "usage: echo_server WORKERS\n");
    return 2;
  }
  const unsigned workers = static_cast<unsigned>(std::strtoul(arguments[1], nullptr, 10));
  int status = 0;
  fiber::run(fiber::Options{.processors = workers}, [&status] {
    fiber::TcpListener listener = fiber::TcpListener::listen("127.0.0.1", 0);
    if (!listener) {
      std::fprintf(stderr, "echo_server: cannot listen on 127.0.0.1\n");
      status = 1;
      return;
    }
    std::printf("%u\n", listener.port());
    std::fflush(stdout);
    fiber::go([&listener] {
      while (fiber::TcpStream stream = listener.accept()) {
        fiber::go([moved = std::move(stream)]() mutable { serve(std::move(moved)); });
      }
    });
    char byte;
    while (fiber::blocking([&] { return ::read(STDIN_FILENO, &byte, 1); }) > 0) {
    }
  });
  return status;
}
