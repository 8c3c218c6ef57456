# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""CPU profiles and stacks of waits, against programs that know where they burn their CPU time and where they wait."""
import json
import math
import os
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from conftest import Recording

BURNERS = Path(__file__).with_name("burners")
PYTHON = "/usr/bin/python3"
SHARES = {"half": 0.5, "third": 0.3, "fifth": 0.2}
HZ, BURN_S = 997, 2
POINTS = 0.03
NS = 1e9


def compile_c(folder, source, *flags):
    program = folder / source.split(".")[0]
    done = subprocess.run(["gcc", "-O2", "-pthread", *flags, "-o", program, BURNERS / source], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return program


def folded(stakeout, path, samples):
    """(frames, weight) of each stack, outermost first; a frame is a function's name, without the place or the mark that may follow it."""
    done = stakeout("report", "--folded", samples, path)
    assert done.returncode == 0, done.stderr
    stacks = []
    for line in done.stdout.decode().splitlines():
        stack, weight = line.rsplit(" ", 1)
        stacks.append(([re.sub(r" \(.*|_\[[jk]\]$", "", frame) for frame in stack.split(";")], int(weight)))
    return stacks


def by_function(stacks, names):
    """The weight of the stacks that have each of the functions, and of those that have none, as None."""
    sums = Counter()
    for frames, weight in stacks:
        sums[next((name for name in names if name in frames), None)] += weight
    return sums


def stolen_ns():
    """What the hypervisor has given to others: no CPU time by the scheduler's account, but the timer that samples sees nothing of it."""
    return int(Path("/proc/stat").read_text().split()[8]) / os.sysconf("SC_CLK_TCK") * NS


def sample(stakeout, *command):
    """Records the command with a profile; returns the recording, and its stacks of CPU time."""
    path = stakeout.folder / "profile.ndjson"
    stolen = stolen_ns()
    done = stakeout("record", "-o", path, "--probe", f"+profile={HZ}", "--", *command)
    assert done.returncode == 0, done.stderr
    recording = Recording(path)
    recording.need("profile")
    recording.stolen_ns = stolen_ns() - stolen
    return recording, folded(stakeout, path, "cpu_ns")


def cpu_ns(agent):
    return agent["counters"]["cpu_user_ns"] + agent["counters"]["cpu_system_ns"]


def assert_agrees(recording, stacks):
    """Each stretch on the CPU is measured to a period, give or take: an error of a variance of a sixth at most."""
    agent, period = recording.agent(), NS / HZ
    limit = 6 * math.sqrt(agent["hist"]["oncpu_ns"]["count"] / 6) * period
    assert abs(sum(weight for _, weight in stacks) - cpu_ns(agent)) <= limit + 0.02 * cpu_ns(agent) + recording.stolen_ns


def assert_shares(stacks, lead, nameless=0.01):
    """lead: a function that is in the stacks of all three, so that a stack that was cut short doesn't count as right. What is nameless may be any one's, and may
    be cut short."""
    burnt = [(frames, weight) for frames, weight in stacks if "spin" in frames]
    sums, total = by_function(burnt, SHARES), sum(weight for _, weight in burnt)
    assert total >= 0.8 * BURN_S * NS, "too little was sampled"
    assert sums[None] <= nameless * total, sums
    for name, share in SHARES.items():
        assert share - POINTS - sums[None] / total <= sums[name] / total <= share + POINTS, (name, sums, total)
    assert sum(weight for frames, weight in burnt if lead in frames) >= 0.99 * total - sums[None]


@pytest.mark.parametrize("flags", [
    ("-fno-omit-frame-pointer",),
    ("-fomit-frame-pointer",),  # by its unwinding tables
    ("-fno-omit-frame-pointer", "-fno-asynchronous-unwind-tables"),  # by its frame pointers
    ("-fomit-frame-pointer", "-static"),
], ids=("frame_pointers", "tables", "frame_pointers_only", "static"))
def test_c(stakeout, tmp_path, flags):
    recording, stacks = sample(stakeout, compile_c(tmp_path, "burn.c", *flags), BURN_S)
    assert_agrees(recording, stacks)
    assert_shares(stacks, "main")


def test_python(stakeout):
    recording, stacks = sample(stakeout, PYTHON, BURNERS / "burn.py", BURN_S)
    assert_agrees(recording, stacks)
    assert_shares(stacks, "<module>")


def test_python_that_forks(stakeout):
    """A forked interpreter has its Python frames from its first sample on."""
    script = f"""
import os, runpy, sys
for _ in range(4):
    if not os.fork():
        sys.argv = ["burn.py", "{BURN_S / 4}"]
        runpy.run_path("{BURNERS / 'burn.py'}")
        os._exit(0)
    os.wait()
"""
    _, stacks = sample(stakeout, PYTHON, "-c", script)
    assert_shares(stacks, "<module>")


def test_node(stakeout):
    """Without inlining, since what was inlined has no frame; and compiled before it runs, since what the interpreter runs has no
    name. Code that has just been compiled anew is nameless until the perf map is read again."""
    if not shutil.which("node"):
        pytest.skip("no node here")
    _, stacks = sample(stakeout, "node", "--perf-basic-prof", "--no-turbo-inlining", "--always-sparkplug", BURNERS / "burn.js", BURN_S)
    assert_shares(stacks, "node::Start", nameless=0.2)


def test_short_lived_tools(stakeout, tmp_path):
    """A process that ends after 20 ms has names as long as somebody looks at what it has mapped in that time: for most of its samples."""
    program = compile_c(tmp_path, "burn.c")
    _, stacks = sample(stakeout, "sh", "-c", f"for i in $(seq 60); do {program} 0.02 0.02; done")
    tools = [(frames, weight) for frames, weight in stacks if frames[0] == "burn"]
    named = sum(weight for frames, weight in tools if any(name in frames for name in SHARES))
    assert sum(weight for _, weight in tools) >= 0.8 * 60 * 0.02 * NS
    assert named >= 0.5 * sum(weight for _, weight in tools)


@pytest.mark.parametrize("language", ["c", "python"])
def test_waits(stakeout, tmp_path, language):
    command = [compile_c(tmp_path, "wait.c")] if language == "c" else [PYTHON, BURNERS / "wait.py"]
    path = stakeout.folder / "waits.ndjson"
    done = stakeout("record", "-o", path, "--probe", "+offcpu=10", "--", *command)
    assert done.returncode == 0, done.stderr
    recording = Recording(path)
    recording.need("offcpu")
    agent = recording.agent()
    truth = json.loads(next(line for line in done.stdout.decode().splitlines() if line.startswith("{")))
    stacks = folded(stakeout, path, "offcpu_ns")
    sums = by_function(stacks, truth)
    # Its own clock runs while it waits for the CPU after the wait; what nobody looked at in time is under no function.
    unread = sum(weight for frames, weight in stacks if frames == ["(other)"])
    total = sum(weight for _, weight in stacks)
    assert unread <= 0.2 * total
    for name, seconds in truth.items():
        slack = agent["hist"]["runq_ns"]["sum"] + unread + 0.03 * seconds * NS
        assert sums[name] <= seconds * NS + 0.01 * NS
        assert sums[name] >= seconds * NS - slack, (name, sums, truth, unread)
    waits = [h for name, h in agent["hist"].items() if name.startswith("wait_")]
    assert total <= sum(h["sum"] for h in waits)
    short = sum(min(h["sum"], h["count"] * 10e6) for h in waits)  # of waits below the threshold, at most
    assert total >= sum(h["sum"] for h in waits) - short
