// SPDX-License-Identifier: BSD-2-Clause
#include "symbol/demangle.h"

#include <cxxabi.h>

#include <cstdlib>
#include <memory>

namespace fiberprof {
namespace {

constexpr size_t kMaxMangled = 32 * 1024;  // the longest seen in large template libraries are about 10,000
constexpr size_t kMaxDemangled = 64 * 1024;

// If an operator name starts at `at`, where it ends; else `at`. Its symbols would otherwise read as brackets.
size_t skip_operator(std::string_view name, size_t at) {
  constexpr std::string_view kOperator = "operator";
  const auto word = [](char c) {
    return c == '_' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  };
  if (name.substr(at, kOperator.size()) != kOperator || (at > 0 && word(name[at - 1]))) return at;
  const size_t end = at + kOperator.size();
  for (const std::string_view symbol : {"()", "[]", "<=>", "<<=", ">>=", "->*", "->", "<<", ">>", "<=", ">=", "<", ">"})
    if (name.substr(end, symbol.size()) == symbol) return end + symbol.size();
  return end;
}

bool opens(char c) { return c == '<' || c == '(' || c == '[' || c == '{'; }
bool closes(char c) { return c == '>' || c == ')' || c == ']' || c == '}'; }

// `at` is on an opening bracket: just behind the one that closes it (or the end).
size_t skip_brackets(std::string_view name, size_t at) {
  int depth = 0;
  while (at < name.size()) {
    const size_t behind = skip_operator(name, at);
    if (behind != at) {
      at = behind;
      continue;
    }
    const char c = name[at];
    const bool arrow = c == '>' && at > 0 && name[at - 1] == '-';
    if (opens(c)) ++depth;
    if (closes(c) && !arrow && --depth == 0) return at + 1;
    ++at;
  }
  return name.size();
}

// What may stand behind the parameters of a function.
bool ends_function(std::string_view rest) {
  for (const std::string_view qualifier : {" const", " volatile", " restrict", " &&", " &", " noexcept"})
    if (rest.starts_with(qualifier)) rest.remove_prefix(qualifier.size());
  return rest.empty() || rest.starts_with(" [") || rest.starts_with(".");
}

constexpr std::string_view kConstScope = " const::";
constexpr std::string_view kAnonymous = "(anonymous namespace)";

}  // namespace

std::string demangle(std::string_view mangled) {
  if (mangled.size() > kMaxMangled || !(mangled.starts_with("_Z") || mangled.starts_with("_R") ||
                                        mangled.starts_with("__Z") || mangled.starts_with("___Z")))
    return std::string(mangled);
  // A symbol version or "@plt" is no part of the mangled name.
  const size_t at = mangled.find('@');
  const std::string name(mangled.substr(0, at));
  int status = -1;
  const std::unique_ptr<char, void (*)(void*)> text(abi::__cxa_demangle(name.c_str(), nullptr, nullptr, &status),
                                                    std::free);
  if (status != 0 || !text) return std::string(mangled);
  std::string result(text.get());
  if (result.size() > kMaxDemangled) return std::string(mangled);
  return result;
}

std::string_view qualified_name(std::string_view name) {
  for (const std::string_view thunk : {"non-virtual thunk to ", "virtual thunk to ", "covariant return thunk to ",
                                       "guard variable for ", "reference temporary for "})
    if (name.starts_with(thunk)) name.remove_prefix(thunk.size());
  // The name starts behind the last space outside brackets (what stands before is the return type) and ends at the
  // first parenthesis that follows and opens the parameters.
  size_t start = 0, at = 0;
  while (at < name.size()) {
    const size_t behind = skip_operator(name, at);
    if (behind != at) {
      // A conversion: "operator unsigned int" holds spaces up to its parameters.
      at = behind;
      if (at < name.size() && name[at] == ' ') {
        const size_t parameters = name.find('(', at);
        at = parameters == std::string_view::npos ? name.size() : parameters;
      }
      continue;
    }
    const char c = name[at];
    if (c == '(' && name.substr(at, kAnonymous.size()) == kAnonymous) {
      at += kAnonymous.size();
    } else if (c == '(') {
      const size_t end = skip_brackets(name, at);
      // Parameters end the name, unless more of it follows: "f(int)::{lambda(int)#1}::operator()"; or they belong to
      // the return type: "decltype (x) f(int)".
      if (ends_function(name.substr(end))) return name.substr(start, at - start);
      at = end;
    } else if (c == '<' || c == '{' || name.substr(at, 5) == "[abi:") {
      at = skip_brackets(name, at);
    } else if (c == ' ') {
      if (name.substr(at, 2) == " [") return name.substr(start, at - start);
      if (name.substr(at, kConstScope.size()) == kConstScope)
        at += kConstScope.size();  // "f() const::{lambda()#1}::operator()"
      else
        start = ++at;
    } else {
      ++at;
    }
  }
  return name.substr(start);
}

std::string short_name(std::string_view demangled, size_t max_template_arguments) {
  std::string_view name = qualified_name(demangled);
  // What gcc makes of parts and copies of a function that is not C++.
  for (const std::string_view clone : {".cold", ".part.", ".constprop.", ".isra.", ".lto_priv."})
    name = name.substr(0, name.find(clone));
  std::string out;
  for (size_t at = 0; at < name.size();) {
    const size_t behind = skip_operator(name, at);
    if (behind != at) {
      out += name.substr(at, behind - at);
      at = behind;
    } else if (name[at] == '<') {
      const size_t end = skip_brackets(name, at);
      const std::string_view arguments = name.substr(at, end - at);
      if (arguments.starts_with("<lambda") && out.ends_with("::"))
        out += "{lambda}";
      else if (arguments.size() > max_template_arguments + 2)
        out += "<…>";
      else
        out += arguments;
      at = end;
    } else if (name[at] == '{') {
      // {lambda(int, std::string)#2} and {unnamed type#1}
      const size_t end = skip_brackets(name, at);
      const std::string_view closure = name.substr(at, end - at);
      const size_t number = closure.rfind('#');
      out += closure.starts_with("{lambda(") && number != std::string_view::npos
                 ? "{lambda" + std::string(closure.substr(number))
                 : std::string(closure);
      at = end;
    } else if (name[at] == '(' && name.substr(at, kAnonymous.size()) == kAnonymous) {
      at += kAnonymous.size();
      if (name.substr(at, 2) == "::") at += 2;  // says nothing that the source line does not
    } else if (name[at] == '(') {
      at = skip_brackets(name, at);
      if (name.substr(at, 6) == " const") at += 6;
    } else if (name[at] == '[') {
      at = skip_brackets(name, at);
    } else {
      out += name[at++];
    }
  }
  return out.empty() ? std::string(demangled) : out;
}

}  // namespace fiberprof
