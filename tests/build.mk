# Tests. tests/<area>/*_test.cpp becomes one GoogleTest binary per area; tests/programs/*.cpp become programs on the
# runtime that integration tests start and watch.

TEST_AREAS    := $(sort $(foreach f,$(wildcard tests/*/*_test.cpp),$(word 2,$(subst /, ,$(f)))))
TEST_BINARIES := $(TEST_AREAS:%=$(B)/tests/%_test)
TEST_PROGRAMS := $(patsubst tests/programs/%.cpp,$(B)/tests/programs/%,$(wildcard tests/programs/*.cpp))
TEST_LIBS     := -lgtest_main -lgmock -lgtest -pthread

# Areas whose code under test is the runtime see its headers; all others see only what the tool sees.
RUNTIME_AREAS := contract runtime kvd gdb leaks model random sampling
TEST_INC       = $(if $(filter $(RUNTIME_AREAS),$(word 3,$(subst /, ,$(@:$(B)/%=%)))),-Iinclude -Iruntime \
    -Iruntime/examples,$(TOOL_INC)) -Itests

# Adopts the contracts without libfiberrt, whose probes would be a second set.
$(B)/tests/programs/contract_target: tests/programs/contract_target.cpp
	@mkdir -p $(@D) $(B)/obj/tests/programs
	$(CXX) $(CXXFLAGS) $(LDFLAGS) -Iinclude $(if $(filter x86_64,$(ARCH)),-mno-red-zone) $(DEPFLAGS) \
	    -MF $(B)/obj/tests/programs/contract_target.d -o $@ $< -pthread

$(B)/obj/tests/programs/%.o: tests/programs/%.cpp
	@mkdir -p $(@D)
	$(CXX) $(CXXFLAGS) $(USE_FIBERRT) $(DEPFLAGS) -c $< -o $@

$(B)/tests/programs/%: $(B)/obj/tests/programs/%.o $(B)/lib/libfiberrt.a
	@mkdir -p $(@D)
	$(CXX) $(LDFLAGS) -o $@ $< $(LINK_FIBERRT)

$(B)/obj/tests/%.o: tests/%.cpp | $(CONTRACT) $(BPF_SKEL)
	@mkdir -p $(@D)
	$(CXX) $(CXXFLAGS) $(TEST_INC) -DFIBERPROF_BUILD_DIR='"$(abspath $(B))"' -DFIBERPROF_PLAIN_DIR='"$(abspath $(PLAIN))"' \
	    -DFIBERPROF_TARGET_DIR='"$(abspath $(TARGETS))"' -DFIBERPROF_SOURCE_DIR='"$(CURDIR)"' \
	    $(DEPFLAGS) -c $< -o $@

# Programs that the deadlock detector is judged by: blocking bugs, and what must never be taken for one.
GOKER_PROGRAMS := $(B)/tests/programs/goker $(B)/tests/programs/healthy
GOKER_OBJ       = $(patsubst %.cpp,$(B)/obj/%.o,$(wildcard tests/goker/$(1)/*.cpp))
$(call GOKER_OBJ,*): $(B)/obj/%.o: %.cpp
	@mkdir -p $(@D)
	$(CXX) $(CXXFLAGS) $(USE_FIBERRT) -Itests $(DEPFLAGS) -c $< -o $@
$(B)/tests/programs/goker: $(call GOKER_OBJ,kernels)
$(B)/tests/programs/healthy: $(call GOKER_OBJ,healthy)
$(GOKER_PROGRAMS): $(B)/lib/libfiberrt.a
	@mkdir -p $(@D)
	$(CXX) $(LDFLAGS) -o $@ $(filter %.o,$^) $(LINK_FIBERRT)
$(B)/tests/goker_test: | $(GOKER_PROGRAMS)

# How many of those bugs the detector finds, beside published figures, and that it reports nothing else.
.PHONY: goker
goker: $(B)/bin/fiberprof $(GOKER_PROGRAMS)
	scripts/goker --build $(B) $(GOKER_ARGS)

define TEST_AREA
$(B)/tests/$(1)_test: $(patsubst %.cpp,$(B)/obj/%.o,$(wildcard tests/$(1)/*.cpp)) \
    $(TEST_EXTRA_$(1)) $(if $(filter $(1),$(RUNTIME_AREAS)),$(B)/lib/libfiberrt.a,$(B)/lib/libfiberprof-tool.a)
	@mkdir -p $$(@D)
	$$(CXX) $$(LDFLAGS) -o $$@ $$^ $$(TEST_LIBS) $(if $(filter $(1),$(RUNTIME_AREAS)),-pthread,$$(TOOL_LIBS))
endef
# fiber-kvd's own parts, without its main, for its unit tests
TEST_EXTRA_kvd := $(filter-out %/main.o,$(KVD_OBJ))
$(foreach area,$(TEST_AREAS),$(eval $(call TEST_AREA,$(area))))

.PHONY: tests
tests: all $(TEST_PROGRAMS) $(GOKER_PROGRAMS) $(TEST_BINARIES)
-include $(shell find $(B)/obj/tests -name '*.d' 2>/dev/null)
.PRECIOUS: $(B)/obj/tests/%.o $(B)/obj/tests/programs/%.o

# All tests once more with AddressSanitizer, LeakSanitizer and UndefinedBehaviorSanitizer in $(B)/asan, and with
# ThreadSanitizer in $(B)/tsan. Not with the latter: the model, whose threads are coroutines that a single one runs, and
# whose memory orders are what it checks itself.
SANITIZE_OPT := -O1
# Where the build without sanitizers is, whose programs tests need: what deadlocks are proved of, and what dumps core.
PLAIN   ?= $(B)
# Where the programs are that the tool and gdb are tried on. With ThreadSanitizer those without it: it takes a fiber for
# a thread and ends at 8,128 of them, and lets nobody dump core.
TARGETS ?= $(B)
# Without the check of an object's type: it makes a pipe to find out whether memory can be read, and takes a good object
# for a bad one where a test has used up the descriptors.
ASAN_FLAGS   := -fsanitize=address,undefined -fno-sanitize=vptr -fno-sanitize-recover=all
TSAN_FLAGS   := -fsanitize=thread
TSAN_AREAS   := $(filter-out model,$(TEST_AREAS))
ASAN_TESTS   := $(TEST_BINARIES:$(B)/%=$(B)/asan/%)
TSAN_TESTS   := $(TSAN_AREAS:%=$(B)/tsan/tests/%_test)
# Use after return is looked for; programs may dump core, which tests need; and ThreadSanitizer does not wait a second
# at the end of every process for reports to come, nor end a forked child that starts threads.
SANITIZE_ENV := ASAN_OPTIONS=detect_stack_use_after_return=1:disable_coredump=0 UBSAN_OPTIONS=print_stacktrace=1 \
    TSAN_OPTIONS=atexit_sleep_ms=0:die_after_fork=0

# The model's threads must find their variables at the same addresses in every run.
$(B)/obj/tests/model/%.o: CXXFLAGS += $(if $(findstring address,$(SANITIZE)),--param asan-use-after-return=0)

.PHONY: sanitize sanitize-asan sanitize-tsan races runtime-programs plain-programs
# What tests of the runtime start.
runtime-programs: $(B)/lib/libfiberrt.a $(B)/lib/libfiberrt.so $(EXAMPLES) $(KVD) $(TEST_PROGRAMS)
# By a make of its own, before the other two: they would build the same files at the same time.
plain-programs:
	+$(MAKE) $(TEST_PROGRAMS) $(GOKER_PROGRAMS) $(FIX)/parked_no_pie $(FIX)/parked_shared
sanitize-asan sanitize-tsan: plain-programs
sanitize-asan:
	+$(MAKE) PLAIN=$(B) B=$(B)/asan OPT=$(SANITIZE_OPT) SANITIZE='$(ASAN_FLAGS)' tests
sanitize-tsan:
	+$(MAKE) PLAIN=$(B) TARGETS=$(B) B=$(B)/tsan OPT=$(SANITIZE_OPT) SANITIZE='$(TSAN_FLAGS)' all runtime-programs \
	    $(TSAN_TESTS)
# Of all that, what `make test` has time for: random programs over every primitive on several processors.
RACE_TESTS := $(B)/tsan/tests/random_test
races:
	+$(MAKE) B=$(B)/tsan OPT=$(SANITIZE_OPT) SANITIZE='$(TSAN_FLAGS)' $(RACE_TESTS)
sanitize: sanitize-asan sanitize-tsan
	$(SANITIZE_ENV) scripts/run-tests $(ASAN_TESTS) $(TSAN_TESTS)

# The runtime's tests in Valgrind, which must know every stack: not a word about a switched one. Left out: what needs
# more descriptors than Valgrind leaves a program, thousands of fibers (it finds a stack by going through all of them)
# or many processes (each takes seconds to start), as tests of misuse do; what looks through all of a stack, written
# or not; and what counts how often a thread sleeps, which here includes its waiting for the others' turns.
empty :=
space := $(empty) $(empty)
VALGRIND_WITHOUT := *Misuse* *EndsTheProcess* *EndsWithAMessage* *Death* Options.* *AllAsleep.* Seeded.* SeededTime.* \
    Stack.* *ManyFibers* *OutOfDescriptors* NetDescriptors.* *ATokenIsAWordThatPointsToItsGroup* \
    *SleepsLessWhileEventsAreQuick*
.PHONY: valgrind
valgrind: $(B)/tests/runtime_test
	scripts/install-deps valgrind
	rm -f $(B)/valgrind.log
	valgrind --fair-sched=yes --error-exitcode=9 --log-file=$(B)/valgrind.log $(B)/tests/runtime_test \
	    --gtest_filter='-$(subst $(space),:,$(strip $(VALGRIND_WITHOUT)))' --gtest_brief=1 || { cat $(B)/valgrind.log; false; }
	! grep 'switching stacks' $(B)/valgrind.log
	tail -1 $(B)/valgrind.log

# Fixtures of an area: programs its tests look at, in every way a binary is built and shipped.
FIX       := $(B)/tests/fixtures
FIX_FLAGS := -std=c++20 -O2 $(FRAMES) $(WARN) -Iinclude -Itests $(if $(filter x86_64,$(ARCH)),-mno-red-zone)
-include $(wildcard tests/*/fixtures.mk)

# Benchmarks: ratios within one run, never part of the tests. Ours and the peers' are in build/benchmarks; a peer whose
# compiler or library is not there is left out, and scripts/bench says so.
BENCH := $(B)/benchmarks
$(B)/obj/tests/benchmarks/%.o: tests/benchmarks/%.cpp
	@mkdir -p $(@D)
	$(CXX) $(CXXFLAGS) $(USE_FIBERRT) $(DEPFLAGS) -c $< -o $@
$(BENCH)/runtime_bench $(BENCH)/echo_server $(BENCH)/profiled: $(BENCH)/%: $(B)/obj/tests/benchmarks/%.o $(B)/lib/libfiberrt.a
	@mkdir -p $(@D)
	$(CXX) $(LDFLAGS) -o $@ $^ -pthread
$(BENCH)/runtime_bench_noprobes: $(B)/obj/tests/benchmarks/runtime_bench.o $(B)/noprobes/libfiberrt.a
	@mkdir -p $(@D)
	$(CXX) $(LDFLAGS) -o $@ $^ -pthread
$(BENCH)/echo_load: $(B)/obj/tests/benchmarks/echo_load.o
	@mkdir -p $(@D)
	$(CXX) $(LDFLAGS) -o $@ $^ -luring
$(B)/obj/tests/benchmarks/site_cost.o: tests/benchmarks/site_cost.cpp | $(CONTRACT)
	@mkdir -p $(@D)
	$(CXX) $(CXXFLAGS) $(TOOL_INC) $(DEPFLAGS) -c $< -o $@
$(BENCH)/site_cost: $(B)/obj/tests/benchmarks/site_cost.o $(B)/lib/libfiberprof-tool.a
	@mkdir -p $(@D)
	$(CXX) $(LDFLAGS) -o $@ $^ $(TOOL_LIBS)

# The peers get the optimisation of a usual release build, and not our frame pointers.
$(BENCH)/boost_bench: tests/benchmarks/peers/boost_bench.cpp tests/benchmarks/measure.h
	@mkdir -p $(@D)
	$(CXX) -std=c++20 -O2 -o $@ $< -lboost_fiber -lboost_context -pthread
GO_BUILD = GO111MODULE=off GOPROXY=off GOFLAGS= CGO_ENABLED=0 GOCACHE=$(abspath $(B))/go-cache go build
$(BENCH)/go_bench: tests/benchmarks/peers/runtime_bench.go
	@mkdir -p $(@D)
	$(GO_BUILD) -o $@ $<
$(BENCH)/go_profiled: tests/benchmarks/peers/profiled.go
	@mkdir -p $(@D)
	$(GO_BUILD) -o $@ $<
$(BENCH)/go_echo: tests/benchmarks/peers/echo_server.go
	@mkdir -p $(@D)
	$(GO_BUILD) -o $@ $<

BENCH_OWN   := $(addprefix $(BENCH)/,runtime_bench runtime_bench_noprobes echo_server profiled site_cost) \
    $(if $(wildcard /usr/include/liburing.h),$(BENCH)/echo_load) $(B)/bin/fiber-kvd $(B)/bin/fiberprof
BENCH_PEERS  = $(if $(shell command -v go),$(BENCH)/go_bench $(BENCH)/go_echo $(BENCH)/go_profiled) \
    $(if $(wildcard /usr/include/boost/fiber/all.hpp),$(BENCH)/boost_bench)

.PHONY: bench bench-programs
bench-programs: $(BENCH_OWN) $(BENCH_PEERS)
# Without the network, or the right to install, the peers that are there are what is compared with.
bench:
	scripts/install-deps bench || true
	+$(MAKE) bench-programs
	scripts/bench --build $(B) $(BENCH_ARGS)
