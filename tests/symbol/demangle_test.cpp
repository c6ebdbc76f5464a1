// SPDX-License-Identifier: BSD-2-Clause
#include "symbol/demangle.h"

#include <gtest/gtest.h>

#include <random>

namespace fiberprof {
namespace {

TEST(Demangle, ReadsCppNamesAndLeavesOthers) {
  EXPECT_EQ(demangle("_ZN3app7Program5outerEiPKc"), "app::Program::outer(int, char const*)");
  EXPECT_EQ(demangle("main"), "main");
  EXPECT_EQ(demangle("_Znot_mangled"), "_Znot_mangled");
  EXPECT_EQ(demangle(""), "");
  EXPECT_EQ(demangle("_Z" + std::string(100'000, 'N')), "_Z" + std::string(100'000, 'N'));
}

TEST(QualifiedName, IsTheFunctionAlone) {
  const std::pair<const char*, const char*> kCases[] = {
      {"main", "main"},
      {"app::Program::outer(int, char const*)", "app::Program::outer"},
      {"void ns::Queue<int>::push<long>(long&&) const [clone .cold]", "ns::Queue<int>::push<long>"},
      {"fiber::Channel<std::pair<int, void (*)(int)> >::receive()",
       "fiber::Channel<std::pair<int, void (*)(int)> >::receive"},
      {"std::vector<int, std::allocator<int> > app::list(fiber::Channel<int>&)", "app::list"},
      {"main::{lambda(int)#1}::operator()(int) const", "main::{lambda(int)#1}::operator()"},
      {"app::run(fiber::Context&)::{lambda()#2}::operator()() const",
       "app::run(fiber::Context&)::{lambda()#2}::operator()"},
      {"(anonymous namespace)::helper(int)", "(anonymous namespace)::helper"},
      {"app::(anonymous namespace)::helper<int>(int)", "app::(anonymous namespace)::helper<int>"},
      {"bool operator< <int>(A<int> const&, A<int> const&)", "operator< <int>"},
      {"std::ostream& operator<<(std::ostream&, app::X)", "operator<<"},
      {"app::X::operator->() const", "app::X::operator->"},
      {"app::X::operator unsigned int() const", "app::X::operator unsigned int"},
      {"operator new(unsigned long)", "operator new"},
      {"decltype(auto) app::visit<int>(int)", "app::visit<int>"},
      {"decltype ((x.f)()) app::call<int>(int)", "app::call<int>"},
      {"non-virtual thunk to app::X::run()", "app::X::run"},
      {"std::__cxx11::basic_string<char> f[abi:cxx11](int)", "f[abi:cxx11]"},
      {"fiber_target+0x1234", "fiber_target+0x1234"},
  };
  for (const auto& [name, expected] : kCases) EXPECT_EQ(qualified_name(name), expected) << name;
}

TEST(ShortName, IsForPeople) {
  const std::pair<const char*, const char*> kCases[] = {
      {"main", "main"},
      {"app::Program::outer(int, char const*)", "app::Program::outer"},
      {"fiber::Channel<int>::receive()", "fiber::Channel<int>::receive"},
      {"fiber::Channel<std::pair<std::string, std::vector<int> > >::receive()", "fiber::Channel<…>::receive"},
      {"main::{lambda(int, std::string)#1}::operator()(int, std::string) const", "main::{lambda#1}::operator()"},
      {"app::run(int) const::{lambda()#2}::operator()() const", "app::run::{lambda#2}::operator()"},
      {"app::(anonymous namespace)::helper(int)", "app::helper"},
      {"std::string f[abi:cxx11](int)", "f"},
      {"A<(Kind)3>::operator>(A const&)", "A<(Kind)3>::operator>"},
      {"compute.constprop.0.cold", "compute"},
      {"program+0x1234", "program+0x1234"},
      {"[unknown]", "[unknown]"},
      {"main::<lambda()>::operator()", "main::{lambda}::operator()"},
  };
  for (const auto& [name, expected] : kCases) EXPECT_EQ(short_name(name), expected) << name;
}

// Names are hostile too: unbalanced brackets and operators of all kinds must neither hang nor read outside.
TEST(ShortName, OfRandomTextStaysWithinBounds) {
  std::mt19937 random(3);
  static const char* const kPieces[] = {"<",
                                        ">",
                                        "(",
                                        ")",
                                        "{",
                                        "}",
                                        "[",
                                        "]",
                                        "::",
                                        " ",
                                        "operator",
                                        "->",
                                        "a",
                                        "b1",
                                        "{lambda(",
                                        "#",
                                        "(anonymous namespace)",
                                        "const",
                                        "&",
                                        ".cold",
                                        "[abi:",
                                        "<lambda"};
  for (int round = 0; round < 100'000; ++round) {
    std::string name;
    for (unsigned i = 0; i < random() % 16; ++i) name += kPieces[random() % std::size(kPieces)];
    const std::string_view qualified = qualified_name(name);
    ASSERT_LE(qualified.size(), name.size());
    ASSERT_LE(short_name(name).size(), name.size() + 16) << name;
    ASSERT_EQ(short_name(name).empty(), name.empty());
  }
}

}  // namespace
}  // namespace fiberprof
