# SPDX-License-Identifier: BSD-2-Clause
"""gdb commands for programs on fibers: live, from core files, stripped or not.

  source fiberprof-gdb.py

  fiber list [--state S] [--reason R]          all fibers, or those in a state, or that wait for a reason
  fiber N                                      selects fiber N: up, down, frame, info locals, bt work on its stack
  fiber N bt [ARGUMENTS]                       its stack; or any other command in place of bt, on its innermost frame
  fiber apply all|N... [--state S] [--reason R] [COMMAND]     the command (bt) on each of them
  fiber off                                    back to the thread

Everything is read from the runtime's registry (include/fiberprof/registry.h); nothing is ever written, neither memory
nor registers. The stack of a fiber that is not running is shown below the selected thread's own innermost frame, which
is therefore frame #0 while a fiber is selected, and left out by "fiber N bt".
"""

import functools
import re
import struct
import time

import gdb
import gdb.unwinder

MAGIC = b"fiberprof.reg\n\x1a\0"
VERSION = 1
NOTE_NAME, NOTE_REGISTRY = b"fiberprof\0", 1
STATES = {0: "free", 1: "runnable", 2: "running", 3: "parked", 4: "blocking", 5: "dead"}
FREE, RUNNING, PARKED, BLOCKING = 0, 2, 3, 4
REASONS = {
    0: "none", 1: "chan send", 2: "chan receive", 3: "select", 4: "mutex", 5: "rwlock read", 6: "rwlock write",
    7: "condition", 8: "wait group", 9: "once", 10: "semaphore", 11: "barrier", 12: "join", 13: "sleep", 14: "io read",
    15: "io write", 16: "io accept", 17: "io connect", 18: "context", 19: "nil channel", 20: "empty select",
    21: "other",
}  # fmt: skip
# Positions in the registry's `fields`, fixed for ever.
FIBER_FIELDS = ["id", "sequence", "state", "reason", "arms_len", "resource", "since", "sp", "switches", "arms",
                "processor", "worker", "stack_low", "stack_high", "entry", "creator_pc", "parent", "name"]  # fmt: skip
WORKER_TID = 28
# The target may be damaged: nothing beyond these is believed.
MOST_SLABS, MOST_PER_SLAB, MOST_WORKERS = 1 << 20, 1 << 16, 1 << 16
# How deep a signal handler may be for its fiber to be found below it.
MOST_SIGNAL_FRAMES = 32

# The registers that a suspended fiber's frame record stands for, and how far above it the stack pointer will be. No other
# register has a value then: the caller has saved what it needs.
ARCHITECTURES = {
    "i386:x86-64": ("rsp", "rbp", "rip", 144),
    "aarch64": ("sp", "x29", "pc", 16),
}


def read(address, size):
    try:
        return gdb.selected_inferior().read_memory(address, size).tobytes()
    except gdb.MemoryError as error:
        raise gdb.GdbError(f"cannot read {size} bytes at {address:#x}: {error}")


def word(address):
    return struct.unpack("<Q", read(address, 8))[0]


# --- the registry -----------------------------------------------------------------------------------------------------


def note_of(path):
    """The link-time addresses of the registry and of .stapsdt.base in an ELF file; None when it has no such note."""
    with open(path, "rb") as file:
        header = file.read(64)
        if header[:6] != b"\x7fELF\x02\x01":
            return None
        offset = struct.unpack_from("<Q", header, 40)[0]
        entry_size, count = struct.unpack_from("<HH", header, 58)
        for index in range(count):
            file.seek(offset + index * entry_size)
            section = file.read(64)
            if len(section) < 64:
                return None
            kind, where, size = struct.unpack_from("<I", section, 4)[0], *struct.unpack_from("<QQ", section, 24)
            if kind != 7 or not 40 <= size <= 4096:  # SHT_NOTE
                continue
            file.seek(where)
            data = file.read(size)
            name_size, _, note_type = struct.unpack_from("<III", data)
            if data[12 : 12 + name_size] == NOTE_NAME and note_type == NOTE_REGISTRY:
                return struct.unpack_from("<QQ", data, 12 + (name_size + 3) // 4 * 4)
    return None


def registry_address():
    """By the exported symbol; in a stripped program by the note and by where the section it names has been loaded."""
    try:
        return int(gdb.parse_and_eval("(unsigned long)&fiberprof_registry"))
    except gdb.error:
        pass
    main = gdb.current_progspace().filename
    for line in gdb.execute("info files", to_string=True).splitlines():
        found = re.match(r"\s*0x([0-9a-f]+) - 0x[0-9a-f]+ is \.stapsdt\.base(?: in (.*))?$", line)
        path = found and (found.group(2) or main)
        try:
            note = path and note_of(path)
        except (OSError, struct.error):
            note = None
        if note:
            return int(found.group(1), 16) + note[0] - note[1]
    raise gdb.GdbError("This program has no fiber registry: it does not run on fibers, or its executable is not loaded.")


class Fiber:
    def __init__(self, fields, values):
        self.__dict__.update(zip(fields, values))
        self.name = self.name.split(b"\0", 1)[0].decode("utf-8", "replace")
        self.name = "".join(c if c.isprintable() else "?" for c in self.name)

    @property
    def state_text(self):
        return STATES.get(self.state, f"state {self.state}")

    @property
    def reason_text(self):
        return REASONS.get(self.reason, f"reason {self.reason}") if self.state == PARKED else ""

    def title(self):
        what = ", ".join(filter(None, (self.state_text, self.reason_text)))
        return f"Fiber {self.id} ({what})" + (f' "{self.name}"' if self.name else "")


class Registry:
    def __init__(self):
        address = registry_address()
        head = read(address, 120)
        (magic, version, _, self.field_count, pointer_size, self.fiber_size, _, _, self.worker_size, self.slabs,
         self.slab_count, self.per_slab, _, _, _, self.worker_count, self.workers, self.clock_ns, _, _,
         ) = struct.unpack("<16s8IQIIQQIIQQQQ", head)  # fmt: skip
        if magic != MAGIC:
            raise gdb.GdbError(f"What is at {address:#x} is not a fiber registry.")
        if version != VERSION or pointer_size != 8:
            raise gdb.GdbError(f"The fiber registry has version {version}; this script knows {VERSION}.")
        if self.field_count <= WORKER_TID or self.slab_count > MOST_SLABS or self.per_slab > MOST_PER_SLAB \
                or self.worker_count > MOST_WORKERS or self.fiber_size > 4096 or self.worker_size > 4096:
            raise gdb.GdbError("The fiber registry is damaged.")
        described = read(address + 120, 4 * (WORKER_TID + 1))
        self.fields = [struct.unpack_from("<HH", described, 4 * i) for i in range(WORKER_TID + 1)]
        for index, name in enumerate(FIBER_FIELDS):
            offset, size = self.fields[index]
            if offset + size > self.fiber_size or (name != "name" and size not in (1, 2, 4, 8)):
                raise gdb.GdbError(f"The fiber registry describes no usable field '{name}'.")
        self.order = sorted(FIBER_FIELDS, key=lambda name: self.fields[FIBER_FIELDS.index(name)][0])
        ends = [sum(self.fields[FIBER_FIELDS.index(name)]) for name in self.order]
        if any(self.fields[FIBER_FIELDS.index(name)][0] < end for name, end in zip(self.order[1:], ends)):
            raise gdb.GdbError("The fiber registry is damaged: fields overlap.")

    def slots(self):
        """The fields of every slot that holds a fiber, in the order of self.order. A million take a second."""
        forms = {1: "B", 2: "H", 4: "I", 8: "Q"}
        layout, end = "<", 0
        for name in self.order:
            offset, size = self.fields[FIBER_FIELDS.index(name)]
            layout += f"{offset - end}x" + (forms[size] if name != "name" else f"{size}s")
            end = offset + size
        one = struct.Struct(layout + f"{self.fiber_size - end}x")
        number, sequence, state = (self.order.index(name) for name in ("id", "sequence", "state"))
        for slab in range(self.slab_count):
            for slot in one.iter_unpack(read(word(self.slabs + 8 * slab), self.fiber_size * self.per_slab)):
                if slot[number] != 0 and slot[state] != FREE and slot[sequence] % 2 == 0:
                    yield slot

    def fibers(self):
        """All that live, by id."""
        return sorted((Fiber(self.order, slot) for slot in self.slots()), key=lambda fiber: fiber.id)

    def fiber(self, number):
        at = self.order.index("id")
        for slot in self.slots():
            if slot[at] == number:
                return Fiber(self.order, slot)
        raise gdb.GdbError(f"No fiber {number}.")

    def now(self):
        """Of the clock behind `since`: this machine's for a live process here, else the runtime's last tick."""
        connection = getattr(gdb.selected_inferior(), "connection", None)
        if connection is not None and connection.type == "native":
            return time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        return self.clock_ns

    def thread_of(self, fiber):
        if fiber.worker >= self.worker_count:
            return None
        tid = struct.unpack("<I", read(word(self.workers + 8 * fiber.worker) + self.fields[WORKER_TID][0], 4))[0]
        return next((t for t in gdb.selected_inferior().threads() if t.ptid[1] == tid), None)


# --- stacks -----------------------------------------------------------------------------------------------------------


class FiberUnwinder(gdb.unwinder.Unwinder):
    """Makes the caller of a thread's innermost frame be the innermost frame of the fiber chosen for that thread."""

    def __init__(self):
        super().__init__("fiberprof")
        self.fiber = None
        self.thread = None

    def choose(self, fiber):
        thread = gdb.selected_thread()
        self.fiber, self.thread = fiber, thread.ptid if fiber is not None and thread is not None else None
        gdb.invalidate_cached_frames()

    def __call__(self, pending):
        if self.fiber is None or pending.level() != 0:
            return None
        thread = gdb.selected_thread()
        if thread is None or thread.ptid != self.thread:
            return None
        sp, fp, pc, above = registers()
        record = self.fiber.sp
        id_of_frame = type("FrameId", (), {"sp": gdb.Value(record), "pc": pending.read_register(pc)})()
        info = pending.create_unwind_info(id_of_frame)
        unsigned = gdb.lookup_type("unsigned long")
        for name, value in ((sp, record + above), (fp, word(record)), (pc, word(record + 8))):
            info.add_saved_register(name, gdb.Value(value).cast(unsigned))
        return info


def registers():
    name = gdb.selected_inferior().architecture().name()
    if name not in ARCHITECTURES:
        raise gdb.GdbError(f"The registers of a suspended fiber are not known for {name}.")
    return ARCHITECTURES[name]


unwinder = FiberUnwinder()
gdb.unwinder.register_unwinder(None, unwinder, replace=True)
# A thread that goes on must not step by a fiber's frames.
gdb.events.cont.connect(lambda event: unwinder.choose(None))


def check_stack(fiber):
    if not (fiber.stack_low <= fiber.sp <= fiber.stack_high - 16 and fiber.sp % 8 == 0):
        raise gdb.GdbError(f"{fiber.title()}: its saved stack pointer {fiber.sp:#x} is not on its stack.")
    if gdb.selected_thread() is None:
        raise gdb.GdbError("There is no thread to show a fiber's stack on.")
    if word(fiber.sp + 8) == 0:
        raise gdb.GdbError(f"{fiber.title()}: its stack is not in this core file. gdb's gcore leaves out what lies near "
                           "guard pages; a core file that the kernel writes has it.")  # fmt: skip


def thread_under(registry, fiber):
    """Switches to the thread that is on the fiber's stack; None when there is none. Its state does not tell: a fiber
    counts as running from shortly before the switch to it, and as parked from shortly before the one away from it."""
    thread = registry.thread_of(fiber)
    if thread is None:
        return None
    before = gdb.selected_thread()
    thread.switch()
    stack_pointer = registers()[0]
    frame = gdb.newest_frame()
    # What an overflow or another signal ran first may be on a stack of its own, above the fiber's frames.
    for _ in range(MOST_SIGNAL_FRAMES if fiber.state in (RUNNING, BLOCKING) else 1):
        if frame is None:
            break
        if fiber.stack_low <= int(frame.read_register(stack_pointer)) < fiber.stack_high:
            return thread
        frame = frame.older()
    if before is not None and before.is_valid():
        before.switch()
    return None


def select(registry, fiber):
    """Selects the fiber's innermost frame; returns whether that is a thread's."""
    unwinder.choose(None)
    if thread_under(registry, fiber) is not None:
        gdb.newest_frame().select()
        return True
    check_stack(fiber)
    unwinder.choose(fiber)
    frame = gdb.newest_frame().older()
    if frame is None:
        unwinder.choose(None)
        raise gdb.GdbError(f"{fiber.title()}: its stack cannot be unwound.")
    frame.select()
    return False


def is_backtrace(command):
    return bool(re.fullmatch(r"(bt|backtrace|where)(\s.*)?", command))


def run_on(registry, fiber, command):
    """Runs a command on the fiber's innermost frame and puts everything back as it was."""
    chosen, thread = unwinder.fiber, gdb.selected_thread()
    frame = gdb.selected_frame() if chosen is None and thread is not None else None
    level = frame.level() if frame is not None else 0
    try:
        on_thread = select(registry, fiber)
        if on_thread or not is_backtrace(command):
            gdb.execute(command)
        else:
            # One more frame than asked for, as the thread's own is left out.
            wider = re.sub(r"(\s)(\d+)$", lambda match: f"{match.group(1)}{int(match.group(2)) + 1}", command)
            text = gdb.execute(wider, to_string=True)
            start = re.search(r"^#1 ", text, re.MULTILINE)
            gdb.write(text[start.start() :] if start else text)
    finally:
        if thread is not None and thread.is_valid():
            thread.switch()
        unwinder.choose(chosen)
        if thread is not None and thread.is_valid():
            here = gdb.newest_frame()
            for _ in range(level if chosen is None else 1):
                here = here.older() or here
            here.select()


# --- commands ---------------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=4096)
def function_at(address):
    if address == 0:
        return "-"
    text = gdb.execute(f"info symbol {address:#x}", to_string=True)
    found = re.match(r"(.*?)(?: \+ \d+)? in section ", text)
    return found.group(1) if found else f"{address:#x}"


def duration(ns):
    for unit, size in (("h", 3600e9), ("m", 60e9), ("s", 1e9), ("ms", 1e6)):
        if ns >= size:
            return f"{ns / size:.1f}{unit}"
    return f"{max(ns, 0) / 1e3:.0f}us"


def take_filters(words):
    """Takes --state and --reason off the front or the end of the words; returns the rest and what fits."""
    rest, wanted = [], {}
    known = {"--state": STATES, "--reason": REASONS}
    words = list(words)
    while words:
        name, equals, value = words.pop(0).partition("=")
        if name not in known:
            rest.append(name + equals + value)
            continue
        if not equals:
            if not words:
                raise gdb.GdbError(f"{name} wants a value: {', '.join(known[name].values())}")
            value = words.pop(0)
        value = value.replace("-", " ").replace("_", " ").lower()
        if value not in known[name].values():
            raise gdb.GdbError(f"{name} is none of: {', '.join(known[name].values())}")
        wanted[name] = value
    return rest, lambda fiber: (wanted.get("--state", fiber.state_text) == fiber.state_text
                                and wanted.get("--reason", fiber.reason_text) == fiber.reason_text)  # fmt: skip


class FiberCommand(gdb.Command):
    __doc__ = "Fibers of the program.\n" + __doc__.split("\n", 1)[1]

    def __init__(self):
        super().__init__("fiber", gdb.COMMAND_STACK)

    def complete(self, text, _):
        return [word for word in ("list", "apply", "off") if word.startswith(text)]

    def invoke(self, argument, from_tty):
        words = gdb.string_to_argv(argument)
        if words and words[0] == "list":
            self.list(words[1:])
        elif words and words[0] == "apply":
            self.apply(words[1:])
        elif words == ["off"]:
            unwinder.choose(None)
        elif words and words[0].isdigit():
            registry = Registry()
            fiber = registry.fiber(int(words[0]))
            if len(words) > 1:
                run_on(registry, fiber, argument.split(None, 1)[1])
            else:
                unwinder.choose(None)
                select(registry, fiber)
                gdb.write(f"[{fiber.title()}]\n")
                gdb.execute("frame")
        else:
            raise gdb.GdbError("usage: fiber list | fiber N [COMMAND] | fiber apply all|N... [COMMAND] | fiber off")

    def list(self, words):
        rest, fits = take_filters(words)
        if rest:
            raise gdb.GdbError(f"fiber list does not know '{rest[0]}'")
        registry = Registry()
        now = registry.now()
        function_at.cache_clear()  # another program may lie there by now
        fibers = [fiber for fiber in registry.fibers() if fits(fiber)]
        lines = [("", "Id", "State", "Reason", "For", "Resource", "Name", "Started in")]
        for fiber in fibers:
            lines.append((
                "*" if unwinder.fiber is not None and unwinder.fiber.id == fiber.id else "", str(fiber.id),
                fiber.state_text, fiber.reason_text, duration(now - fiber.since),
                f"{fiber.resource:#x}" if fiber.state == PARKED and fiber.resource else "", fiber.name,
                function_at(fiber.entry)))  # fmt: skip
        widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
        for line in lines:
            gdb.write("  ".join(cell.ljust(widths[i]) for i, cell in enumerate(line)).rstrip() + "\n")
        gdb.write(f"{len(fibers)} fibers\n")

    def apply(self, words):
        numbers = []
        rest, fits = take_filters(words)
        while rest and (rest[0] == "all" or rest[0].isdigit()):
            numbers.append(rest.pop(0))
        if not numbers:
            raise gdb.GdbError("fiber apply: which? all, or numbers of fibers")
        command = " ".join(rest) or "bt"
        registry = Registry()
        if "all" in numbers:
            fibers = registry.fibers()
        else:
            by_id = {fiber.id: fiber for fiber in registry.fibers()}
            missing = [number for number in numbers if int(number) not in by_id]
            if missing:
                raise gdb.GdbError(f"No fiber {missing[0]}.")
            fibers = [by_id[int(number)] for number in numbers]
        for fiber in filter(fits, fibers):
            gdb.write(f"\n{fiber.title()}:\n")
            try:
                run_on(registry, fiber, command)
            except gdb.error as error:  # one bad stack does not end the list
                gdb.write(f"{error}\n")


FiberCommand()
