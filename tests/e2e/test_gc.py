# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""Pauses of garbage collectors, against what each runtime says of itself; and who pays for the probes: nobody but the agents."""
import json
import os
import re
import shutil
import signal
import struct
import subprocess
from pathlib import Path

import pytest
from conftest import Recording, line_of, wait_for

PYTHON = "/usr/bin/python3"
HERE = Path(__file__).with_name("runtimes")
GENERATIONS = ("young", "middle", "full")


def say(process, word="\n"):
    process.stdin.write(word.encode())
    process.stdin.flush()


def runtime(pid):
    """The file of the process's runtime: its program, or a library, as Debian's Node is one."""
    paths = re.findall(r" (/\S+)$", Path(f"/proc/{pid}/maps").read_text(), re.M)
    return next((path for path in paths if Path(path).name.startswith("libnode.")), os.readlink(f"/proc/{pid}/exe"))


def mappings(pid, what):
    """(start, end, offset) of the mappings of a process's runtime: "x" for its code, "w" for its variables."""
    file = runtime(pid)
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        span, access, offset, _, _, *path = line.split(None, 5)
        if path == [file] and what in access:
            yield *(int(n, 16) for n in span.split("-")), int(offset, 16)


def changed(pid):
    """How many bytes of the runtime's code in the process differ from those in its file: breakpoints."""
    count = 0
    with open(runtime(pid), "rb") as file, open(f"/proc/{pid}/mem", "rb") as memory:
        for start, end, offset in mappings(pid, "x"):
            file.seek(offset)
            memory.seek(start)
            a = file.read(end - start)
            b = memory.read(end - start)[:len(a)]
            if a != b:
                count += sum(x != y for x, y in zip(a, b))
    return count


def semaphore(pid, probe):
    """The value of a USDT probe's reference counter in the process."""
    notes = subprocess.run(["readelf", "-nW", f"/proc/{pid}/exe"], capture_output=True, text=True, check=True).stdout
    address = int(re.search(rf"Name: {probe}\n.*Semaphore: (0x[0-9a-f]+)", notes).group(1), 16)
    header = Path(f"/proc/{pid}/exe").open("rb").read(18)
    if struct.unpack_from("<H", header, 16)[0] == 3:  # ET_DYN: loaded anywhere
        address += min(start - offset for start, _, offset in mappings(pid, "x"))
    with open(f"/proc/{pid}/mem", "rb") as memory:
        memory.seek(address)
        return struct.unpack("<H", memory.read(2))[0]


def links(stakeout_pid):
    """The most links that one program has: those of the probe gc, once there are two."""
    programs = {}
    for info in Path(f"/proc/{stakeout_pid}/fdinfo").iterdir():
        try:
            found = re.search(r"link_type:\tuprobe_multi\n(?:.*\n)*?prog_id:\t(\d+)", info.read_text())
        except OSError:
            continue
        if found:
            programs[found.group(1)] = programs.get(found.group(1), 0) + 1
    return max(programs.values(), default=0)


class Watch:
    """A recording of some processes, from the moment that their probes are in."""

    def __init__(self, stakeout, *processes):
        self.path = stakeout.folder / "gc.ndjson"
        self.process = stakeout.start("record", "-q", "-o", self.path, *(x for p in processes for x in ("-p", p.pid)))
        for p in processes:
            wait_for("probes", lambda: changed(p.pid) or self.process.poll() is not None)

    def end(self):
        self.process.send_signal(signal.SIGINT)
        _, err = self.process.communicate()
        assert self.process.returncode == 0, err.decode()
        recording = Recording(self.path)
        assert not recording.total["observer"]["lost"]
        return recording


def pauses(agent, generation=None):
    """Their number and sum."""
    h = agent["hist"].get(f"gc_pause_{generation}_ns" if generation else "gc_pause_ns")
    return (h["count"], h["sum"]) if h else (0, 0)


def near(ours_ns, theirs_ns, count, delay_ns):
    """The runtime's own clock reading lies outside our two places: on a busy machine it may have to wait for a CPU in between."""
    return abs(ours_ns - theirs_ns) <= max(0.05 * theirs_ns, 50_000 * count) + delay_ns


def delay(pid):
    """How long its threads have waited for a CPU."""
    return sum(int(p.read_text().split()[1]) for p in Path(f"/proc/{pid}/task").glob("*/schedstat"))


@pytest.fixture
def collector(agents):
    """Starts a Python program that collects on a word and tells its pauses, by its own clock: {generation: [count, ns]}."""
    def start(*args):
        p = agents(PYTHON, HERE / "collect.py", *args, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert line_of(p) == "ready\n"
        return p
    return start


def test_python(stakeout, collector):
    p = collector()
    watch = Watch(stakeout, p)
    waited = -delay(p.pid)
    say(p)
    truth = {int(g): v for g, v in json.loads(line_of(p)).items()}
    waited += delay(p.pid)
    agent = watch.end().agent()
    for number, name in enumerate(GENERATIONS):
        count, ns = pauses(agent, name)
        assert truth[number][0] > 5
        assert count == truth[number][0], name
        assert near(ns, truth[number][1], count, waited), (name, ns, truth[number])
    assert pauses(agent)[0] == sum(count for count, _ in truth.values())
    assert changed(p.pid) == 0 and semaphore(p.pid, "gc__start") == 0
    say(p)  # and it goes on as before
    assert json.loads(line_of(p))


def test_bystanders(stakeout, collector):
    """Another process of the same Python has no breakpoint, and its probes stay switched off."""
    watched, before = collector(), collector()
    assert changed(before.pid) == 0
    watch = Watch(stakeout, watched)
    after = collector()
    assert changed(watched.pid) and semaphore(watched.pid, "gc__start")
    for stranger in before, after:
        say(stranger)
        assert json.loads(line_of(stranger))
        assert changed(stranger.pid) == 0
        assert semaphore(stranger.pid, "gc__start") == 0 and semaphore(stranger.pid, "gc__done") == 0
    assert pauses(watch.end().agent()) == (0, 0)


def test_forked_worker(stakeout, collector):
    """A fork without exec has its parent's breakpoints, but is a process of its own: its pauses count from its first second on."""
    p = collector("fork")
    watch = Watch(stakeout, p)
    say(p)  # forks
    assert line_of(p) == "forked\n"
    wait_for("probes of the child", lambda: links(watch.process.pid) == 2)
    waited = -delay(p.pid)
    say(p)
    mine, child = json.loads(line_of(p)), json.loads(line_of(p))
    waited += delay(p.pid)
    agent = watch.end().agent()
    count, ns = pauses(agent)
    assert count == sum(n for truth in (mine, child) for n, _ in truth.values())
    assert near(ns, sum(t for truth in (mine, child) for _, t in truth.values()), count, 2 * waited)


def test_busy_collector_is_let_go(stakeout, collector):
    """Who collects all the time would pay for each trap: the probes go, and the report says so."""
    p = collector("busy")
    watch = Watch(stakeout, p)
    say(p)
    wait_for("probes to go", lambda: changed(p.pid) == 0)
    agent = watch.end().agent()
    assert any("no longer watched" in note for note in agent["notes"])
    assert pauses(agent)[0] > 1000
    say(p, "enough\n")
    assert line_of(p) == "done\n" and p.wait() == 0


def test_node(stakeout, agents):
    if not shutil.which("node"):
        pytest.skip("no node")
    p = agents("node", "--expose-gc", HERE / "collect.js", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert line_of(p) == "ready\n"
    watch = Watch(stakeout, p)
    waited = -delay(p.pid)
    say(p)
    truth = json.loads(line_of(p))
    waited += delay(p.pid)
    agent = watch.end().agent()
    # The witness's own clock starts a little before V8's and ends a little after.
    for name in "young", "full":
        count, ns = pauses(agent, name)
        assert truth[name][0] > 5
        assert count == truth[name][0], name
        assert near(ns, truth[name][1], 2 * count, waited), (name, ns, truth[name])


@pytest.fixture(scope="module")
def go_programs(tmp_path_factory):
    """With symbols, and without."""
    if not shutil.which("go"):
        pytest.skip("no go")
    folder = tmp_path_factory.mktemp("go")
    env = dict(os.environ, GOCACHE=str(folder / "cache"), GO111MODULE="off", CGO_ENABLED="0")
    for name, flags in ("whole", ""), ("stripped", "-s -w"):
        subprocess.run(["go", "build", f"-ldflags={flags}", "-o", folder / name, HERE / "collect.go"], env=env, check=True)
    return folder


@pytest.mark.parametrize("kind", ["whole", "stripped"])
def test_go(stakeout, agents, go_programs, kind):
    p = agents(go_programs / kind, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert line_of(p) == "ready\n"
    watch = Watch(stakeout, p)
    waited = -delay(p.pid)
    say(p)
    collections, ns = map(int, line_of(p).split())
    waited += delay(p.pid)
    count, ours_ns = pauses(watch.end().agent(), "full")
    assert collections >= 20
    assert count == 2 * collections  # it stops the world twice, and for the memory statistics that the program asks for, too
    assert near(ours_ns, ns, count, waited)


@pytest.mark.parametrize("function, says", [("Py_BytesMain", "this Python"), ("napi_create_object", "this JavaScript runtime"), (None, None)])
def test_runtimes_that_tell_nothing_are_named(stakeout, agents, tmp_path, function, says):
    """Programs with what gives such a runtime away, and one without."""
    source = tmp_path / "runtime.c"
    source.write_text(f"#include <unistd.h>\nint {function or 'nothing'}(void) {{ return 0; }}\nint main(void) {{ return pause(); }}\n")
    subprocess.run(["gcc", "-rdynamic", "-o", tmp_path / "runtime", source], check=True)
    p = agents(tmp_path / "runtime")
    python = agents(PYTHON, HERE / "collect.py", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert line_of(python) == "ready\n"
    out = stakeout.folder / "named.ndjson"
    # Looked at in this order: when the probes are in the second, the first is dealt with.
    watch = stakeout.start("record", "-q", "-o", out, "-p", p.pid, "-p", python.pid)
    wait_for("probes", lambda: changed(python.pid) or watch.poll() is not None)
    watch.send_signal(signal.SIGINT)
    watch.communicate()
    notes = Recording(out).agent(p.pid).get("notes", [])
    if says:
        (note,) = notes
        assert note.startswith(f"gc: runtime (pid {p.pid}): {says} tells no garbage collections")
    else:
        assert not notes
