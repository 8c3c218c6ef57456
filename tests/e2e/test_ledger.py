# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""The ledger closes: in every interval its states sum to the time observed, whatever the agent does or does not do."""
import signal
import subprocess
from pathlib import Path

import pytest
from conftest import STAKEOUT, Agents, Recording, wait_for

PYTHON = "/usr/bin/python3"
INTERVAL_S = 0.5

SLEEP = "import time\nwhile True: time.sleep(3)"
SPIN = "while True: pass"
POLL = "import select\np = select.poll()\nwhile True: p.poll(20)"
WAIT = "import select\nselect.poll().poll()"
# Everything at once: threads that compute, sleep and lock, children, pipes, files.
MIXED = """
import hashlib, os, subprocess, threading, time
lock = threading.Lock()
def work():
    while True:
        hashlib.sha256(bytes(1 << 20)).digest()
        with lock:
            time.sleep(0.003)
for _ in range(3):
    threading.Thread(target=work, daemon=True).start()
while True:
    with open("/etc/services", "rb") as f:
        hashlib.sha256(f.read() * 20).digest()
    subprocess.run(["sh", "-c", "sort -r /etc/services | head -3"], stdout=subprocess.PIPE)
    time.sleep(0.01)
"""
SCRIPTS = {"sleeps": SLEEP, "spins": SPIN, "stopped": SLEEP, "stopped_busy": SPIN, "polls": POLL, "waits": WAIT, "mixed": MIXED}


def state_of(pid):
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


class Observed:
    def __init__(self, recording, pid):
        self.id = next(a["id"] for a in recording.agents if a["pid"] == pid)
        self.intervals = [(i["end_s"] - i["start_s"], a) for i in recording.intervals for a in i["agents"] if a["id"] == self.id]
        self.total = next(a for a in recording.total["agents"] if a["id"] == self.id)

    def main(self, state):
        return [a["ledger"]["main_s"].get(state, 0) / wall_s for wall_s, a in self.intervals]


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    out, agents = tmp_path_factory.mktemp("ledger") / "out.ndjson", Agents()
    try:
        started = {name: agents(PYTHON, "-c", text) for name, text in SCRIPTS.items()}
        for name, process in started.items():
            mark = "R" if name in ("spins", "stopped_busy", "mixed") else "S"
            wait_for(f"{name} to be at it", lambda: state_of(process.pid) == mark)
        for name in ("stopped", "stopped_busy"):
            started[name].send_signal(signal.SIGSTOP)
            wait_for(f"{name} to be stopped", lambda: state_of(started[name].pid) == "T")
        done = subprocess.run([STAKEOUT, "record", "-q", "-d", "5", "-i", str(INTERVAL_S), "-o", out, "-p",
                               ",".join(str(p.pid) for p in started.values())], stderr=subprocess.PIPE, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
    finally:
        agents.close()
    recording = Recording(out)
    recording.observed = {name: Observed(recording, process.pid) for name, process in started.items()}
    return recording


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_interval_sums_to_the_wall_clock(recording, name):
    agent = recording.observed[name]
    assert len(agent.intervals) == len(recording.intervals) >= 9
    for n, (wall_s, a) in enumerate(agent.intervals):
        # The first begins when the agent's tasks were marked, some hundred microseconds into the recording.
        assert a["observed_s"] == pytest.approx(wall_s, rel=0.001, abs=0.002 if n == 0 else 0), n
        assert sum(a["ledger"]["main_s"].values()) == pytest.approx(a["observed_s"], rel=0.001), n
    assert sum(agent.total["ledger"]["main_s"].values()) == pytest.approx(agent.total["observed_s"], rel=0.001)


@pytest.mark.parametrize("name", SCRIPTS)
def test_nothing_is_negative(recording, name):
    def check(value):
        if isinstance(value, dict):
            for key, v in value.items():
                if key != "offset":  # of a histogram's first bucket
                    check(v)
        elif isinstance(value, list):
            for v in value:
                check(v)
        elif isinstance(value, (int, float)):
            assert value >= 0
    for _, a in [*recording.observed[name].intervals, (0, recording.observed[name].total)]:
        check(a)


@pytest.mark.parametrize("name", SCRIPTS)
def test_all_threads_together_are_at_least_the_main_one(recording, name):
    for _, a in recording.observed[name].intervals:
        main, threads = a["ledger"]["main_s"], a["ledger"]["threads_s"]
        assert all(threads.get(state, 0) >= s - 1e-6 for state, s in main.items())


def test_threads_are_all_there(recording):
    """Four threads all the time, children now and then."""
    for wall_s, a in recording.observed["mixed"].intervals[1:]:
        assert sum(a["ledger"]["threads_s"].values()) >= 4 * wall_s * 0.999


@pytest.mark.parametrize("name, state", [("sleeps", "sleep"), ("polls", "poll"), ("waits", "poll"), ("stopped", "other"),
                                         ("stopped_busy", "other")])
def test_one_long_wait_shows_in_every_interval(recording, name, state):
    """Also one that began before the recording, and ends in none of its intervals."""
    shares = recording.observed[name].main(state)
    runnable = recording.observed[name].main("runnable")
    assert all(share + queued > 0.95 for share, queued in zip(shares, runnable)), shares
    if name != "polls":
        assert all(share > 0.99 for share in shares), shares


def test_spinning_runs_in_every_interval(recording):
    agent = recording.observed["spins"]
    for running, runnable in zip(agent.main("running"), agent.main("runnable")):
        assert running > 0.1
        assert running + runnable > 0.99


def test_a_stopped_agent_uses_no_cpu(recording):
    for name in ("stopped", "stopped_busy", "waits"):
        counters = recording.observed[name].total["counters"]
        assert counters.get("cpu_user_ns", 0) + counters.get("cpu_system_ns", 0) < 1e6
        assert recording.observed[name].total["ledger"]["main_s"].get("running", 0) < 0.001


def test_stopped_and_continued_in_the_midst(tmp_path, agents):
    """The books of a spinning agent close across SIGSTOP and SIGCONT too, and say how long it stood."""
    agent, out = agents(PYTHON, "-c", SPIN), tmp_path / "out.ndjson"
    observer = subprocess.Popen([STAKEOUT, "record", "-q", "-d", "2", "-i", "0.25", "-o", out, "-p", str(agent.pid)],
                                stderr=subprocess.PIPE)
    wait_for("two intervals", lambda: out.exists() and out.read_text().count('"kind":"interval"') >= 2)
    agent.send_signal(signal.SIGSTOP)
    seen = out.read_text().count('"kind":"interval"')
    wait_for("two more", lambda: out.read_text().count('"kind":"interval"') >= seen + 2)
    agent.send_signal(signal.SIGCONT)
    _, err = observer.communicate(timeout=60)
    assert observer.returncode == 0, err
    recording = Recording(out)
    observed = Observed(recording, agent.pid)
    for n, (wall_s, a) in enumerate(observed.intervals):
        assert sum(a["ledger"]["main_s"].values()) == pytest.approx(wall_s, rel=0.001, abs=0.002 if n == 0 else 0)
    assert 0.25 < observed.total["ledger"]["main_s"]["other"] < 1.5
