// SPDX-License-Identifier: BSD-2-Clause
#include "fiber/dns.h"

#include <netdb.h>
#include <cerrno>
#include <cstring>

#include "fiber/blocking.h"
#include "fiber/context.h"
#include "fiber/fiber.h"
#include "fiber/runtime.h"

namespace fiber {

namespace {

int errno_of(int gai_error, int system_error) {
  switch (gai_error) {
    case EAI_NONAME:
    case EAI_SERVICE:
    case EAI_NODATA:
      return -ENOENT;
    case EAI_AGAIN:
      return -EAGAIN;
    case EAI_MEMORY:
      return -ENOMEM;
    case EAI_SYSTEM:
      return system_error == 0 ? -EIO : -system_error;
    default:
      return -EIO;
  }
}

Resolution failed(const std::string& host, const std::string& service, int error, const char* why) {
  return {{}, error, "cannot resolve " + host + ':' + service + ": " + why};
}

Resolution ask(const std::string& host, const std::string& service) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;  // else each address comes once per kind of socket
  addrinfo* list = nullptr;
  int system_error = 0;
  const int gai_error = blocking([&] {
    const int result = ::getaddrinfo(host.empty() ? nullptr : host.c_str(), service.empty() ? nullptr : service.c_str(),
                                     &hints, &list);
    system_error = errno;
    return result;
  });
  if (gai_error != 0) {
    return failed(host, service, errno_of(gai_error, system_error),
                  gai_error == EAI_SYSTEM ? std::strerror(system_error) : ::gai_strerror(gai_error));
  }
  Resolution result;
  for (const addrinfo* at = list; at != nullptr; at = at->ai_next) {
    if (const Address address = Address::from(at->ai_addr, at->ai_addrlen)) result.addresses.push_back(address);
  }
  ::freeaddrinfo(list);
  if (result.addresses.empty()) return failed(host, service, -ENOENT, "no address of a known family");
  return result;
}

}  // namespace

Resolution resolve(const std::string& host, const std::string& service, Limit limit) {
  if (host.find('\0') != std::string::npos || service.find('\0') != std::string::npos) {
    return failed(host.c_str(), service.c_str(), -EINVAL, "a zero byte in the name");
  }
  if (limit.none() || processor_count() == 0) return ask(host, service);
  // Not even asked when it is too late already.
  const Why why = limit.context() == nullptr ? Why::not_cancelled : detail::context_why(limit.context());
  if (why != Why::not_cancelled) return failed(host, service, -ECANCELED, to_string(Status::cancelled));
  if (limit.deadline() <= Clock::now()) return failed(host, service, -ETIMEDOUT, to_string(Status::timed_out));
  auto asking = spawn(SpawnOptions{.name = "resolve"}, [host, service] { return ask(host, service); });
  const Status status = asking.wait(limit);
  if (status == Status::done) return asking.join();
  return failed(host, service, status == Status::timed_out ? -ETIMEDOUT : -ECANCELED, to_string(status));
}

}  // namespace fiber
