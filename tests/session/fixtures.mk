# The conformance target as a library, and programs that get their probes from it.
$(FIX)/libcontract.so: tests/programs/contract_target.cpp
	@mkdir -p $(@D)
	$(CXX) $(FIX_FLAGS) -g -fPIC -shared -Dmain=contract_main -o $@ $< -pthread
$(FIX)/contract_linked: tests/session/fixtures/calls_library.cpp $(FIX)/libcontract.so
	$(CXX) $(FIX_FLAGS) -g -o $@ $^ -Wl,-rpath,'$$ORIGIN' -pthread
$(FIX)/loads_library: tests/session/fixtures/loads_library.cpp
	@mkdir -p $(@D)
	$(CXX) $(FIX_FLAGS) -g -o $@ $< -pthread
$(FIX)/stepping_clock.so: tests/session/fixtures/stepping_clock.cpp
	@mkdir -p $(@D)
	$(CXX) $(FIX_FLAGS) -g -fPIC -shared -o $@ $<
$(B)/tests/session_test: | $(addprefix $(FIX)/,libcontract.so contract_linked loads_library stepping_clock.so)
