# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""CPU and memory limits of an agent in a recording, against the files of its cgroup (v1: this is about what reaches the recording)."""
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from conftest import Recording, line_of, wait_for

PERIOD_US, QUOTA_US = 20_000, 1_000  # less than a busy machine gives to one of many
MIB = 1 << 20
BURN = """
import sys, time
block = bytearray(b"x" * (24 << 20))
print("ready", flush=True)
sys.stdin.readline()
end = time.process_time() + 0.03
while time.process_time() < end:
    pass
print("done", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def groups():
    """A cgroup of the test's own in the hierarchies cpu and memory of v1."""
    made = {name: Path(f"/sys/fs/cgroup/{name}/stakeout-test-{os.getpid()}") for name in ("cpu", "memory")}
    if not all((path.parent / "cgroup.procs").exists() for path in made.values()):
        pytest.skip("kernel: no v1 hierarchies with cpu and memory")
    for path in made.values():
        path.mkdir()
    yield made
    for path in made.values():
        for pid in (path / "cgroup.procs").read_text().split():
            os.kill(int(pid), signal.SIGKILL)
        wait_for("its processes to go", lambda: not (path / "cgroup.procs").read_text())
        path.rmdir()


def stat_of(path):
    return {k: int(v) for k, v in (line.split() for line in (path / "cpu.stat").read_text().splitlines())}


def test_throttled_agent(stakeout, agents, groups):
    (groups["cpu"] / "cpu.cfs_period_us").write_text(str(PERIOD_US))
    (groups["memory"] / "memory.limit_in_bytes").write_text(str(64 * MIB))
    p = agents("/usr/bin/python3", "-c", BURN, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
               preexec_fn=lambda: [(path / "cgroup.procs").write_text(str(os.getpid())) for path in groups.values()])
    assert line_of(p) == "ready\n"
    (groups["cpu"] / "cpu.cfs_quota_us").write_text(str(QUOTA_US))
    before, began = stat_of(groups["cpu"]), time.monotonic()
    out = stakeout.folder / "limits.ndjson"
    recording = stakeout.start("record", "-q", "-i", "0.2", "-o", out, "-p", p.pid)
    wait_for("the first interval", lambda: out.exists() and out.read_text().count('"interval"') > 1)
    p.stdin.write(b"\n")
    p.stdin.flush()
    assert line_of(p) == "done\n"
    # Off the CPU: from here on nothing is throttled.
    wait_for("it to wait", lambda: Path(f"/proc/{p.pid}/stat").read_text().split()[2] == "S")
    lines = out.read_text().count('"interval"')
    wait_for("another interval", lambda: out.read_text().count('"interval"') > lines + 1)
    after, took_s = stat_of(groups["cpu"]), time.monotonic() - began
    usage = int((groups["memory"] / "memory.usage_in_bytes").read_text())
    recording.send_signal(signal.SIGINT)
    recording.communicate()
    r = Recording(out)
    counters = r.agent()["counters"]
    assert counters["throttles"] == after["nr_throttled"] - before["nr_throttled"] >= 5
    assert counters["throttled_ns"] == after["throttled_time"] - before["throttled_time"] > 0
    assert sum(a["counters"].get("throttles", 0) for i in r.intervals for a in i["agents"]) == counters["throttles"]
    gauges = r.agent()["gauges"]
    assert gauges["memory_limit_bytes"] == 64 * MIB
    assert 64 * MIB - usage - MIB <= gauges["memory_left_bytes"] <= 40 * MIB
    assert counters.get("pressure_cpu_ns", 0) <= (took_s + 1) * 1e9


def test_limits_are_the_machines_without_a_cgroup(stakeout, sleeper):
    out = stakeout.folder / "limits.ndjson"
    assert stakeout("record", "-q", "-d", "0.5", "-o", out, "-p", sleeper.pid).returncode == 0
    agent = Recording(out).agent()
    total = int(Path("/proc/meminfo").read_text().split()[1]) * 1024
    assert 0 < agent["gauges"]["memory_left_bytes"] < agent["gauges"]["memory_limit_bytes"] <= total
    assert not agent["counters"].get("throttles")
