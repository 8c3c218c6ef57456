# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""The sampled heap against programs that count themselves."""
import os
import subprocess
from pathlib import Path

import pytest
from conftest import Recording, buckets, line_of, wait_for

HEAP = Path(__file__).parent / "heap"
LIBRARIES = Path("/usr/lib/x86_64-linux-gnu")
GAP = 2000  # turns of a loop between allocations: 2 to 5 us


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    folder, done = tmp_path_factory.mktemp("heap_sampled"), {}

    def build(*flags, compiler="gcc", source="steady.c"):
        key = (compiler, source, *flags)
        if key not in done:
            out = folder / f"program{len(done)}"
            subprocess.run([compiler, "-O1", "-fno-builtin", *flags, "-o", out, HEAP / source, "-lpthread"], check=True)
            done[key] = out
        return done[key]

    return build


class Truth:
    def __init__(self, line):
        seconds, calls, total, self.sum = line.split()
        self.rate, self.byte_rate = int(calls) / float(seconds), int(total) / float(seconds)
        self.calls = int(calls)


def watch(stakeout, *command, budget=10, env=None):
    """What a recording says of a program, and what the program says itself."""
    path = stakeout.folder / "heap.ndjson"
    path.unlink(missing_ok=True)
    done = stakeout("record", "-q", "--probe", f"+heap={budget}", "-o", path, "--", *command, env=env)
    assert done.returncode == 0, done.stderr
    recording = Recording(path)
    recording.need("heap")
    return recording, recording.agent(), done.stdout.decode()


def inside(rate, truth, times=1.0):
    """Within its interval; times: that interval drawn out, for 99.9 % instead of 95 %."""
    low = rate["mean"] - times * (rate["mean"] - rate["low"])
    high = rate["mean"] + times * (rate["high"] - rate["mean"])
    return low <= truth <= high


def preload(library):
    return dict(os.environ, LD_PRELOAD=str(LIBRARIES / library))


VARIANTS = {
    "glibc": ((), "gcc", None),
    "glibc static": (("-static",), "gcc", None),
    "musl": ((), "musl-gcc", None),
    "musl static": (("-static",), "musl-gcc", None),
    "jemalloc": ((), "gcc", "libjemalloc.so.2"),
    "tcmalloc": ((), "gcc", "libtcmalloc_minimal.so.4"),
    "mimalloc": ((), "gcc", "libmimalloc.so.2.0"),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_function_counts_once(stakeout, build, variant):
    """Seven calls in turn, each of its own size: each is a seventh of all calls, whichever function hands on to which."""
    flags, compiler, library = VARIANTS[variant]
    program = build(*flags, compiler=compiler)
    command = ["env", f"LD_PRELOAD={LIBRARIES / library}", program] if library else [program]
    sizes, seen, samples, strays = [100, 200, 300, 400, 500, 600, 704], {}, 0, 0
    for _ in range(8):  # on a busy machine few windows see anything
        _, agent, _ = watch(stakeout, *command, "functions", 5 * GAP, 2)
        assert agent["heap"]["mode"] == "sampled" and agent["heap"]["samples"] > 0
        samples += agent["heap"]["samples"]
        hist = agent["hist"]["heap_alloc_bytes"]
        for value, count in buckets(hist):
            size = min(sizes, key=lambda s: abs(s - value))
            if abs(size - value) > 0.02 * size:
                strays += count
            else:
                seen[size] = seen.get(size, 0) + count
        if len(seen) == len(sizes) and samples > 300:
            break
    # env, the loader and the library allocate something of their own when they start (tcmalloc: one byte), seldom in a window.
    assert strays <= 0.02 * samples + 2, strays
    # One that counted twice would have two shares of eight, one that counted in neither place none.
    assert sorted(seen) == sizes and max(seen.values()) < 0.4 * sum(seen.values()), seen


@pytest.mark.parametrize("kind", ["sizes", "bursts", "threads"])
def test_rate_is_in_its_interval(stakeout, build, kind):
    _, agent, told = watch(stakeout, build(), kind, GAP, 4)
    truth, heap = Truth(told), agent["heap"]
    assert heap["windows"] > 50 and heap["samples"] > 20
    assert inside(heap["allocs_per_s"], truth.rate, 2), (heap["allocs_per_s"], truth.rate)
    assert inside(heap["bytes_per_s"], truth.byte_rate, 2), (heap["bytes_per_s"], truth.byte_rate)
    assert 0 < heap["trapped_s"] < 0.1 * 4
    assert agent["samples"]["alloc_bytes"]


def test_faster_than_traps_can_tell(stakeout, build):
    """Without any pause the interval is wide, and holds the truth."""
    _, agent, told = watch(stakeout, build(), "sizes", 0, 4)
    assert inside(agent["heap"]["allocs_per_s"], Truth(told).rate, 2), (agent["heap"], told)


def test_stripped(stakeout, build):
    _, agent, told = watch(stakeout, build("-static", "-s"), "sizes", GAP, 1)
    notes = agent["notes"]
    assert len(notes) == 1, notes
    assert notes[0].startswith("heap: no allocator symbols in program") and notes[0].endswith("statically linked and stripped")
    assert agent.get("heap", {}).get("samples", 0) == 0 and Truth(told).calls


def test_children_that_end_and_run_other_programs(stakeout, build):
    """In the middle of windows, too; none of them is harmed: the program aborts if one is."""
    _, agent, told = watch(stakeout, build(), "forks", GAP, 4)
    assert Truth(told).calls > 0
    assert agent["counters"].get("exits_failed", 0) == 0
    assert agent["heap"]["windows"] > 0


def test_registers_in_use(stakeout, build, agents):
    """A debugger has them all: windows fail, and are told; when it lets go they work."""
    holder = agents(build(source="registers.c"), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    held = int(line_of(holder))
    if not held:
        pytest.skip("kernel: no hardware breakpoints")
    program = agents(build(), "sizes", GAP, 1000)
    path = stakeout.folder / "heap.ndjson"
    p = stakeout.start("record", "-q", "-p", program.pid, "--probe", "+heap", "-i", "0.1", "-o", path)
    wait_for("an interval", lambda: path.exists() and '"interval"' in path.read_text())
    p.terminate()
    assert p.wait() == 0
    assert Recording(path).probe("heap")["state"] == "unavailable" and "heap=full" in Recording(path).probe("heap")["why"]
    holder.kill()
    holder.wait()
    path.unlink()
    p = stakeout.start("record", "-q", "-p", program.pid, "--probe", "+heap=10", "-i", "0.1", "-o", path)
    wait_for("windows", lambda: path.exists() and '"sampled"' in path.read_text())
    holders = []

    def fails():
        if len(holders) < 20:  # a window has some of them while the first ones take the rest
            holders.append(agents(build(source="registers.c"), stdin=subprocess.PIPE, stdout=subprocess.PIPE))
            line_of(holders[-1])
        return "breakpoint registers are in use" in path.read_text()

    wait_for("a window that fails", fails)
    for holder in holders:
        holder.kill()
    p.terminate()
    assert p.wait() == 0
    assert Recording(path).agent()["heap"]["windows_failed"] > 0
    assert program.poll() is None
