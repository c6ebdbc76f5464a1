// SPDX-License-Identifier: BSD-2-Clause
// C++ names: demangled for data, shortened for people.
#pragma once

#include <string>
#include <string_view>

namespace fiberprof {

// The C++ (or Rust, in its C++-like form) name behind a mangled one; anything else comes back unchanged. Hostile names
// that would demangle to something enormous come back unchanged too.
std::string demangle(std::string_view mangled);

// The qualified name of the function alone: no return type, no parameters, no qualifiers, no clone suffixes, no ABI
// tags; template arguments stay. "void ns::Queue<int>::push<long>(long&&) const [clone .cold]" gives
// "ns::Queue<int>::push<long>". Names that are not C++ come back as they are.
std::string_view qualified_name(std::string_view demangled);

// For display: qualified_name() with lambdas as "{lambda#1}", and with template argument lists longer than
// `max_template_arguments` characters collapsed to "<…>". Apply when showing, never to data that is compared or kept.
std::string short_name(std::string_view demangled, size_t max_template_arguments = 24);

}  // namespace fiberprof
