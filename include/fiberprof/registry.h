/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Contract two: the registry, a fiber runtime's own account of itself in memory, read from outside.
 *
 * How a reader finds it
 *   - the note "fiberprof" (type FIBERPROF_NOTE_REGISTRY) in section .note.fiberprof, which survives strip: two
 *     8-byte words, the link-time addresses of the registry and of _.stapsdt.base;
 *   - the exported symbol FIBERPROF_REGISTRY_SYMBOL, for debuggers and shared libraries.
 *
 * What a reader may rely on
 *   - magic, version and header_size come first and never move. Every structure is described by its size (the
 *     stride of arrays of it) and by the offset and size of each field in `fields`, so a reader built against an
 *     older or newer header still finds what it knows: a field with size 0 is not there.
 *   - Fibers live in slabs of type-stable memory that is never returned to the system and never moves. A slot is
 *     reused by later fibers; `sequence` is a seqlock, odd while the slot is being rewritten for another fiber.
 *   - Single fields are written with single aligned stores. Nothing is locked for the reader: a set of fields is
 *     consistent only if `sequence` and `switches` are the same before and after.
 *   - A parked or runnable fiber's `sp` points at a frame record {caller's frame pointer, return address}: a
 *     frame-pointer walk starts there and ends at a frame pointer of 0.
 *
 * What a runtime may rely on: the reader only reads (process_vm_readv, core files, bpf_probe_read_user).
 * A reader must treat everything here as hostile: bound every count, check every pointer.
 */
#ifndef FIBERPROF_REGISTRY_H
#define FIBERPROF_REGISTRY_H

#define FIBERPROF_REGISTRY_SYMBOL "fiberprof_registry"
#define FIBERPROF_REGISTRY_MAGIC "fiberprof.reg\n\x1a" /* 16 bytes with the final zero */
#define FIBERPROF_REGISTRY_VERSION 1
#define FIBERPROF_NOTE_NAME "fiberprof"
#define FIBERPROF_NOTE_REGISTRY 1

/* X(value, NAME, "what people read"). Values are fixed for ever; a park, an unpark and a blocked event carry one.
 * `resource` is the address of the object waited for, except: io_*: the file descriptor; sleep: 0; join: the id of
 * the fiber waited for; select: the address of the first arm's channel (every arm is in fiberprof_fiber.arms). */
#define FIBERPROF_REASONS(X)                 \
  X(0, NONE, "none")                         \
  X(1, CHAN_SEND, "chan send")               \
  X(2, CHAN_RECV, "chan receive")            \
  X(3, SELECT, "select")                     \
  X(4, MUTEX, "mutex")                       \
  X(5, RWLOCK_READ, "rwlock read")           \
  X(6, RWLOCK_WRITE, "rwlock write")         \
  X(7, CONDITION, "condition")               \
  X(8, WAIT_GROUP, "wait group")             \
  X(9, ONCE, "once")                         \
  X(10, SEMAPHORE, "semaphore")              \
  X(11, BARRIER, "barrier")                  \
  X(12, JOIN, "join")                        \
  X(13, SLEEP, "sleep")                      \
  X(14, IO_READ, "io read")                  \
  X(15, IO_WRITE, "io write")                \
  X(16, IO_ACCEPT, "io accept")              \
  X(17, IO_CONNECT, "io connect")            \
  X(18, CONTEXT, "context")                  \
  X(19, NIL_CHANNEL, "nil channel")          \
  X(20, EMPTY_SELECT, "empty select")        \
  X(21, OTHER, "other")

#define FIBERPROF_REASON_ENUM(value, name, text) FIBERPROF_REASON_##name = value,
enum fiberprof_reason { FIBERPROF_REASONS(FIBERPROF_REASON_ENUM) FIBERPROF_REASON_COUNT };
#undef FIBERPROF_REASON_ENUM

/* X(value, NAME, "text"): state of a fiber. */
#define FIBERPROF_FIBER_STATES(X)                                           \
  X(0, FREE, "free")         /* the slot holds no fiber */                  \
  X(1, RUNNABLE, "runnable") /* in a run queue */                           \
  X(2, RUNNING, "running")   /* on a worker */                              \
  X(3, PARKED, "parked")     /* waits for `reason` on `resource` */         \
  X(4, BLOCKING, "blocking") /* inside a blocking section, on a worker */   \
  X(5, DEAD, "dead")         /* ended; not yet joined or recycled */

#define FIBERPROF_STATE_ENUM(value, name, text) FIBERPROF_FIBER_##name = value,
enum fiberprof_fiber_state { FIBERPROF_FIBER_STATES(FIBERPROF_STATE_ENUM) FIBERPROF_FIBER_STATE_COUNT };
#undef FIBERPROF_STATE_ENUM

/* X(value, NAME, "text"): state of a processor; also the third argument of proc_sample. */
#define FIBERPROF_PROCESSOR_STATES(X) \
  X(0, IDLE, "idle")                  \
  X(1, RUNNING, "running")            \
  X(2, BLOCKING, "blocking") /* its worker is inside a blocking section */

#define FIBERPROF_STATE_ENUM(value, name, text) FIBERPROF_PROCESSOR_##name = value,
enum fiberprof_processor_state { FIBERPROF_PROCESSOR_STATES(FIBERPROF_STATE_ENUM) FIBERPROF_PROCESSOR_STATE_COUNT };
#undef FIBERPROF_STATE_ENUM

#ifndef __bpf__
#include <stdint.h>

#define FIBERPROF_NAME_SIZE 32 /* with the final zero */

/* One fiber. What a switch writes comes first and fits one cache line. */
struct fiberprof_fiber {
  uint64_t id;       /* never reused; 0 in a free slot */
  uint32_t sequence; /* seqlock over everything that belongs to one fiber; odd while it is rewritten */
  uint8_t state;     /* FIBERPROF_FIBER_* */
  uint8_t reason;    /* FIBERPROF_REASON_*, while parked */
  uint16_t arms_len; /* select: how many arms; else 0 */
  uint64_t resource; /* see FIBERPROF_REASONS */
  uint64_t since;    /* coarse CLOCK_MONOTONIC, ns, of the last change of state (see clock_ns) */
  uint64_t sp;       /* address of the saved frame record, while not running */
  uint64_t switches; /* how often it has left its processor */
  uint64_t arms;     /* select: address of an array of fiberprof_arm, on its stack; else 0 */
  uint32_t processor; /* where it ran last */
  uint32_t worker;    /* index of the worker it is on, while running or blocking */
  uint64_t deadline;  /* while parked: CLOCK_MONOTONIC, ns, when this wait ends by itself; 0: never */
  uint64_t context;   /* while parked: address of the context whose cancellation ends this wait; 0: none */
  /* constant through its life */
  uint64_t stack_low, stack_high; /* usable stack: [low, high) */
  uint64_t entry;                 /* code address: the spawned function */
  uint64_t creator_pc;            /* code address: where it was spawned */
  uint64_t parent;                /* id of the fiber that spawned it; 0: not a fiber */
  char name[FIBERPROF_NAME_SIZE]; /* zero-terminated; the program may change it */
};

/* One arm of a select in progress. */
struct fiberprof_arm {
  uint64_t resource; /* address of the channel */
  uint32_t reason;   /* CHAN_SEND or CHAN_RECV */
  uint32_t pad;
};

struct fiberprof_processor {
  uint32_t index;
  uint32_t state;         /* FIBERPROF_PROCESSOR_* */
  uint32_t worker;        /* index of its worker; ~0 when idle */
  uint32_t queue_depth;   /* runnable fibers in its own queue, as the monitor last saw it */
  uint64_t current_fiber; /* id; 0: none */
  uint64_t switches;      /* fibers it has run */
  uint64_t steals;        /* fibers it took from other processors */
  uint64_t parks[FIBERPROF_REASON_COUNT]; /* waits begun here, by reason: exact, always kept */
};

struct fiberprof_worker {
  uint32_t tid;           /* in the process's own pid namespace; 0: slot unused */
  uint32_t processor;     /* index; ~0 when it holds none */
  uint64_t current_fiber; /* id of the fiber on this thread; 0: scheduler or idle */
  uint64_t fiber_entry;   /* that fiber's spawned function */
  uint64_t scheduler_sp;  /* reserved for stack walks of idle workers; 0 */
};

/* X(structure, field): the fields described in `fields`, in this order for ever; new ones are appended. */
#define FIBERPROF_FIELDS(X)                                                                                       \
  X(fiber, id) X(fiber, sequence) X(fiber, state) X(fiber, reason) X(fiber, arms_len) X(fiber, resource)          \
  X(fiber, since) X(fiber, sp) X(fiber, switches) X(fiber, arms) X(fiber, processor) X(fiber, worker)             \
  X(fiber, stack_low) X(fiber, stack_high) X(fiber, entry) X(fiber, creator_pc) X(fiber, parent) X(fiber, name)   \
  X(arm, resource) X(arm, reason)                                                                                 \
  X(processor, index) X(processor, state) X(processor, worker) X(processor, queue_depth)                          \
  X(processor, current_fiber) X(processor, switches) X(processor, steals) X(processor, parks)                     \
  X(worker, tid) X(worker, processor) X(worker, current_fiber) X(worker, fiber_entry)                             \
  X(fiber, deadline) X(fiber, context)

#define FIBERPROF_FIELD_ENUM(structure, field) FIBERPROF_FIELD_##structure##_##field,
enum fiberprof_field_index { FIBERPROF_FIELDS(FIBERPROF_FIELD_ENUM) FIBERPROF_FIELD_COUNT };
#undef FIBERPROF_FIELD_ENUM

struct fiberprof_field {
  uint16_t offset;
  uint16_t size; /* bytes; 0: not present */
};

struct fiberprof_registry {
  char magic[16];
  uint32_t version;     /* grows only when a reader of the older one would go wrong */
  uint32_t header_size; /* sizeof(struct fiberprof_registry) in the process */
  uint32_t field_count; /* how many entries of `fields` are filled in */
  uint32_t pointer_size;
  uint32_t fiber_size, arm_size, processor_size, worker_size;
  uint64_t fiber_slabs;      /* address of an array of slab addresses; slabs are only ever appended */
  uint32_t fiber_slab_count; /* published after the slab it counts */
  uint32_t fibers_per_slab;
  uint64_t fibers_created;  /* ids given out so far */
  uint64_t processors;      /* address of an array of processor addresses */
  uint32_t processor_count; /* fixed once the runtime has started */
  uint32_t worker_count;    /* slots in use or once used; only grows */
  uint64_t workers;         /* address of an array of worker addresses */
  uint64_t clock_ns;        /* the coarse clock behind `since`: CLOCK_MONOTONIC at the last tick */
  uint64_t global_queue_depth;
  uint64_t start_ns; /* CLOCK_MONOTONIC when the runtime started */
  struct fiberprof_field fields[FIBERPROF_FIELD_COUNT];
};

#endif /* !__bpf__ */
#endif
