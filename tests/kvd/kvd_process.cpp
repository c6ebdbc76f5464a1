// SPDX-License-Identifier: BSD-2-Clause
#include "kvd/kvd_process.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <stdexcept>

namespace {

constexpr auto kPatience = std::chrono::seconds(60);

struct Pipe {
  std::array<int, 2> ends{-1, -1};
  Pipe() {
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw std::runtime_error("pipe2 failed");
  }
};

// Starts a program with its three streams on pipes' ends; a child that outlives its parent is killed.
pid_t start(const std::vector<std::string>& command, int in, int out, int err) {
  std::vector<char*> words;
  for (const std::string& word : command) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) throw std::runtime_error("fork failed");
  if (pid == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(127);
    ::dup2(in, 0);
    ::dup2(out, 1);
    ::dup2(err, 2);
    ::execvp(words[0], words.data());
    ::_exit(127);
  }
  return pid;
}

// Waits until fd can be read (or written) or `until` has passed.
bool ready(int fd, short events, std::chrono::steady_clock::time_point until) {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
  pollfd poll{fd, events, 0};
  return ::poll(&poll, 1, static_cast<int>(std::max<long>(left.count(), 0))) > 0;
}

std::string drain(int fd) {
  std::string all;
  char bytes[4096];
  for (ssize_t size = 0; (size = ::read(fd, bytes, sizeof bytes)) > 0;)
    all.append(bytes, static_cast<std::size_t>(size));
  return all;
}

}  // namespace

Finished run_program(const std::vector<std::string>& command, std::string_view input) {
  Pipe in, out, err;
  const pid_t pid = start(command, in.ends[0], out.ends[1], err.ends[1]);
  ::close(in.ends[0]);
  ::close(out.ends[1]);
  ::close(err.ends[1]);
  // Inputs are short: they fit the pipe.
  if (!input.empty() && ::write(in.ends[1], input.data(), input.size()) != static_cast<ssize_t>(input.size())) {
    throw std::runtime_error("cannot feed " + command[0]);
  }
  ::close(in.ends[1]);

  Finished finished;
  const auto until = std::chrono::steady_clock::now() + kPatience;
  std::array<pollfd, 2> streams{{{out.ends[0], POLLIN, 0}, {err.ends[0], POLLIN, 0}}};
  bool late = false;
  for (int open = 2; open > 0 && !late;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
    late = ::poll(streams.data(), streams.size(), static_cast<int>(std::max<long>(left.count(), 0))) == 0;
    for (pollfd& stream : streams) {
      if (stream.fd < 0 || stream.revents == 0) continue;
      char bytes[4096];
      const ssize_t size = ::read(stream.fd, bytes, sizeof bytes);
      if (size > 0) {
        (stream.fd == out.ends[0] ? finished.out : finished.err).append(bytes, static_cast<std::size_t>(size));
      } else {
        stream.fd = -1;
        --open;
      }
    }
  }
  if (late) ::kill(pid, SIGKILL);
  ::waitpid(pid, &finished.status, 0);
  ::close(out.ends[0]);
  ::close(err.ends[0]);
  if (late)
    throw std::runtime_error(command[0] + " was not done in time; so far it said: " + finished.out + finished.err);
  return finished;
}

KvdProcess::KvdProcess(std::vector<std::string> arguments) {
  std::vector<std::string> command = {FIBERPROF_BUILD_DIR "/bin/fiber-kvd", "--port", "0"};
  command.insert(command.end(), arguments.begin(), arguments.end());
  Pipe out, err;
  const int null = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  pid_ = start(command, null, out.ends[1], err.ends[1]);
  ::close(null);
  ::close(out.ends[1]);
  ::close(err.ends[1]);
  out_ = out.ends[0];
  err_ = err.ends[0];

  const auto until = std::chrono::steady_clock::now() + kPatience;
  std::string text;
  while (text.find('\n') == std::string::npos) {
    char bytes[256];
    const ssize_t size = ready(out_, POLLIN, until) ? ::read(out_, bytes, sizeof bytes) : 0;
    if (size <= 0) {
      end(SIGKILL);
      throw std::runtime_error("fiber-kvd did not start: " + text + errors_);
    }
    text.append(bytes, static_cast<std::size_t>(size));
  }
  const std::string mark = "listening on 127.0.0.1:";
  const std::size_t at = text.find(mark);
  if (at == std::string::npos) {
    end(SIGKILL);
    throw std::runtime_error("cannot read the port from: " + text);
  }
  port_ = static_cast<std::uint16_t>(std::stoi(text.substr(at + mark.size())));
}

KvdProcess::~KvdProcess() {
  end(SIGKILL);
  ::close(out_);
  ::close(err_);
}

int KvdProcess::end(int signal) {
  if (pid_ < 0) return status_;
  ::kill(pid_, signal);
  errors_ += drain(err_);  // until its end
  ::waitpid(pid_, &status_, 0);
  pid_ = -1;
  return status_;
}

Client::Client(std::uint16_t port) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const timeval patience{30, 0};
  ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  ::setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  if (::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    const int error = errno;
    ::close(fd_);
    throw std::runtime_error(std::string("cannot connect: ") + std::strerror(error));
  }
}

Client::~Client() { ::close(fd_); }

void Client::send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t size = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (size <= 0) throw std::runtime_error(std::string("send: ") + std::strerror(errno));
    bytes.remove_prefix(static_cast<std::size_t>(size));
  }
}

std::string Client::receive(std::size_t size) {
  std::string bytes(size, '\0');
  std::size_t have = 0;
  while (have < size) {
    const ssize_t got = ::recv(fd_, bytes.data() + have, size - have, 0);
    if (got < 0 && errno != ECONNRESET) throw std::runtime_error(std::string("recv: ") + std::strerror(errno));
    if (got <= 0) break;
    have += static_cast<std::size_t>(got);
  }
  bytes.resize(have);
  return bytes;
}

std::string Client::line() {
  std::string text;
  while (!text.ends_with("\r\n")) {
    const std::string byte = receive(1);
    if (byte.empty()) break;
    text += byte;
  }
  return text;
}

std::string Client::receive_all() {
  std::string all;
  for (std::string some = receive(4096); !some.empty(); some = receive(4096)) all += some;
  return all;
}

std::string Client::ask(std::string_view what, std::string_view expected) {
  send(what);
  return receive(expected.size());
}

std::string request(const std::vector<std::string>& words) {
  std::string bytes = "*" + std::to_string(words.size()) + "\r\n";
  for (const std::string& word : words) bytes += "$" + std::to_string(word.size()) + "\r\n" + word + "\r\n";
  return bytes;
}
