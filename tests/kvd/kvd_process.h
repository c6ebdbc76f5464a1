// SPDX-License-Identifier: BSD-2-Clause
// Starts the real fiber-kvd, and talks to it as any client does.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

// What a program has done in the end.
struct Finished {
  int status = 0;  // as of waitpid
  std::string out;
  std::string err;
};

// Runs a program to its end. Throws when it cannot be started or takes longer than a minute, and ends it then.
Finished run_program(const std::vector<std::string>& command, std::string_view input = "");

// A fiber-kvd of its own on a free loopback port. Ended with the object.
class KvdProcess {
 public:
  // Returns when it listens; throws with what it said when it does not.
  explicit KvdProcess(std::vector<std::string> arguments = {});
  KvdProcess(const KvdProcess&) = delete;
  KvdProcess& operator=(const KvdProcess&) = delete;
  ~KvdProcess();

  std::uint16_t port() const { return port_; }
  pid_t pid() const { return pid_; }
  // Sends the signal, if it still runs, and waits for its end. Returns the status as of waitpid.
  int end(int signal);
  // Its standard error until its end; after end().
  const std::string& errors() const { return errors_; }

 private:
  pid_t pid_ = -1;
  int out_ = -1, err_ = -1;
  int status_ = 0;
  std::uint16_t port_ = 0;
  std::string errors_;
};

// A plain blocking socket; every wait ends after 30 s with an exception.
class Client {
 public:
  explicit Client(std::uint16_t port);
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;
  ~Client();

  void send(std::string_view bytes);
  // Exactly that many bytes, or fewer when the server closes first.
  std::string receive(std::size_t size);
  // Up to and with the next \r\n.
  std::string line();
  // Everything until the server closes.
  std::string receive_all();
  // Sends, then reads as many bytes as `expected` has.
  std::string ask(std::string_view request, std::string_view expected);

 private:
  int fd_ = -1;
};

// A request as an array of bulk strings.
std::string request(const std::vector<std::string>& words);
