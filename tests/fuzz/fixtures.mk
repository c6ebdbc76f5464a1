# libFuzzer on everything that reads memory of other processes and core files: make fuzz FUZZ_SECONDS=60. What it finds
# stays in tests/fuzz/corpus (crashes in $(FUZZ)); tests/fuzz/hostile_test.cpp runs all of that.
FUZZ         := $(B)/fuzz
FUZZ_SECONDS ?= 60
FUZZ_FLAGS   := -std=c++20 -O1 -g $(FRAMES) -fsanitize=address,undefined -fno-sanitize=vptr -fno-sanitize-recover=all
FUZZ_TOOL    := $(wildcard userspace/elf/*.cpp userspace/process/*.cpp userspace/support/*.cpp userspace/symbol/*.cpp \
    userspace/dump/*.cpp userspace/render/dump*.cpp) userspace/session/names.cpp userspace/render/frame_text.cpp \
    userspace/render/stack_view.cpp userspace/render/palette.cpp
FUZZ_OBJ     := $(patsubst %.cpp,$(FUZZ)/obj/%.o,$(FUZZ_TOOL) tests/fuzz/consume.cpp)

$(FUZZ)/obj/%.o: %.cpp | $(CONTRACT) $(BPF_SKEL)
	@mkdir -p $(@D)
	$(CLANG)++ $(FUZZ_FLAGS) -fsanitize=fuzzer-no-link $(TOOL_INC) -Itests $(DEPFLAGS) -c $< -o $@
$(FUZZ)/fuzz_memory $(FUZZ)/fuzz_core: $(FUZZ)/fuzz_%: $(FUZZ)/obj/tests/fuzz/targets/%.o $(FUZZ_OBJ)
	$(CLANG)++ $(FUZZ_FLAGS) -fsanitize=fuzzer -o $@ $^ $(TOOL_LIBS)
$(FUZZ)/make_seeds: tests/fuzz/targets/make_seeds.cpp tests/fuzz/image.h | $(CONTRACT)
	@mkdir -p $(@D)
	$(CXX) -std=c++20 -O1 $(TOOL_INC) -Itests -o $@ $<
-include $(wildcard $(FUZZ_OBJ:.o=.d))

.PHONY: fuzz
fuzz: $(FUZZ)/fuzz_memory $(FUZZ)/fuzz_core $(FUZZ)/make_seeds
	$(FUZZ)/make_seeds $(FUZZ)/seeds
	for each in memory core; do mkdir -p $(FUZZ)/found/$$each; \
	  $(FUZZ)/fuzz_$$each -max_total_time=$(FUZZ_SECONDS) -max_len=65536 -timeout=10 -rss_limit_mb=2048 \
	    -artifact_prefix=$(FUZZ)/$$each- $(FUZZ)/found/$$each $(FUZZ)/seeds/$$each tests/fuzz/corpus/$$each || exit 1; done
