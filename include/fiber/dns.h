// SPDX-License-Identifier: BSD-2-Clause
// Names of hosts and services to addresses.
#pragma once

#include <string>
#include <vector>

#include "fiber/address.h"
#include "fiber/config.h"
#include "fiber/limit.h"

namespace fiber {

struct Resolution {
  std::vector<Address> addresses;  // in the order in which to try them (RFC 6724); not empty unless there is an error
  int error = 0;                   // negative errno: -ENOENT no such host or service, -EAGAIN ask again later, ...
  std::string text;                // of the error, with the name: "cannot resolve db:5432: Name or service not known"

  explicit operator bool() const { return error == 0; }
};

// Asks the system's resolver: getaddrinfo(3), stream sockets, in a blocking section. `host` empty: this host.
// `service`: a name or a port number. With a limit the question is asked by a fiber of its own, which nobody can stop:
// when the limit comes first (-ETIMEDOUT, -ECANCELED), it goes on in the background until the resolver gives up.
// getaddrinfo wants some 64 KiB of stack: mind that when fibers get less. Fibers; another thread blocks.
FIBER_API Resolution resolve(const std::string& host, const std::string& service, Limit limit = {});

}  // namespace fiber
