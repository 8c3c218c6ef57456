# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""The full heap against programs that count themselves, and against an allocator that counts (LD_PRELOAD)."""
import json
import math
import mmap
import os
import re
import shutil
import signal
import struct
import subprocess
import time
from pathlib import Path

import pytest
from conftest import Recording, line_of, wait_for

HEAP = Path(__file__).parent / "heap"
NAMES = ("on", "allocs", "frees", "alloc_bytes", "unknown_frees", "live_blocks", "live_bytes", "lifetimes", "lifetime_ns", "full")
BOOKS_BYTES = 8 * len(NAMES) + (1 << 20) * 24


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Builds a program of tests/e2e/heap; each one once."""
    folder, done = tmp_path_factory.mktemp("heap"), {}

    def build(source, *flags, name=None, compiler="gcc"):
        out = folder / (name or source.split(".")[0])
        if out not in done:
            subprocess.run([compiler, "-O1", "-g", "-D_GNU_SOURCE", *flags, "-o", out, HEAP / source, "-lpthread", "-ldl"], check=True)
            done[out] = True
        return out

    return build


class Counter:
    """The books of the counting allocator."""

    def __init__(self, folder, library):
        self.path = folder / "books"
        self.path.write_bytes(b"")
        os.truncate(self.path, BOOKS_BYTES)
        with open(self.path, "r+b") as f:
            self.map = mmap.mmap(f.fileno(), BOOKS_BYTES)
        self.environment = dict(os.environ, LD_PRELOAD=str(library), COUNTER=str(self.path))

    def switch(self, on):
        self.map[0:8] = struct.pack("<Q", on)

    def read(self):
        return dict(zip(NAMES, struct.unpack(f"<{len(NAMES)}Q", self.map[: 8 * len(NAMES)])))


class Watch:
    """A recording of one process with +heap=full, from when its probes are in."""

    def __init__(self, stakeout, pid, *options):
        self.path = stakeout.folder / f"{pid}.ndjson"
        self.process = stakeout.start("record", "-q", "-p", pid, "--probe", "+heap=full", "-i", "0.1", "-o", self.path, *options)
        self.pid = pid

    def lines(self):
        text = self.path.read_text(encoding="utf-8") if self.path.exists() else ""
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def ready(self):
        """Until an interval says that the heap is observed, or that it is not. Returns the note in that case."""
        def told():
            assert self.process.poll() is None, self.process.stderr.read()
            for line in self.lines():
                if line["kind"] == "header" and next(p for p in line["probes"] if p["name"] == "heap")["state"] == "unavailable":
                    self.stop().need("heap")
                for a in line.get("agents", []) if line["kind"] == "interval" else []:
                    if a.get("heap", {}).get("mode") == "full" or a.get("notes"):
                        return a
            return None

        return wait_for("the heap's probes", told).get("notes")

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        _, err = self.process.communicate(timeout=120)
        assert self.process.returncode == 0, err
        return Recording(self.path)


def figures(recording):
    a = recording.agent()
    lost = recording.total["observer"]["lost"]
    assert not any(lost.values()), lost
    return {
        "allocs": a["counters"].get("heap_allocs", 0),
        "frees": a["counters"].get("heap_frees", 0),
        "alloc_bytes": a["hist"].get("heap_alloc_bytes", {"sum": 0})["sum"],
        "live_blocks": a["gauges"].get("heap_live_blocks", 0),
        "live_bytes": a["gauges"].get("heap_live_bytes", 0),
        "unknown_frees": a["heap"].get("unknown_frees", 0),
        "lifetimes": a["hist"].get("heap_lifetime_ns", {"count": 0})["count"],
    }


def counted_itself(stakeout, agents, *argv, **kwargs):
    """Watches a program that counts itself through two turns; what the recording says, and what the program says."""
    p = agents(*argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **kwargs)
    line_of(p)
    w = Watch(stakeout, p.pid)
    notes = w.ready()
    for _ in range(2):
        p.stdin.write(b"x")
        p.stdin.flush()
        own = json.loads(line_of(p))
    recording = w.stop()
    got = figures(recording)
    p.stdin.close()
    assert p.wait() == 0
    assert got.pop("unknown_frees") == 0
    assert got.pop("lifetimes") == own["frees"]
    return got, own, notes


@pytest.mark.parametrize("threads", [1, 4])
def test_counts_are_the_programs_own(stakeout, agents, built, threads):
    got, own, notes = counted_itself(stakeout, agents, built("allocs.c"), threads, 20000 // threads)
    assert got == own and own["allocs"] > 10000
    assert not notes


def library(name):
    found = sorted(Path("/usr/lib/x86_64-linux-gnu").glob(name))
    if not found:
        pytest.skip(f"no {name} here")
    return found[0]


@pytest.mark.parametrize("name", ["libjemalloc.so.2", "libtcmalloc_minimal.so.4", "libmimalloc.so.2.0"])
def test_other_allocators(stakeout, agents, built, name):
    environment = dict(os.environ, LD_PRELOAD=str(library(name)))
    got, own, _ = counted_itself(stakeout, agents, built("allocs.c"), 3, 3000, env=environment)
    assert got == own and own["allocs"] > 5000


@pytest.mark.parametrize("compiler", ["gcc", "musl-gcc"])
def test_static_programs(stakeout, agents, built, compiler):
    if not shutil.which(compiler):
        pytest.skip(f"no {compiler} here")
    got, own, notes = counted_itself(stakeout, agents, built("allocs.c", "-static", name=f"allocs-{compiler}", compiler=compiler), 3, 3000)
    assert got == own and own["allocs"] > 5000
    assert not notes


def quiet(counter):
    """Until nothing was allocated for a while: a runtime has threads of its own."""
    last = [None, time.monotonic()]

    def same():
        books = counter.read()
        if books != last[0]:
            last[:] = [books, time.monotonic()]
        return time.monotonic() - last[1] > 0.5 and books

    return wait_for("a quiet heap", same)


def counted_by_the_allocator(stakeout, agents, built, *argv):
    counter = Counter(stakeout.folder, built("counter.c", "-fPIC", "-shared", name="counter.so"))
    go, feed = os.pipe()
    p = agents("/bin/sh", "-c", 'exec "$@" 3<&0 0</dev/null', "sh", *argv, stdin=go, stdout=subprocess.PIPE, env=counter.environment)
    os.close(go)
    assert line_of(p) == "ready\n"
    counter.switch(1)
    quiet(counter)
    counter.switch(0)
    w = Watch(stakeout, p.pid)
    w.ready()
    before = counter.read()
    counter.switch(1)
    for _ in range(2):
        os.write(feed, b"x")
        assert line_of(p) == "done\n"
    own = quiet(counter)
    recording = w.stop()
    os.close(feed)
    p.wait()
    assert not own["full"]
    return recording, {k: own[k] - before[k] for k in NAMES}, own


@pytest.mark.parametrize("language", ["python", "node"])
def test_a_counting_allocator_agrees(stakeout, agents, built, language):
    argv = {"python": ["/usr/bin/python3", HEAP / "work.py"], "node": ["node", HEAP / "work.js"]}[language]
    if not shutil.which(argv[0]):
        pytest.skip(f"no {argv[0]} here")
    recording, own, books = counted_by_the_allocator(stakeout, agents, built, *argv)
    print(own, books)
    got = figures(recording)
    for key in got:
        assert got[key] == own[key], (key, got, own)
    assert own["allocs"] > 5000
    lifetimes = recording.agent()["hist"]["heap_lifetime_ns"]
    # The witness looks at its clock within the calls, so it misses nothing of a life, and sees some of the probes at either end.
    assert lifetimes["sum"] <= own["lifetime_ns"]
    assert lifetimes["sum"] > 0.9 * own["lifetime_ns"] - 20_000 * own["lifetimes"]


def test_calls_within_calls_and_calls_that_never_return(stakeout, agents, built):
    got, own, notes = counted_itself(stakeout, agents, built("own.c", "-fno-builtin", name="own"))
    assert got == own and own["allocs"] > 10000
    assert not notes


class Stacks:
    """The tables of frames and stacks of a recording."""

    def __init__(self, lines):
        self.frames, self.stacks = {0: {"kind": "native", "name": "(other)"}}, {0: [0]}
        for line in lines:
            if line["kind"] == "stacks":
                self.frames.update(enumerate(line.get("frames", []), line.get("first_frame", 0)))
                self.stacks.update(enumerate(line.get("stacks", []), line.get("first_stack", 0)))

    def function(self, stack):
        """Who asked: the innermost function of Python or of the program in JavaScript, or the one that called the program's wrapper of malloc."""
        frames = [self.frames[f] for f in self.stacks[stack]]
        script = [f["name"] for f in frames if f["kind"] == "python" or f.get("file", "").endswith("leak.js")]
        return next(iter(script or [f["name"] for f in frames if f["name"] not in ("malloc", "xmalloc")]))

    def by_function(self, agent, sample, through=""):
        """Sums of the stacks with a function whose name begins with `through`."""
        sums = {}
        for stack, value in agent.get("samples", {}).get(sample, []):
            if not any(self.frames[f]["name"].startswith(through) for f in self.stacks[stack]):
                continue
            sums[self.function(stack)] = sums.get(self.function(stack), 0) + value
        return sums


def leaks(line):
    return [a["samples"]["leak_bytes"] for a in line.get("agents", []) if a.get("samples", {}).get("leak_bytes")]


@pytest.mark.parametrize("language", ["c", "python"])
def test_a_leak_is_named(stakeout, agents, built, language):
    p = agents(*([built("leak.c")] if language == "c" else ["/usr/bin/python3", HEAP / "leak.py"]))
    w = Watch(stakeout, p.pid, "--leak-age", "0.5")
    w.ready()
    wait_for("a leak candidate", lambda: any(map(leaks, w.lines())))
    recording = w.stop()
    stacks = Stacks(w.lines())
    weights = stacks.by_function(recording.agent(), "leak_bytes")
    assert list(weights) == ["session_remember"]
    live = stacks.by_function(recording.agent(), "live_bytes")
    assert live["session_remember"] > 0.3 * sum(live.values()) and (language == "python" or live["session_remember"] % 1024 == 0)


def test_a_leak_is_named_in_node(stakeout, agents):
    """Its functions are told apart by callers far up the stack. Buffers that were dropped live on until V8 collects them: they may look like leaks for a while."""
    if not shutil.which("node"):
        pytest.skip("no node here")
    p = agents("node", "--perf-basic-prof", "--no-turbo-inlining", HEAP / "leak.js", stdout=subprocess.PIPE, cwd=stakeout.folder)  # where V8 leaves a log
    try:
        assert line_of(p) == "compiled\n"
        w = Watch(stakeout, p.pid, "--leak-age", "0.5")
        w.ready()

        def named():
            lines = w.lines()
            stacks = Stacks(lines)
            sums = [stacks.by_function(a, "leak_bytes") for line in lines if line["kind"] == "interval" for a in line["agents"]]
            return any(s.get("sessionRemember", 0) > 300_000 for s in sums)

        wait_for("the leak", named)
        recording = w.stop()
    finally:
        p.kill()
        Path(f"/tmp/perf-{p.pid}.map").unlink(missing_ok=True)
    stacks = Stacks(w.lines())
    made = {sample: stacks.by_function(recording.agent(), sample, "node::NodeArrayBufferAllocator::Allocate") for sample in ("alloc_bytes", "live_bytes")}
    assert made["alloc_bytes"]["bufferReplace"] / made["alloc_bytes"]["sessionRemember"] == pytest.approx(2, rel=0.02)
    assert made["live_bytes"]["sessionRemember"] == made["alloc_bytes"]["sessionRemember"]
    assert made["live_bytes"]["sessionRemember"] % 1024 == 0


def test_losses_are_counted(stakeout, agents, built):
    p = agents(built("allocs.c"), 2, 20000, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    line_of(p)
    w = Watch(stakeout, p.pid, "--ring-size", "64K")
    w.ready()
    w.process.send_signal(signal.SIGSTOP)
    p.stdin.write(b"x")
    p.stdin.flush()
    own = json.loads(line_of(p))
    w.process.send_signal(signal.SIGCONT)
    recording = w.stop()
    lost = recording.total["observer"]["lost"]["ring_full"]
    a = recording.agent()
    seen = a["counters"].get("heap_allocs", 0) + a["counters"].get("heap_frees", 0)
    assert lost > 0
    assert own["allocs"] + own["frees"] - lost <= seen < own["allocs"] + own["frees"]


def test_what_came_before_its_probes_is_told(stakeout, built):
    path = stakeout.folder / "late.ndjson"
    done = stakeout("record", "-o", path, "--probe", "+heap=full", "--", built("steps.c"), 300)
    assert done.returncode == 0, done.stderr
    recording = Recording(path)
    recording.need("heap")
    begin, *steps = next(json.loads(line) for line in done.stdout.decode().splitlines() if line.startswith("["))
    agent = recording.agent()
    base = 2 ** (2 ** -agent["hist"]["heap_alloc_bytes"]["scale"])
    seen = agent["hist"]["heap_alloc_bytes"]["bucket_counts"][math.ceil(math.log(777, base)) - 1 - agent["hist"]["heap_alloc_bytes"]["offset"]]
    assert 0 < seen < len(steps)
    heap = agent["heap"]
    assert heap["late"] == 1 and steps[-seen - 1] - begin < heap["late_s"] < steps[-1] - begin
    (note,) = agent["notes"]
    told = re.fullmatch(r"heap: steps \(pid \d+\) from ([\d.e-]+) s after its start", note)
    assert told and float(told[1]) == pytest.approx(heap["late_s"], rel=0.06)
    assert "1 process only from" in done.stdout.decode()


def test_a_32_bit_process_is_left_alone(stakeout, agents, tmp_path):
    program = tmp_path / "small"
    source = "#include <stdlib.h>\n#include <unistd.h>\nint main(void) { for (;;) { void *volatile p = malloc(9); free(p); usleep(1000); } }\n"
    if subprocess.run(["gcc", "-m32", "-x", "c", "-o", program, "-"], input=source.encode(), capture_output=True).returncode:
        pytest.skip("no compiler for 32 bits here")
    p = agents(program)
    w = Watch(stakeout, p.pid)
    (note,) = w.ready()
    assert "32-bit" in note and note.count(f"(pid {p.pid})") == 1
    w.stop()
    assert p.poll() is None


def test_processes_that_come_and_go(stakeout, agents):
    """Programs that end, or run another one, while probes go in."""
    p = agents("/bin/sh", "-c", "read x; i=0; while [ $i -lt 150 ]; do /bin/true & sh -c 'exec /bin/true'; i=$((i + 1)); done; wait; echo done; read x",
               stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    w = Watch(stakeout, p.pid)
    w.ready()
    p.stdin.write(b"\n")
    p.stdin.flush()
    assert line_of(p) == "done\n"
    recording = w.stop()
    a = recording.agent()
    assert a["counters"]["exits"] == 300 and a["counters"].get("exits_failed", 0) == 0
    assert 0 < a["heap"]["unseen"] <= 300
    assert p.poll() is None
