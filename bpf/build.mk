# The BPF programs and their skeletons. No BTF of the build machine is needed: kernel types are declared by hand in
# bpf/kernel.h with preserve_access_index.

BPF_SRC  := $(wildcard bpf/*.bpf.c)
BPF_SKEL := $(BPF_SRC:bpf/%.bpf.c=$(B)/bpf/%.skel.h)
BPF_ARCH := $(patsubst x86_64,x86,$(patsubst aarch64,arm64,$(ARCH)))
BPF_INC  := -Iinclude -Ibpf -I/usr/include/$(ARCH)-linux-gnu

$(B)/bpf/%.bpf.o: bpf/%.bpf.c
	@mkdir -p $(@D)
	$(CLANG) -g -O2 -mcpu=v2 -target bpf -D__TARGET_ARCH_$(BPF_ARCH) -Wall -Wextra -Werror $(BPF_INC) -MMD -MP -c $< -o $@

$(B)/bpf/%.skel.h: $(B)/bpf/%.bpf.o
	$(BPFTOOL) gen skeleton $< name $*_bpf > $@

-include $(wildcard $(B)/bpf/*.d)
.PRECIOUS: $(B)/bpf/%.bpf.o
