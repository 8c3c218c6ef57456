# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""Watching agents that do nothing: one wake-up a second. And when they begin to work after all, nothing of it is missed."""
import subprocess
import time
from pathlib import Path

import pytest
from conftest import Recording, line_of, wait_for

PYTHON = "/usr/bin/python3"
WINDOW_S = 5
WINDOWS = 6  # of which one shall be undisturbed: what other processes do (to a lock, to a page) adds a wait now and then
WAKEUPS_MAX = 1.5  # a second
ROUNDS = 20000

# Sleeps until it is told; then two threads hand a byte to and fro. Prints the kernel's count of its voluntary switches before and after, with the
# other thread at rest, and ends. The first count includes the wait for the line, the last one all but the ends of both threads.
BURST = f"""
import os, resource, sys, threading, time
def switches():
    return resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
def blocked(tid):
    return open(f"/proc/self/task/{{tid}}/stat").read().rsplit(")", 1)[1].split()[0] == "S"
to, back = os.pipe(), os.pipe()
def peer():
    while os.read(to[0], 1):
        os.write(back[1], b"x")
threading.Thread(target=peer, daemon=True).start()
other = next(int(t) for t in os.listdir("/proc/self/task") if int(t) != os.getpid())
while not blocked(other):
    time.sleep(0.01)
before = switches()
sys.stdin.readline()
for _ in range({ROUNDS}):
    os.write(to[1], b"x")
    os.read(back[0], 1)
while not blocked(other):
    time.sleep(0.01)
print(before, switches(), flush=True)
os._exit(0)
"""


def switches(pid):
    """Voluntary ones, of all threads."""
    text = [(t / "status").read_text() for t in Path(f"/proc/{pid}/task").iterdir()]
    return sum(int(line.split()[1]) for t in text for line in t.splitlines() if line.startswith("voluntary_ctxt_switches"))


def intervals(path):
    return path.read_text().count('{"kind":"interval"') if path.exists() else 0


@pytest.fixture
def load(agents):
    return agents(PYTHON, "-c", BURST, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


@pytest.mark.parametrize("probes", [(), ("--probe", "+profile")], ids=["default", "profile"])
def test_idle_agents_wake_the_collector_once_a_second_and_a_burst_is_complete(stakeout, agents, load, probes):
    sleeping = [agents("sleep", "1000"), agents(PYTHON, "-c", "import signal; signal.pause()")]
    path = stakeout.folder / "idle.ndjson"
    wait_for("the load to wait for its line", lambda: "pipe_read" in Path(f"/proc/{load.pid}/wchan").read_text() or
             Path(f"/proc/{load.pid}/syscall").read_text().startswith("0 0x0 "))
    p = stakeout.start("record", "-q", "-o", path, *probes, "-p", ",".join(str(a.pid) for a in [load, *sleeping]))
    try:
        wait_for("three intervals", lambda: intervals(path) >= 3)
        rates = []
        while len(rates) < WINDOWS and not any(rate <= WAKEUPS_MAX for rate in rates):
            first, begin = switches(p.pid), time.monotonic()
            time.sleep(WINDOW_S)
            rates.append((switches(p.pid) - first) / (time.monotonic() - begin))
        load.stdin.write(b"go\n")
        load.stdin.flush()
        before, after = map(int, line_of(load).split())
        load.wait()
        for a in sleeping:
            a.kill()
            a.wait()
        assert p.wait() == 0
    finally:
        p.kill()
    recording = Recording(path)
    for name in ("sched", *(name.strip("+") for name in probes[1:])):
        recording.need(name)
    assert 0 < min(rates) <= WAKEUPS_MAX, rates
    # Less the wait for the line, which had begun before; and the ends of both threads, which come after.
    assert recording.agent(load.pid)["counters"]["switches_voluntary"] == after - before - 1 + 2
    assert after - before >= ROUNDS
    assert not any(recording.total["observer"]["lost"].values())
