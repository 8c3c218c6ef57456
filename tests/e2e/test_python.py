# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""Python frames of stacks, against what the interpreter itself says: each of the CPythons 3.9 to 3.13 that this machine has."""
import glob
import json
import os
import re
from collections import Counter

import pytest
from conftest import Recording, line_of, wait_for

FRAMES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "interpreted", "frames.py")
PYTHON = "/usr/bin/python3"
FRAMES_MAX = 64  # of Python's in a sample
HZ = 499


def interpreters():
    found = {}
    for pattern in "/usr/bin/python3.*", "/usr/local/bin/python3.*", "~/.pyenv/versions/*/bin/python3.*":
        for path in glob.glob(os.path.expanduser(pattern)):
            if re.search(r"/python3\.(9|1[0-3])$", path):
                found.setdefault(os.path.realpath(path), path)
    return sorted(found.values())


def stacks_of(recording, samples):
    """Weights by the Python frames of the stacks: (function, file, first line), innermost first."""
    frames, stacks, sums = {}, {}, Counter()
    for line in recording.lines:
        if line["kind"] == "stacks":
            frames.update(enumerate(line.get("frames", []), line.get("first_frame", 0)))
            stacks.update(enumerate(line.get("stacks", []), line.get("first_stack", 0)))
    for agent in recording.total["agents"]:
        for stack, weight in agent.get("samples", {}).get(samples, []):
            python = [frames[n] for n in stacks.get(stack, []) if frames[n]["kind"] == "python"]
            sums[tuple((f["name"], f.get("file", ""), f.get("line", 0)) for f in python)] += weight
    return sums


def frames_of(told):
    return tuple(tuple(frame) for frame in told["frames"])


def started(agents, python, what, lines, **kwargs):
    """The program, once it has said that many lines, and what it said, by their labels."""
    process = agents(python, FRAMES, what, stdout=-1, bufsize=0, **kwargs)  # unbuffered: line_of() looks at the pipe
    told = [json.loads(line_of(process)) for _ in range(lines)]
    return process, {line["label"]: line for line in told}


def record(stakeout, pid):
    path = stakeout.folder / "python.ndjson"
    done = stakeout("record", "-q", "-i", "0.2", "-d", "0.8", "-o", path, "-p", pid, "--probe", f"+profile={HZ},+offcpu")
    assert done.returncode == 0, done.stderr
    recording = Recording(path)
    recording.need("profile")
    return recording


@pytest.mark.parametrize("python", interpreters())
def test_stacks_are_what_the_interpreter_says(stakeout, agents, python):
    process, told = started(agents, python, "calls", 4)
    recording = record(stakeout, process.pid)
    assert set(stacks_of(recording, "cpu_ns")) == {frames_of(told["main"]), frames_of(told["called_back"])}
    if recording.probe("offcpu")["state"] == "on":
        waits = set(stacks_of(recording, "offcpu_ns"))
        assert {frames_of(told["sleep_for_long"]), frames_of(told["wait_for_lock"])} <= waits
        assert waits <= {frames_of(one) for one in told.values()}


@pytest.mark.parametrize("python", interpreters())
def test_the_innermost_frames_of_a_deep_stack(stakeout, agents, python):
    process, told = started(agents, python, "deep", 1)
    frames = frames_of(told["deep"])
    assert len(frames) > FRAMES_MAX
    assert set(stacks_of(record(stakeout, process.pid), "cpu_ns")) == {frames[:FRAMES_MAX]}


@pytest.mark.parametrize("python", interpreters())
def test_children_by_fork_and_by_exec(stakeout, agents, python):
    process, told = started(agents, python, "children", 2, stdin=-1)
    path = stakeout.folder / "children.ndjson"
    watch = stakeout.start("record", "-q", "-i", "0.1", "-o", path, "-p", process.pid, "--probe", f"+profile={HZ}")
    wait_for("the first interval", lambda: watch.poll() is not None or path.exists() and '"interval"' in path.read_text())
    process.stdin.write(b"\n")
    told["spin"] = json.loads(line_of(process))
    seen = path.read_text().count('"interval"')
    wait_for("some intervals", lambda: watch.poll() is not None or path.read_text().count('"interval"') > seen + 3)
    watch.terminate()
    assert watch.communicate() == (b"", b"")
    recording = Recording(path)
    recording.need("profile")
    stacks = stacks_of(recording, "cpu_ns")
    assert stacks[frames_of(told["forked"])] > 0 and stacks[frames_of(told["spin"])] > 0


def test_one_code_object_in_the_place_of_another(stakeout, agents):
    """Each ran for a tenth of a second; a name kept for too long would give one what others had."""
    path = stakeout.folder / "replaced.ndjson"
    done = stakeout("record", "-q", "-i", "0.1", "-o", path, "--probe", f"+profile={HZ}", "--", PYTHON, FRAMES, "replaced")
    assert done.returncode == 0, done.stderr
    recording = Recording(path)
    recording.need("profile")
    shares = Counter()
    for stack, weight in stacks_of(recording, "cpu_ns").items():
        if stack and stack[0][0].startswith("short_lived_"):
            shares[stack[0][:2]] += weight / 0.1e9
    assert set(shares) == {(f"short_lived_{n}", f"<made up {n}>") for n in range(10)}
    assert all(0.3 < share < 1.5 for share in shares.values()), shares  # some 50 samples each; the last ones may come too late for a name


@pytest.mark.parametrize("what", ["cycle", "broken_code"])
def test_a_process_that_breaks_its_own_interpreter(stakeout, agents, what):
    """What it makes of its memory is its own affair: the recording ends as ever, and the process runs on."""
    process = agents(PYTHON, FRAMES, what, stdout=-1)
    line_of(process)
    recording = record(stakeout, process.pid)
    stacks = stacks_of(recording, "cpu_ns")
    assert sum(stacks.values()) > 0
    if what == "cycle":
        assert set(stacks) == {(("cycle", FRAMES, next(iter(stacks))[0][2]),) * FRAMES_MAX}
    assert process.poll() is None
