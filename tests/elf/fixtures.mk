# Small enough to be cut at every length.
$(FIX)/small.so: tests/elf/fixtures/small.cpp include/fiberprof/probes.h include/fiberprof/registry.h
	@mkdir -p $(@D)
	$(CXX) $(FIX_FLAGS) -fPIC -shared -nostdlib -Wl,--build-id,-z,noseparate-code -o $@ $<

# Debug information included, for the fuzzing of its reader.
$(FIX)/small_debug.so: tests/elf/fixtures/small.cpp | $(FIX)/small.so
	$(CXX) $(FIX_FLAGS) -g -fPIC -shared -nostdlib -Wl,--build-id,-z,noseparate-code -o $@ $<

$(B)/tests/elf_test $(B)/tests/symbol_test: | $(FIX)/small.so $(FIX)/small_debug.so
