# The fiberprof tool. It may include only the two contracts of include/fiberprof, never the runtime: the include path
# below holds nothing else.

TOOL_SRC := $(shell find userspace -name '*.cpp' | sort)
TOOL_OBJ := $(TOOL_SRC:%.cpp=$(B)/obj/%.o)
TOOL_LIB_OBJ := $(filter-out $(B)/obj/userspace/main.o,$(TOOL_OBJ))
CONTRACT := $(B)/contract/fiberprof
TOOL_INC := -Iuserspace -I$(B)/contract -Ibpf -I$(B)/bpf
TOOL_LIBS := -lbpf -ldw -lelf -lz -lncursesw -ltinfo -lcap -pthread

$(CONTRACT):
	@mkdir -p $(@D)
	ln -sfn $(abspath include/fiberprof) $@

$(B)/obj/userspace/%.o: userspace/%.cpp | $(CONTRACT) $(BPF_SKEL)
	@mkdir -p $(@D)
	$(CXX) $(CXXFLAGS) $(TOOL_INC) $(DEPFLAGS) -c $< -o $@

# Holds probe sites: a probed nop may become a call, which writes below the stack pointer.
$(B)/obj/userspace/session/nop_sites.o: CXXFLAGS += $(if $(filter x86_64,$(ARCH)),-mno-red-zone)

$(B)/lib/libfiberprof-tool.a: $(TOOL_LIB_OBJ)
	@mkdir -p $(@D)
	rm -f $@ && ar rcs $@ $^

ifneq ($(wildcard userspace/main.cpp),)
$(B)/bin/fiberprof: $(B)/obj/userspace/main.o $(B)/lib/libfiberprof-tool.a
	@mkdir -p $(@D)
	$(CXX) $(LDFLAGS) -o $@ $^ $(TOOL_LIBS)
all: $(B)/bin/fiberprof
endif

-include $(TOOL_OBJ:.o=.d)
.PRECIOUS: $(B)/obj/userspace/%.o
