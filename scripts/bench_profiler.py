# SPDX-License-Identifier: BSD-2-Clause
"""The section "profiler" of scripts/bench: what fiberprof costs its target and itself, and how right it is.

Figures are ratios within one run: the same program is measured in turns, window by window, with and without somebody
attached, and the best window of each kind counts (of fiber-kvd: the median of the pairs, see there).
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import time

WINDOW_MS = 250
PING_PONG_TARGET = 1.05
KVD_TARGET = 0.99
KVD_TURNS_PER_ROUND = 8  # windows differ by a tenth, and a hundredth is looked for
KVD_WINDOW, KVD_PAUSE = 1.0, 0.5  # seconds
EXACT_TARGET = 1.3
REASON_TARGET, STACK_TARGET = 0.02, 0.05
TOTALS_SECONDS = 10
TOP_TARGET = 0.02
TOP_SECONDS = 20
STATS = pathlib.Path("/proc/sys/kernel/bpf_stats_enabled")
OFFCPUTIME = next((path for path in map(shutil.which, ("/usr/sbin/offcputime", "offcputime")) if path), None)


@dataclasses.dataclass
class Figure:
    """One line: a value, and the most or the least it may be; `note` is shown beside it."""

    name: str
    value: float
    unit: str = ""
    most: float | None = None
    least: float | None = None
    note: str = ""

    def verdict(self):
        if self.most is None and self.least is None:
            return ""
        good = (self.most is None or self.value <= self.most) and (self.least is None or self.value >= self.least)
        return "ok" if good else "MISSED"

    def limit(self):
        if self.most is not None:
            return f"<= {self.most:g}"
        return f">= {self.least:g}" if self.least is not None else ""

    def as_json(self):
        return {"name": self.name, "value": round(self.value, 5), "unit": self.unit, "most": self.most,
                "least": self.least, "note": self.note}  # fmt: skip


class Windows:
    """A program that measures itself for one window per line of its input."""

    def __init__(self, *command):
        self.command = [str(word) for word in command]

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        if self.process.stdout.readline().strip() != "ready":
            raise RuntimeError(f"{' '.join(self.command)} did not start")
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.terminate()
        self.process.wait(10)
        self.process.stdout.close()

    @property
    def pid(self):
        return self.process.pid

    def window(self, line=WINDOW_MS):
        """Nanoseconds per operation, and parks per operation."""
        self.process.stdin.write(f"{line}\n")
        words = self.process.stdout.readline().split()
        if len(words) != 2:
            raise RuntimeError(f"{self.command[0]} has ended")
        return float(words[0]), float(words[1])


class Watcher:
    """fiberprof, or another tool, while it watches; `ready` is what it says, on stderr or stdout, once it does."""

    def __init__(self, command, ready):
        self.command, self.ready = [str(word) for word in command], ready

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, text=True)  # fmt: skip
        lines = []
        for line in self.process.stdout:
            lines.append(line)
            if re.search(self.ready, line):
                return self
        raise RuntimeError(f"{' '.join(self.command)}: {''.join(lines).strip()[-300:]}")

    def __exit__(self, *_):
        self.process.stdin.close()  # this ends ours, the signal the others
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGINT)
        self.process.stdout.read()
        self.process.wait(30)


class Requests:
    """Requests per second of a fiber-kvd, by its own count."""

    def __init__(self, port):
        self.port = port

    def __enter__(self):
        self.socket = socket.create_connection(("127.0.0.1", self.port))
        self.answers = self.socket.makefile("rb")
        return self

    def __exit__(self, *_):
        self.answers.close()
        self.socket.close()

    def count(self):
        self.socket.sendall(b"INFO stats\r\n")
        length = self.answers.readline()[1:].strip()  # of a bulk reply
        if not length.isdigit():
            raise RuntimeError("fiber-kvd does not answer INFO")
        text = self.answers.read(int(length) + 2)
        return int(re.search(rb"total_commands_processed:(\d+)", text).group(1)), time.monotonic()

    def rate(self):
        count, begun = self.count()
        time.sleep(KVD_WINDOW)
        end_count, ended = self.count()
        return (end_count - count) / (ended - begun)


def error_of_median(values):
    """Its standard error, from the spread of the middle half: that of a normal distribution is 1.35 sigma wide."""
    low, _, high = statistics.quantiles(values, n=4)
    return 1.253 * (high - low) / 1.349 / len(values) ** 0.5


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class ProfilerBench:
    def __init__(self, bench):
        self.bench = bench
        self.programs = bench.programs
        self.fiberprof = bench.build / "bin" / "fiberprof"
        self.rounds = bench.options.rounds
        self.figures = []

    def record(self, pid, output=os.devnull, *options):
        return Watcher([self.fiberprof, "record", pid, "-o", output, *options], "^recording")

    def profiled(self, load, workers=1):
        return Windows(self.programs / "profiled", load, workers)

    def add(self, *figures):
        for figure in figures:
            self.figures.append(figure)
            note = f"   {figure.note}" if figure.note else ""
            print(f"  {figure.name:<44} {figure.value:>10.4g} {figure.unit:<8} {figure.limit():>8}  "
                  f"{figure.verdict():<6}{note}".rstrip(), flush=True)  # fmt: skip

    # --- cost to the target -------------------------------------------------------------------------------------------

    def interleaved(self, program, watchers):
        """Best nanoseconds per operation without anybody (None) and under each watcher, in turns; parks per operation."""
        best, parks = {}, 0
        program.window()  # warms up
        for _ in range(self.rounds):
            for name, watcher in {None: contextlib.nullcontext(), **{n: w() for n, w in watchers.items()}}.items():
                with watcher:
                    program.window(20)  # until the processor has noticed
                    for _ in range(2):
                        ns, parks = program.window()
                        best[name] = min(best.get(name, ns), ns)
        return best, parks

    def ping_pong(self):
        with self.profiled("ping_pong") as program:
            def site(kind):
                return Watcher([self.programs / "site_cost", program.pid, kind], "^attached")

            best, parks = self.interleaved(program, {
                "sampled": lambda: self.record(program.pid),
                "exact": lambda: self.record(program.pid, os.devnull, "--exact"),
                "empty": lambda: site("empty"),
                "walk": lambda: site("walk"),
            })  # fmt: skip
        alone = best[None]
        per_block = {name: (ns - alone) / parks for name, ns in best.items() if name}
        self.add(
            Figure("sampled tier, ping-pong, attached / not", best["sampled"] / alone, most=PING_PONG_TARGET,
                   note=f"{alone:.1f} ns a round trip, {best['sampled']:.1f} attached"),
            Figure("exact tier, ns a block / (empty + a walk)", per_block["exact"] / per_block["walk"],
                   most=EXACT_TARGET,
                   note=f"{per_block['exact']:.0f} ns; an empty program {per_block['empty']:.0f}, with bpf_get_stack "
                        f"{per_block['walk']:.0f}"),
        )  # fmt: skip

    def go(self):
        path = self.programs / "go_profiled"
        if not path.exists():
            return
        best = {}
        with Windows(path) as program:
            for _ in range(self.rounds + 1):
                for mode in ("off", "block1", "block10us", "trace"):
                    ns, _parks = program.window(f"{mode} {WINDOW_MS}")
                    best[mode] = min(best.get(mode, ns), ns)
        for mode, name in (("block1", "block profiler, rate 1 ns"), ("block10us", "block profiler, rate 10 us"),
                           ("trace", "execution tracer")):  # fmt: skip
            self.add(Figure(f"  the same in Go: {name}", best[mode] / best["off"], note=f"{best['off']:.1f} ns alone"))

    def kvd(self, server_class, start_load):
        """Requests/s while watched, by those right before and right after, under one load that never pauses.

        Client and server are two halves of one loop on a machine of two CPUs: a window may be a tenth faster than the
        next, and the best of many with nobody attached differ from the best of as many others by up to 5 %. The median of
        neighbours' ratios does not; how well it can tell is shown by windows in which nothing was attached either.
        """
        watched, alone, rates = [], [], []
        with server_class([self.bench.build / "bin" / "fiber-kvd", "--port", "0", "--processors", 1]) as server:
            port = server.first_line(r"listening on \S+:(\d+)")
            with start_load(port), Requests(port) as requests:
                time.sleep(2)
                before = requests.rate()
                for _ in range(KVD_TURNS_PER_ROUND * self.rounds):
                    for ratios in (watched, alone):
                        with self.record(server.process.pid) if ratios is watched else contextlib.nullcontext():
                            time.sleep(KVD_PAUSE)
                            rate = requests.rate()
                        time.sleep(KVD_PAUSE)
                        after = requests.rate()
                        ratios.append(2 * rate / (before + after))
                        rates.append(before)
                        before = after
        self.add(
            Figure("sampled tier, fiber-kvd, requests/s attached / not", statistics.median(watched), least=KVD_TARGET,
                   note=f"+- {error_of_median(watched):.4f}; {statistics.median(rates):.0f} requests/s"),
            Figure("  the same with nothing attached", statistics.median(alone),
                   note=f"+- {error_of_median(alone):.4f}"),
        )  # fmt: skip

    # --- how right it is ----------------------------------------------------------------------------------------------

    def report(self, path, by):
        text = subprocess.run([self.fiberprof, "report", path, "--json", "-n", "0", "--by", by], check=True,
                              capture_output=True, text=True).stdout  # fmt: skip
        return json.loads(text)

    def totals(self):
        with tempfile.TemporaryDirectory() as scratch, self.profiled("mixed", 2) as program:
            paths = {tier: os.path.join(scratch, tier) for tier in ("exact", "sampled", "sampled alone")}
            with self.record(program.pid, paths["exact"], "--exact"), self.record(program.pid, paths["sampled"]):
                time.sleep(TOTALS_SECONDS)
            # Not the same waits, but as many; and while every wait is measured for somebody, none is rough.
            with self.record(program.pid, paths["sampled alone"]):
                time.sleep(TOTALS_SECONDS)
            totals, held = {}, {}
            for by in ("reason", "stack"):
                for tier, path in paths.items():
                    rows, report = {}, self.report(path, by)
                    for row in report["blocked"]["rows"]:
                        frames = tuple((frame["function"], frame.get("line")) for frame in row.get("stack", []))
                        # Both cannot attach in the same moment: waiting per second of recording.
                        rows[(row.get("reason"), frames)] = row["total_ns"] / report["duration_ns"]
                    totals[by, tier] = rows
                    if "reconciliation" in report:
                        held[tier] = report["reconciliation"]["holds"]
        for tier, holds in held.items():
            self.add(Figure(f"{tier}: seen + lost + open = the program's own", float(holds), least=1))
        for by, most in (("reason", REASON_TARGET), ("stack", STACK_TARGET)):
            exact = totals[by, "exact"]
            largest = sorted(exact, key=exact.get, reverse=True)[:20]
            for tier in ("sampled", "sampled alone"):
                errors = [abs(totals[by, tier].get(key, 0) / exact[key] - 1) for key in largest]
                self.add(Figure(f"{tier} / exact totals by {by}: largest error", max(errors), most=most,
                                note=f"of {len(largest)}, mean {sum(errors) / len(errors):.4f}; {TOTALS_SECONDS} s"))  # fmt: skip

    # --- what events cost in the kernel -------------------------------------------------------------------------------

    def run_times(self, names):
        """(runs, ns) of the loaded BPF programs whose name begins so."""
        programs = json.loads(subprocess.run(["bpftool", "-j", "prog", "show"], capture_output=True, text=True,
                                             env={**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"},
                                             check=True).stdout)  # fmt: skip
        found = [program for program in programs if program.get("name", "").startswith(names)]
        return sum(p.get("run_cnt", 0) for p in found), sum(p.get("run_time_ns", 0) for p in found)

    def bpf_time(self):
        before = STATS.read_text()
        STATS.write_text("1")
        try:
            for tier, options in (("sampled", ()), ("exact", ("--exact",))):
                with self.profiled("ping_pong") as program, self.record(program.pid, os.devnull, *options):
                    program.window(1000)
                    runs, ns = self.run_times(f"on_blocked_{tier}"[:15])
                self.add(Figure(f"BPF run time of a {tier} event", ns / max(runs, 1), "ns", note=f"{runs} events"))
                ours = ns / max(runs, 1)
            if OFFCPUTIME:
                with self.profiled("threads") as program:
                    tool = subprocess.Popen([OFFCPUTIME, "-p", str(program.pid), "100"], stdout=subprocess.DEVNULL,
                                            stderr=subprocess.DEVNULL)  # fmt: skip
                    try:
                        program.window(2000)  # it needs a while to load
                        before_run = self.run_times("sched_switch")
                        rounds = 1e9 / program.window(1000)[0]
                        runs, ns = (b - a for a, b in zip(before_run, self.run_times("sched_switch")))
                    finally:
                        tool.send_signal(signal.SIGINT)
                        tool.wait(30)
                # Two threads that wake each other: two waits a round, and what it spends on others' switches is its cost.
                self.add(Figure("an exact event / one of bcc's offcputime", ours / (ns / (2 * rounds)), most=1.0,
                                note=f"offcputime: {ns / (2 * rounds):.0f} ns a wait, {ns / max(runs, 1):.0f} a switch"))  # fmt: skip
        finally:
            STATS.write_text(before)

    # --- the tool itself ----------------------------------------------------------------------------------------------

    def tool(self):
        self.top("parked", "for good", 3)
        # Two of its periods: each stack has been seen, and named, by then.
        self.top("waking", "for 10 s each", 22)

    def top(self, load, how, first_refreshes):
        with self.profiled(load, 2) as program:
            top = subprocess.Popen([self.fiberprof, "top", str(program.pid), "--json"], stdout=subprocess.PIPE, text=True)
            try:
                for _ in range(first_refreshes):
                    top.stdout.readline()
                began, before = time.monotonic(), cpu_seconds(top.pid)
                for _ in range(TOP_SECONDS):
                    line = top.stdout.readline()
                share = (cpu_seconds(top.pid) - before) / (time.monotonic() - began)
                status = pathlib.Path(f"/proc/{top.pid}/status").read_text()
                most_kb = int(re.search(r"VmHWM:\s+(\d+)", status).group(1))
                maps = {}
                for info in pathlib.Path(f"/proc/{top.pid}/fdinfo").iterdir():
                    fields = dict(re.findall(r"^(\w+):\s+(\d+)$", info.read_text(), re.MULTILINE))
                    if "map_id" in fields and "memlock" in fields:
                        maps[fields["map_id"]] = int(fields["memlock"])
            finally:
                top.send_signal(signal.SIGINT)
                top.stdout.read()
                top.wait(30)
        self.add(
            Figure(f"top, 100,000 fibers blocked {how}: CPU", share, "cores", most=TOP_TARGET,
                   note=f"{len(line)} bytes a refresh"),
            Figure("  its memory", most_kb / 1024, "MiB"),
            Figure("  its kernel maps", sum(maps.values()) / 2**20, "MiB"),
        )  # fmt: skip

    # ------------------------------------------------------------------------------------------------------------------

    def all(self, server_class, start_load):
        parts = {
            "ping_pong": self.ping_pong,
            "go": self.go,
            "kvd": lambda: self.kvd(server_class, start_load),
            "totals": self.totals,
            "bpf_time": self.bpf_time,
            "tool": self.tool,
        }
        wanted = {name: part for name, part in parts.items() if self.bench.wanted(f"profiler_{name}")}
        if not wanted:
            return []
        if os.geteuid() != 0:
            print("\nProfiler: not measured, attaching needs root")
            return []
        print("\nProfiler")
        for name, part in wanted.items():
            try:
                part()
            except (RuntimeError, OSError, KeyError, subprocess.SubprocessError) as error:
                print(f"  {name}: {error}")
                self.bench.failures.append(f"profiler_{name}: {error}")
        return self.figures
