/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The few kernel types the programs read, declared by hand. preserve_access_index makes every access a CO-RE
 * relocation, so the object needs no BTF of the build machine and runs on kernels laid out differently.
 */
#ifndef FIBERPROF_BPF_KERNEL_H
#define FIBERPROF_BPF_KERNEL_H

#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#define CORE __attribute__((preserve_access_index))

typedef __u8 u8;
typedef __u32 u32;
typedef __s32 s32;
typedef __u64 u64;
typedef __s64 s64;

struct ns_common {
  unsigned int inum;
} CORE;

struct pid_namespace {
  struct ns_common ns;
} CORE;

struct upid {
  int nr;
  struct pid_namespace* ns;
} CORE;

struct pid {
  unsigned int level; /* how deep its innermost namespace is nested; 0: the initial one */
  struct upid numbers[1];
} CORE;

struct sched_entity {
  u64 sum_exec_runtime; /* ns on a CPU so far, up to date whenever the thread leaves it */
} CORE;

/* With CONFIG_SCHED_INFO, as distributions have it. */
struct sched_info {
  unsigned long long run_delay; /* ns it was runnable without a CPU, up to the last time it got one */
} CORE;

struct task_struct {
  int pid;  /* of the thread, in the initial pid namespace */
  int tgid; /* of the process */
  void* stack;
  unsigned int __state;
  struct task_struct* group_leader;
  struct pid* thread_pid;
  struct sched_entity se;
  struct sched_info sched_info;
  unsigned int on_cpu; /* smaller in 7.3, which libbpf sees to if it has no sign */
  unsigned long nvcsw, nivcsw;
  u64 start_time; /* CLOCK_MONOTONIC */
} CORE;

struct seq_file;

struct bpf_iter_meta {
  struct seq_file* seq;
} CORE;

struct bpf_iter__task {
  struct bpf_iter_meta* meta;
  struct task_struct* task; /* null at the end */
} CORE;

/* Before Linux 5.14 the field had another name and type. */
struct task_struct___before_5_14 {
  volatile long state;
} CORE;

/* include/linux/sched.h; these values have not changed since 4.14 */
#define TASK_UNINTERRUPTIBLE 0x2
#define TASK_STOPPED_OR_TRACED 0xc
#define TASK_STATE_MASK 0x7f
#define TASK_DEAD 0x80

/*
 * User registers as the kernel saves them. The x86-64 layout and the first part of the AArch64 one are UAPI
 * (struct pt_regs, struct user_pt_regs), hence no relocation: a uprobe program reads its context directly.
 */
#if defined(__TARGET_ARCH_x86)
struct pt_regs {
  u64 r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax, ip, cs, flags, sp, ss;
};
#define ARG0(r) ((r)->di)
#define ARG1(r) ((r)->si)
#define ARG2(r) ((r)->dx)
#define ARG3(r) ((r)->cx)
#define ARG4(r) ((r)->r8)
#define ARG5(r) ((r)->r9)
#define ARG6(r) ((r)->r10)
#define REG_IP(r) ((r)->ip)
#define REG_FP(r) ((r)->bp)
#define REG_SP(r) ((r)->sp)
#define REG_LR(r) 0
#define SYSCALL_NR(r) ((s64)(r)->orig_ax)
#define SYSCALL_ARG1(r) ((r)->si)
#define KERNEL_STACK_SIZE 16384

#define IN_KERNEL(r) (!((r)->cs & 3))

#define NR_restart_syscall 219
#define NR_futex 202
#define NR_futex_waitv 449
#define NR_futex_wait 455
#define IS_POLL(nr) \
  ((nr) == 232 || (nr) == 281 || (nr) == 441 || (nr) == 7 || (nr) == 271 || (nr) == 23 || (nr) == 270)
#elif defined(__TARGET_ARCH_arm64)
struct pt_regs {
  u64 regs[31];
  u64 sp;
  u64 pc;
  u64 pstate;
  u64 orig_x0;
  s32 syscallno; /* the two fields after pstate are no UAPI, but have sat here since 4.15 */
  u32 unused;
};
#define ARG0(r) ((r)->regs[0])
#define ARG1(r) ((r)->regs[1])
#define ARG2(r) ((r)->regs[2])
#define ARG3(r) ((r)->regs[3])
#define ARG4(r) ((r)->regs[4])
#define ARG5(r) ((r)->regs[5])
#define ARG6(r) ((r)->regs[6])
#define REG_IP(r) ((r)->pc)
#define REG_FP(r) ((r)->regs[29])
#define REG_SP(r) ((r)->sp)
#define REG_LR(r) ((r)->regs[30])
#define SYSCALL_NR(r) ((s64)(r)->syscallno)
#define SYSCALL_ARG1(r) ((r)->regs[1])
#define KERNEL_STACK_SIZE 16384

#define IN_KERNEL(r) ((r)->pstate & 0xf)

#define NR_restart_syscall 128
#define NR_futex 98
#define NR_futex_waitv 449
#define NR_futex_wait 455
#define IS_POLL(nr) ((nr) == 22 || (nr) == 441 || (nr) == 73 || (nr) == 72)
#else
#error "x86-64 and AArch64 only"
#endif

#endif
