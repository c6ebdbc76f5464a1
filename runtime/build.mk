# libfiberrt (static and shared) and the example programs.

RT_SRC   := $(shell find runtime -name '*.cpp' -not -path 'runtime/examples/*' | sort)
RT_ASM   := $(wildcard runtime/context/*_$(ARCH).S)
RT_OBJ   := $(RT_SRC:%.cpp=$(B)/obj/%.o) $(RT_ASM:%.S=$(B)/obj/%.o)

# One compilation serves both libraries: position-independent, hidden symbols, thread-locals at a fixed offset.
# -mno-red-zone is needed in runtime/probe only, where a probed nop may become a call.
# Where in a line of the cache a function begins makes up to 2 % of it: as much as all probes may cost.
RT_FLAGS := -Iinclude -Iruntime -fPIC -fvisibility=hidden -ftls-model=initial-exec -falign-functions=64 \
    -DFIBER_BUILDING_LIBRARY
$(B)/obj/runtime/probe/%.o: RT_FLAGS += $(if $(filter x86_64,$(ARCH)),-mno-red-zone)

$(B)/obj/runtime/%.o: runtime/%.cpp
	@mkdir -p $(@D)
	$(CXX) $(CXXFLAGS) $(RT_FLAGS) $(DEPFLAGS) -c $< -o $@

$(B)/obj/runtime/%.o: runtime/%.S
	@mkdir -p $(@D)
	$(CC) -g -Iruntime $(DEPFLAGS) -c $< -o $@

$(B)/lib/libfiberrt.a: $(RT_OBJ)
	@mkdir -p $(@D)
	rm -f $@ && ar rcs $@ $^

$(B)/lib/libfiberrt.so: $(RT_OBJ)
	@mkdir -p $(@D)
	$(CXX) $(LDFLAGS) -shared -Wl,-soname,libfiberrt.so -o $@ $^ -pthread

# Programs on the runtime: what a user's own build needs is exactly USE_FIBERRT and the library.
USE_FIBERRT  := -Iinclude
LINK_FIBERRT := $(B)/lib/libfiberrt.a -pthread

EXAMPLES := $(patsubst runtime/examples/%.cpp,$(B)/bin/%,$(wildcard runtime/examples/*.cpp))
KVD_OBJ  := $(patsubst %.cpp,$(B)/obj/%.o,$(shell find runtime/examples/kvd -name '*.cpp' 2>/dev/null | sort))

$(B)/obj/runtime/examples/%.o: RT_FLAGS := $(USE_FIBERRT)

$(B)/bin/%: $(B)/obj/runtime/examples/%.o $(B)/lib/libfiberrt.a
	@mkdir -p $(@D)
	$(CXX) $(LDFLAGS) -o $@ $< $(LINK_FIBERRT)

KVD := $(if $(KVD_OBJ),$(B)/bin/fiber-kvd)
$(B)/bin/fiber-kvd: $(KVD_OBJ) $(B)/lib/libfiberrt.a
	@mkdir -p $(@D)
	$(CXX) $(LDFLAGS) -o $@ $(KVD_OBJ) $(LINK_FIBERRT)

all: $(B)/lib/libfiberrt.a $(B)/lib/libfiberrt.so $(EXAMPLES) $(KVD)
-include $(shell find $(B)/obj/runtime -name '*.d' 2>/dev/null)
.PRECIOUS: $(B)/obj/runtime/%.o

# The same library without its probes, to measure what they cost unattached.
NOPROBES_OBJ := $(RT_SRC:%.cpp=$(B)/noprobes/%.o) $(RT_ASM:%.S=$(B)/obj/%.o)
$(B)/noprobes/runtime/%.o: runtime/%.cpp
	@mkdir -p $(@D)
	$(CXX) $(CXXFLAGS) $(RT_FLAGS) -DFIBER_NO_PROBES $(DEPFLAGS) -c $< -o $@

$(B)/noprobes/libfiberrt.a: $(NOPROBES_OBJ)
	rm -f $@ && ar rcs $@ $^
-include $(shell find $(B)/noprobes -name '*.d' 2>/dev/null)
