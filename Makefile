# fiberprof: a fiber runtime for C++ and the eBPF profiler that sees through it.
#
#   make          build everything into build/ (no root, no network)
#   make test     install what is missing, build, run all tests, and the random ones with ThreadSanitizer, too
#   make demo     install what is missing, build, show fiberprof on a live server
#   make bench    install what is missing, build, compare the runtime's speed with Go, Boost.Fiber and Redis
#   make goker    build, measure what fiberprof deadlock finds of real blocking bugs
#   make install  PREFIX=/usr/local
#   make sanitize build and run all tests with AddressSanitizer (which finds leaks, too) and UndefinedBehaviorSanitizer,
#                 and with ThreadSanitizer all but the model's
#   make valgrind run the runtime's tests in Valgrind
#   make fuzz     libFuzzer on what reads core files and the memory of other processes
#   make lint     clang-format and clang-tidy, layer rules
#   make clean

MAKEFLAGS += --no-builtin-rules
.SUFFIXES:
.DELETE_ON_ERROR:

B        := build
CXX      ?= g++
CC       ?= gcc
ifeq ($(origin CXX),default)
CXX      := g++
endif
CLANG    ?= clang
BPFTOOL  ?= $(firstword $(wildcard /usr/sbin/bpftool /sbin/bpftool) bpftool)
PREFIX   ?= /usr/local
OPT      ?= -O2
SANITIZE ?=

ARCH     := $(shell uname -m)
WARN     := -Wall -Wextra -Wshadow -Wconversion -Wno-sign-conversion -Werror
# Frame pointers everywhere: they are how a fiber's stack is walked, from BPF and from outside.
FRAMES   := -fno-omit-frame-pointer
ifeq ($(ARCH),x86_64)
FRAMES   += -mno-omit-leaf-frame-pointer
endif
# ThreadSanitizer does not model fences; ours order words that are atomic anyway.
ifneq ($(findstring thread,$(SANITIZE)),)
WARN     += -Wno-tsan
endif
# With AddressSanitizer g++ 12 takes members of <regex> and <functional> for uninitialised.
ifneq ($(findstring address,$(SANITIZE)),)
WARN     += -Wno-maybe-uninitialized
endif
CXXFLAGS := -std=c++20 $(OPT) -g $(FRAMES) $(WARN) $(SANITIZE) $(EXTRA_CXXFLAGS)
LDFLAGS  := $(SANITIZE) $(EXTRA_LDFLAGS)
DEPFLAGS  = -MMD -MP

.PHONY: all
all:

include runtime/build.mk
include bpf/build.mk
include userspace/build.mk
include tests/build.mk

.PHONY: deps test demo lint install clean
deps:
	scripts/install-deps

test: deps
	+$(MAKE) all tests races
	$(SANITIZE_ENV) scripts/run-tests $(TEST_BINARIES) $(RACE_TESTS)

demo:
	scripts/install-deps build demo
	+$(MAKE) all
	scripts/demo

lint:
	scripts/lint

install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/pkgconfig $(DESTDIR)$(PREFIX)/include $(DESTDIR)$(PREFIX)/share/gdb
	install -m 755 $(B)/bin/fiberprof $(B)/bin/fiber-kvd $(DESTDIR)$(PREFIX)/bin/
	install -m 644 $(B)/lib/libfiberrt.a $(DESTDIR)$(PREFIX)/lib/
	install -m 755 $(B)/lib/libfiberrt.so $(DESTDIR)$(PREFIX)/lib/
	install -m 644 scripts/fiberprof-gdb.py $(DESTDIR)$(PREFIX)/share/gdb/
	sed 's|@PREFIX@|$(PREFIX)|' runtime/fiberrt.pc.in > $(DESTDIR)$(PREFIX)/lib/pkgconfig/fiberrt.pc
	cp -r include/fiber include/fiberprof $(DESTDIR)$(PREFIX)/include/

clean:
	rm -rf $(B)
