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
 *   - `resource` of a fiber that waits for a synchronisation object is the address of its fiberprof_object.
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
#define FIBERPROF_REASONS(X)          \
  X(0, NONE, "none")                  \
  X(1, CHAN_SEND, "chan send")        \
  X(2, CHAN_RECV, "chan receive")     \
  X(3, SELECT, "select")              \
  X(4, MUTEX, "mutex")                \
  X(5, RWLOCK_READ, "rwlock read")    \
  X(6, RWLOCK_WRITE, "rwlock write")  \
  X(7, CONDITION, "condition")        \
  X(8, WAIT_GROUP, "wait group")      \
  X(9, ONCE, "once")                  \
  X(10, SEMAPHORE, "semaphore")       \
  X(11, BARRIER, "barrier")           \
  X(12, JOIN, "join")                 \
  X(13, SLEEP, "sleep")               \
  X(14, IO_READ, "io read")           \
  X(15, IO_WRITE, "io write")         \
  X(16, IO_ACCEPT, "io accept")       \
  X(17, IO_CONNECT, "io connect")     \
  X(18, CONTEXT, "context")           \
  X(19, NIL_CHANNEL, "nil channel")   \
  X(20, EMPTY_SELECT, "empty select") \
  X(21, OTHER, "other")

#define FIBERPROF_REASON_ENUM(value, name, text) FIBERPROF_REASON_##name = value,
enum fiberprof_reason { FIBERPROF_REASONS(FIBERPROF_REASON_ENUM) FIBERPROF_REASON_COUNT };
#undef FIBERPROF_REASON_ENUM

/* X(value, NAME, "text"): state of a fiber. */
#define FIBERPROF_FIBER_STATES(X)                                         \
  X(0, FREE, "free")         /* the slot holds no fiber */                \
  X(1, RUNNABLE, "runnable") /* in a run queue */                         \
  X(2, RUNNING, "running")   /* on a worker */                            \
  X(3, PARKED, "parked")     /* waits for `reason` on `resource` */       \
  X(4, BLOCKING, "blocking") /* inside a blocking section, on a worker */ \
  X(5, DEAD, "dead")         /* ended; not yet joined or recycled */

#define FIBERPROF_STATE_ENUM(value, name, text) FIBERPROF_FIBER_##name = value,
enum fiberprof_fiber_state { FIBERPROF_FIBER_STATES(FIBERPROF_STATE_ENUM) FIBERPROF_FIBER_STATE_COUNT };
#undef FIBERPROF_STATE_ENUM

/* X(value, NAME, "text"): kinds of synchronisation objects, and what `owner` and `count` of fiberprof_object say. */
#define FIBERPROF_OBJECTS(X)                                                                   \
  X(1, MUTEX, "mutex")   /* owner: holds it; count: 0 free, 1 held, 2 held and others wait */  \
  X(2, RWLOCK, "rwlock") /* owner: the writer inside; count, low 32 bits: readers inside */    \
  X(3, CONDITION, "condition")                                                                 \
  X(4, WAIT_GROUP, "wait group") /* count: what is not done yet; see fiberprof_wait_group */   \
  X(5, ONCE, "once")             /* owner: runs it; count: 0 not run yet, 1 running, 2 done */ \
  X(6, SEMAPHORE, "semaphore")   /* count: permits available; see fiberprof_semaphore */       \
  X(7, BARRIER, "barrier")       /* count: arrived; see fiberprof_barrier */                   \
  X(8, CHANNEL, "channel")       /* waiters: the senders; see fiberprof_channel */             \
  X(9, CONTEXT, "context")       /* count: 0 not cancelled, 1 cancelled, 2 late; see fiberprof_context */

#define FIBERPROF_OBJECT_ENUM(value, name, text) FIBERPROF_OBJECT_##name = value,
enum fiberprof_object_kind { FIBERPROF_OBJECTS(FIBERPROF_OBJECT_ENUM) FIBERPROF_OBJECT_KIND_END };
#undef FIBERPROF_OBJECT_ENUM

/* Who owns an object is a fiber's id or, with this bit, the id of a thread that is no fiber: its tid. */
#define FIBERPROF_OWNER_THREAD (1ull << 63)

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
#define FIBERPROF_SHARED_MAX 4

/* One fiber. What a switch writes comes first and fits one cache line. */
struct fiberprof_fiber {
  uint64_t id;         /* never reused; 0 in a free slot */
  uint32_t sequence;   /* seqlock over everything that belongs to one fiber; odd while it is rewritten */
  uint8_t state;       /* FIBERPROF_FIBER_* */
  uint8_t reason;      /* FIBERPROF_REASON_*, while parked */
  uint16_t arms_len;   /* select: how many arms; else 0 */
  uint64_t resource;   /* see FIBERPROF_REASONS */
  uint64_t since;      /* coarse CLOCK_MONOTONIC, ns, of the last change of state (see clock_ns) */
  uint64_t sp;         /* address of the saved frame record, while not running */
  uint64_t switches;   /* how often it has left its processor */
  uint64_t arms;       /* select: address of an array of fiberprof_arm, on its stack; else 0 */
  uint32_t processor;  /* where it ran last */
  uint32_t worker;     /* index of the worker it is on, while running or blocking */
  uint64_t deadline;   /* while parked: CLOCK_MONOTONIC, ns, when this wait ends by itself; 0: never */
  uint64_t context;    /* while parked: address of the context whose cancellation ends this wait; 0: none */
  uint32_t shared_len; /* how many times it holds a rwlock for reading */
  uint32_t pad;
  uint64_t shared[FIBERPROF_SHARED_MAX]; /* addresses of those rwlocks; 0: free. More than fit are only counted */
  /* constant through its life */
  uint64_t stack_low, stack_high; /* usable stack: [low, high) */
  uint64_t entry;                 /* code address: the spawned function */
  uint64_t creator_pc;            /* code address: where it was spawned */
  uint64_t parent;                /* id of the fiber that spawned it; 0: not a fiber */
  char name[FIBERPROF_NAME_SIZE]; /* zero-terminated; the program may change it */
  /* Questions to channels without waiting for an answer (select with a default, try_ operations) that moved no value,
   * since the last one that did or the last wait, whichever was later; other operations that succeed at once are not
   * seen. Believe them only if `polls_of` is the fiber's id, and only if `polls` grows while `polls_since` stays: the
   * wait in between is noticed by the next question. */
  uint64_t polls;       /* how many */
  uint64_t polls_of;    /* id of the fiber that these are about; 0: nobody */
  uint64_t polls_since; /* coarse CLOCK_MONOTONIC, ns, of the first of them */
  uint64_t polls_at;    /* code address: where the last one returns to */
};

/* One arm of a select in progress. */
struct fiberprof_arm {
  uint64_t resource; /* address of the channel */
  uint32_t reason;   /* CHAN_SEND or CHAN_RECV */
  uint32_t pad;
};

/*
 * A synchronisation object, at the address that is the `resource` of those who wait for it. It is memory of the
 * program: it may be gone, and its memory something else's, at any time before or after its waiters were read. So
 * believe it only if its kind fits the reason of the wait and the waiter still waits (same `switches`, same `resource`)
 * afterwards.
 *
 * What may be relied on while the object is being changed: each field is written with single aligned stores.
 *   - `owner` of a mutex, of a rwlock (the writer) and of a once (its runner) names somebody only while it is so: it is
 *     written after the object was acquired, and cleared, or handed over, before it is released. 0 may mean that it is
 *     being acquired at this moment. So if an owner and a fiber that waits for it have both not run between two reads
 *     (same `switches`, both parked), and the owner was the same in both, then it held the object all that time.
 *   - the readers inside a rwlock are the fibers that have it in their `shared` (written after the lock was acquired,
 *     and cleared before it is released), threads that are no fibers, fibers that ended without releasing it, and those
 *     that hold more such locks than fit. So only if that many fibers have it there are all of them known.
 *   - `waiters` changes while `lock` is not 0, as do the links of the waiters, which lie on the waiters' stacks. A walk
 *     is a hint: check of every waiter that its fiber is parked with this object as its resource.
 *   - counts may be ahead of or behind the waiters by whoever is just changing them.
 */
struct fiberprof_object {
  uint32_t kind;        /* FIBERPROF_OBJECT_* */
  uint32_t lock;        /* not 0: the waiters are being changed */
  uint64_t lock_state;  /* the runtime's own */
  uint64_t owner;       /* fiber id, or FIBERPROF_OWNER_THREAD and a tid; 0: nobody */
  uint64_t waiters;     /* address of the first fiberprof_waiter, in order of arrival; 0: nobody waits */
  uint64_t last_waiter; /* the runtime's own */
  uint64_t name;        /* address of a zero-terminated text that the program gave; 0: none */
  int64_t count;        /* see FIBERPROF_OBJECTS */
};

/* One wait in the queue of an object. A select has one in the queue of each of its channels. */
struct fiberprof_waiter {
  uint64_t fiber;  /* address of its fiberprof_fiber; 0: a thread that is no fiber */
  uint64_t thread; /* FIBERPROF_OWNER_THREAD and its tid, where `fiber` is 0 */
  uint64_t next;   /* address of the next one; 0: none */
};

/*
 * A token is a word of the program's memory that holds the address of its wait group, from its birth to its end; so do
 * other pointers to the group. Every token has to end before the count is zero. So if `tokens` equals `count`, and the
 * memory that those who may still run can reach holds fewer such words than there are tokens, then one token at least
 * has nobody left who could end it, and the waiters wait for ever.
 */
struct fiberprof_wait_group {
  struct fiberprof_object object;
  int64_t tokens; /* how much of `count` will be done by the end of a token's life, at most `count` at any time; the
                     rest is done() somewhere */
};

struct fiberprof_channel {
  struct fiberprof_object object; /* its waiters are the senders that wait for a receiver or for room */
  uint64_t length;                /* values in the buffer */
  uint64_t capacity;              /* 0: unbuffered */
  uint64_t receivers;             /* address of the first fiberprof_waiter that waits for a value; 0: none */
  uint64_t last_receiver;         /* the runtime's own */
  uint32_t closed;
  uint32_t timers;         /* armed timers that will send by themselves */
  uint32_t send_rights;    /* handles alive that may send and close: Sender, Channel */
  uint32_t receive_rights; /* handles alive that may receive: Receiver, Channel */
  uint64_t creator_pc;     /* code address: where it was made */
  /* A handle that may send and close is a word with the address of the first of these, one that may receive a word with
   * that of the second; what they hold says nothing. See fiberprof_context.cancel_handle, too. */
  uint32_t send_handle, receive_handle;
};

struct fiberprof_context {
  struct fiberprof_object object; /* waiters: who will be woken when it is cancelled; only in a context with a source */
  uint64_t parent;                /* address of the context it was derived from; 0: none */
  uint64_t scope;                 /* address of the nearest context, itself or above, that ever had a source; 0: none */
  int64_t deadline;               /* CLOCK_MONOTONIC, ns; INT64_MAX: none */
  uint32_t sources;               /* 1: there is a CancelSource that may still cancel it */
  /* Who may cancel it has a word with the address of this field; a word with that of the context itself may only watch
   * it, unless it belongs to a function of the runtime that is cancelling it at this moment. Where such a field is not
   * described, every word that leads to the object may be any right to it. */
  uint32_t cancel_handle;
};

struct fiberprof_semaphore {
  struct fiberprof_object object;
  int64_t most; /* `count` never gets beyond that */
};

struct fiberprof_barrier {
  struct fiberprof_object object;
  int64_t parties; /* how many must arrive */
};

struct fiberprof_processor {
  uint32_t index;
  uint32_t state;                         /* FIBERPROF_PROCESSOR_* */
  uint32_t worker;                        /* index of its worker; ~0 when idle */
  uint32_t queue_depth;                   /* runnable fibers in its own queue, as the monitor last saw it */
  uint64_t current_fiber;                 /* id; 0: none */
  uint64_t switches;                      /* fibers it has run */
  uint64_t steals;                        /* fibers it took from other processors */
  uint64_t parks[FIBERPROF_REASON_COUNT]; /* waits begun here, by reason: exact, always kept */
};

struct fiberprof_worker {
  uint32_t tid;           /* in the process's own pid namespace; 0: slot unused */
  uint32_t processor;     /* index; ~0 when it holds none */
  uint64_t current_fiber; /* id of the fiber on this thread; 0: scheduler or idle */
  uint64_t fiber_entry;   /* that fiber's spawned function; may be left out where `fiber` is there */
  uint64_t fiber;         /* address of that fiber's fiberprof_fiber; 0: none. Of the two the id is what counts: they
                             are written one after the other */
  /* Below this address, on the thread's own stack, the runtime works for itself: nothing the program might use is
   * there, and no operation on its objects under way, while the thread runs a fiber or `idle` is 1. 0: not known. */
  uint64_t stack_top;
  uint32_t idle; /* 1: it sleeps until there is work */
};

/* X(structure, field): the fields described in `fields`, in this order for ever; new ones are appended. */
#define FIBERPROF_FIELDS(X)                                                                                           \
  X(fiber, id)                                                                                                        \
  X(fiber, sequence)                                                                                                  \
  X(fiber, state)                                                                                                     \
  X(fiber, reason)                                                                                                    \
  X(fiber, arms_len)                                                                                                  \
  X(fiber, resource) X(fiber, since) X(fiber, sp) X(fiber, switches) X(fiber, arms) X(fiber, processor) X(            \
      fiber, worker) X(fiber, stack_low) X(fiber, stack_high) X(fiber, entry) X(fiber, creator_pc) X(fiber, parent)   \
      X(fiber, name) X(arm, resource) X(arm, reason) X(processor, index) X(processor, state) X(processor, worker)     \
          X(processor, queue_depth) X(processor, current_fiber) X(processor, switches) X(processor, steals)           \
              X(processor, parks) X(worker, tid) X(worker, processor) X(worker, current_fiber) X(worker, fiber_entry) \
                  X(fiber, deadline) X(fiber, context) X(object, kind) X(object, lock) X(object, owner)               \
                      X(object, waiters) X(object, name) X(object, count) X(waiter, fiber) X(waiter, thread)          \
                          X(waiter, next) X(wait_group, tokens) X(semaphore, most) X(barrier, parties)                \
                              X(channel, length) X(channel, capacity) X(channel, receivers) X(channel, closed)        \
                                  X(channel, send_rights) X(channel, receive_rights) X(channel, creator_pc)           \
                                      X(context, parent) X(context, scope) X(context, deadline) X(context, sources)   \
                                          X(fiber, shared_len) X(fiber, shared) X(channel, timers) X(worker, fiber)   \
                                              X(registry, thread_shared) X(channel, send_handle)                      \
                                                  X(channel, receive_handle) X(context, cancel_handle)                \
                                                      X(worker, stack_top) X(worker, idle) X(fiber, polls)            \
                                                          X(fiber, polls_of) X(fiber, polls_since) X(fiber, polls_at)

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
  uint64_t fibers_created;  /* ids given out so far, of which processors keep a few for their next fibers */
  uint64_t processors;      /* address of an array of processor addresses */
  uint32_t processor_count; /* fixed once the runtime has started */
  uint32_t worker_count;    /* slots in use or once used; only grows */
  uint64_t workers;         /* address of an array of worker addresses */
  uint64_t clock_ns;        /* the coarse clock behind `since`: CLOCK_MONOTONIC at the last tick, even (a
                             `since` may be odd: the lowest bit is the runtime's own) */
  uint64_t global_queue_depth;
  uint64_t start_ns; /* CLOCK_MONOTONIC when the runtime started */
  struct fiberprof_field fields[FIBERPROF_FIELD_COUNT];
  uint64_t thread_shared; /* how many read-locks of rwlocks are held by threads that are no fibers */
};

#endif /* !__bpf__ */
#endif
