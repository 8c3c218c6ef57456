# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""What stakeout does to, and says of, a process whose allocator changes while it is watched; and what it leaves behind when it is killed."""
import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from conftest import Recording, buckets, line_of, wait_for

HEAP = Path(__file__).parent / "heap"
LIBRARIES = Path("/usr/lib/x86_64-linux-gnu")
TURNS = 40000
# A library with thread-local variables of the kind for programs' own start needs room for them.
ENVIRONMENT = dict(os.environ, GLIBC_TUNABLES="glibc.rtld.optional_static_tls=16384")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("replaced")
    subprocess.run(["gcc", "-O1", "-fno-builtin", "-D_GNU_SOURCE", "-o", folder / "switch", HEAP / "switch.c", "-ldl"], check=True)
    subprocess.run(["gcc", "-O1", "-fno-builtin", "-shared", "-fPIC", "-o", folder / "plugin.so", HEAP / "plugin.c"], check=True)
    return folder


def lines(path):
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def agents_of(path):
    return [a for line in lines(path) if line["kind"] == "interval" for a in line["agents"]]


def go(p):
    p.stdin.write(b"x")
    p.stdin.flush()


def through(p, before_second=lambda: None):
    """The whole way; what it computed."""
    for step in ("first", "open"):
        go(p)
        assert line_of(p).strip() == step
    before_second()
    for step in ("second", "closed"):
        go(p)
        assert line_of(p).strip() == step
    go(p)
    return int(line_of(p))


@pytest.mark.parametrize("mode", ["full", "10"])
@pytest.mark.parametrize("name", ["plugin.so", "libjemalloc.so.2", "libtcmalloc_minimal.so.4", "libmimalloc.so.2.0"])
def test_a_library_with_an_allocator_comes_and_goes(stakeout, agents, built, mode, name):
    """Same result as unwatched, alive, its own allocator counted to the end; and the report says that the other one is not observed."""
    library = built / name if name == "plugin.so" else LIBRARIES / name
    if not library.exists():
        pytest.skip(f"no {name} here")

    def start():
        p = agents(built / "switch", library, TURNS, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=ENVIRONMENT)
        assert line_of(p).strip() == "ready"
        return p

    expected = through(start())
    p, path = start(), stakeout.folder / "switch.ndjson"
    w = stakeout.start("record", "--budget", "off", "-q", "-p", p.pid, "--probe", f"+heap={mode}", "-i", "0.1", "-o", path)
    wait_for("the heap", lambda: any(a.get("heap") for a in agents_of(path)))
    noted = f"has another malloc in {name}"
    got = through(p, lambda: wait_for("the note", lambda: any(noted in note for a in agents_of(path) for note in a.get("notes", []))))
    assert got == expected and p.poll() is None
    w.send_signal(signal.SIGINT)
    _, err = w.communicate(timeout=120)
    assert w.returncode == 0, err
    recording = Recording(path)
    recording.need("heap")
    agent = recording.agent()
    assert sum(noted in note for note in agent["notes"]) == 1 and not any("replaced" in note for note in agent["notes"])
    if mode == "full":
        sizes = {round(value): count for value, count in buckets(agent["hist"]["heap_alloc_bytes"])}
        near = sum(count for value, count in sizes.items() if 760 < value < 795)
        assert near == 2 * TURNS and agent["counters"]["heap_frees"] >= 2 * TURNS
        assert not any(5400 < value < 5700 and count > 10 for value, count in sizes.items())
    go(p)
    assert p.wait() == 0


def functions(path):
    """Where the allocator's functions are in a library: offsets in its file. Its code lies there as far above its addresses as its segment does."""
    shift = next(int(w[2], 16) - int(w[1], 16) for w in map(str.split, subprocess.run(["readelf", "-lW", path], capture_output=True, text=True).stdout.splitlines())
                 if w and w[0] == "LOAD" and "E" in w[6:-1])
    out = subprocess.run(["nm", "-D", "-S", "--defined-only", path], capture_output=True, text=True, check=True).stdout
    found = [words for words in map(str.split, out.splitlines()) if len(words) == 4 and words[3].split("@")[0] in ("malloc", "calloc", "realloc", "free")]
    return [range(int(w[0], 16) - shift, int(w[0], 16) - shift + int(w[1], 16)) for w in found]


def changes(pid, path):
    """Bytes of these functions that differ in a process from the file. Other observers' probes may be in other ones."""
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        words = line.split()
        if words[1][2] == "x" and words[-1] == str(path):
            start, end = (int(n, 16) for n in words[0].split("-"))
            offset = int(words[2], 16)
            with open(f"/proc/{pid}/mem", "rb") as memory, open(path, "rb") as file:
                memory.seek(start)
                file.seek(offset)
                pairs = list(zip(memory.read(end - start), file.read(end - start)))
            return [at for function in functions(path) for at in function if pairs[at - offset][0] != pairs[at - offset][1]]
    raise AssertionError(f"{path} is not mapped")


def test_killed_it_leaves_the_code_as_it_was(stakeout, agents, built):
    """Breakpoints of uprobes go with the process that set them, also when nothing tells it to clean up."""
    p = agents(built / "switch", built / "plugin.so", TURNS, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert line_of(p).strip() == "ready"
    libc = next(Path(line.split()[-1]) for line in Path(f"/proc/{p.pid}/maps").read_text().splitlines() if "/libc.so" in line)
    assert not changes(p.pid, libc)
    path = stakeout.folder / "killed.ndjson"
    w = stakeout.start("record", "--budget", "off", "-q", "-p", p.pid, "--probe", "+heap=full", "-i", "0.1", "-o", path)
    wait_for("the heap", lambda: any(a.get("heap") for a in agents_of(path)))
    assert len(changes(p.pid, libc)) >= 4, "no breakpoint in some function: this test would say nothing"
    go(p)
    w.kill()
    w.wait()
    assert line_of(p).strip() == "first"
    wait_for("the code to be the file's own again", lambda: not changes(p.pid, libc))
    for step in ("open", "second", "closed"):
        go(p)
        assert line_of(p).strip() == step
    go(p)
    assert int(line_of(p)) and p.poll() is None
