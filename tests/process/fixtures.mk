# Programs that the process and elf tests look at: the contracts without a runtime.
$(FIX)/%: tests/process/fixtures/%.cpp tests/process/fixtures/hand_registry.h include/fiberprof/probes.h \
    include/fiberprof/registry.h
	@mkdir -p $(@D)
	$(CXX) $(FIX_FLAGS) -g -o $@ $< -pthread

$(FIX)/fiber_target_no_pie: tests/process/fixtures/fiber_target.cpp | $(FIX)/fiber_target
	$(CXX) $(FIX_FLAGS) -g -no-pie -fno-pie -o $@ $< -pthread

$(FIX)/fiber_target_no_note: tests/process/fixtures/fiber_target.cpp | $(FIX)/fiber_target
	$(CXX) $(FIX_FLAGS) -g -DFIXTURE_WITHOUT_NOTE -rdynamic -o $@ $< -pthread

$(FIX)/fiber_target_stripped: $(FIX)/fiber_target
	strip -o $@ $<

# The runtime as a shared library: the program itself has no probes.
$(FIX)/libfiber_target.so: tests/process/fixtures/fiber_target.cpp | $(FIX)/fiber_target
	$(CXX) $(FIX_FLAGS) -g -fPIC -shared -Dmain=fixture_main -o $@ $< -pthread
$(FIX)/fiber_target_shared: tests/process/fixtures/calls_library.cpp $(FIX)/libfiber_target.so
	$(CXX) $(FIX_FLAGS) -g -o $@ $^ -Wl,-rpath,'$$ORIGIN' -pthread

PROCESS_FIXTURES := $(addprefix $(FIX)/,fiber_target fiber_target_no_pie fiber_target_no_note fiber_target_stripped \
    fiber_target_shared plain)
$(B)/tests/process_test $(B)/tests/elf_test: | $(PROCESS_FIXTURES)
$(B)/tests/process_test: | $(B)/bin/fiberprof

# A program on the runtime in the ways programs are linked, for core files.
$(FIX)/parked_no_pie: tests/programs/parked.cpp $(B)/lib/libfiberrt.a
	@mkdir -p $(@D)
	$(CXX) $(CXXFLAGS) $(USE_FIBERRT) $(LDFLAGS) -no-pie -fno-pie -o $@ $< $(LINK_FIBERRT)
$(FIX)/parked_shared: tests/programs/parked.cpp $(B)/lib/libfiberrt.so
	@mkdir -p $(@D)
	$(CXX) $(CXXFLAGS) $(USE_FIBERRT) $(LDFLAGS) -o $@ $< $(B)/lib/libfiberrt.so -Wl,-rpath,$(abspath $(B)/lib) -pthread
$(B)/tests/process_test: | $(FIX)/parked_no_pie $(FIX)/parked_shared $(B)/tests/programs/parked $(B)/tests/programs/rounds
