# One program in every way programs are built and shipped.
SYM_FLAGS := -std=c++20 -O2 $(FRAMES) $(WARN) -Itests
SYM_SRC   := tests/symbol/fixtures/stacks.cpp
SYM_DIR   := $(FIX)/symbol

$(SYM_DIR)/no_debug:   SYM_HOW :=
$(SYM_DIR)/debug:      SYM_HOW := -g
$(SYM_DIR)/no_pie:     SYM_HOW := -g -no-pie -fno-pie
$(SYM_DIR)/dwarf4:     SYM_HOW := -gdwarf-4
$(SYM_DIR)/compressed: SYM_HOW := -g -gz
$(SYM_DIR)/static:     SYM_HOW := -g -static
$(SYM_DIR)/split:      SYM_HOW := -g -gsplit-dwarf -dumpdir $(SYM_DIR)/
SYM_PLAIN := $(addprefix $(SYM_DIR)/,no_debug debug no_pie dwarf4 compressed static split)
$(SYM_PLAIN): $(SYM_SRC)
	@mkdir -p $(@D)
	$(CXX) $(SYM_FLAGS) $(SYM_HOW) -o $@ $<

$(SYM_DIR)/clang: $(SYM_SRC)
	@mkdir -p $(@D)
	$(CLANG)++ -std=c++20 -O2 -g $(FRAMES) -Wno-unknown-attributes -Itests -o $@ $<

$(SYM_DIR)/stripped: $(SYM_DIR)/debug
	strip -o $@ $<

# Stripped, the rest in a file of its own: found by .gnu_debuglink.
$(SYM_DIR)/linked: $(SYM_DIR)/debug
	objcopy --only-keep-debug $< $@.debug
	strip -o $@ $<
	cd $(@D) && objcopy --add-gnu-debuglink=linked.debug linked

$(SYM_DIR)/libstacks.so: $(SYM_SRC)
	@mkdir -p $(@D)
	$(CXX) $(SYM_FLAGS) -g -fPIC -shared -DFIXTURE_LIBRARY -o $@ $<
$(SYM_DIR)/library: tests/symbol/fixtures/calls_library.cpp $(SYM_DIR)/libstacks.so
	$(CXX) $(SYM_FLAGS) -g -o $@ $^ -Wl,-rpath,'$$ORIGIN'

$(B)/tests/symbol_test: | $(B)/tests/programs/parked $(SYM_PLAIN) $(addprefix $(SYM_DIR)/,clang stripped linked library)

$(SYM_DIR)/waits_in_libc: tests/symbol/fixtures/waits_in_libc.cpp
	@mkdir -p $(@D)
	$(CXX) $(SYM_FLAGS) -g -o $@ $< -pthread
$(SYM_DIR)/waits_in_libc_static: tests/symbol/fixtures/waits_in_libc.cpp
	@mkdir -p $(@D)
	$(CXX) $(SYM_FLAGS) -g -static -o $@ $< -pthread
$(B)/tests/symbol_test: | $(addprefix $(SYM_DIR)/,waits_in_libc waits_in_libc_static)
