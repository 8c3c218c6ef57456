# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""The budget of watching: who is watched at little cost keeps full detail; where it would cost too much, detail goes, is said to be gone, and what the kernel counts stays exact."""
import json
import signal
import subprocess
from pathlib import Path

import pytest
from conftest import Recording, line_of, wait_for

PYTHON = "/usr/bin/python3"
RUNGS = ["full", "no_peaks", "heap_rare", "profile_slow", "no_names", "summed", "no_calls", "counters", "no_traffic"]

# A byte goes to a child and back, as fast as it can: nothing but switches. Then it waits for another line.
HEAVY = """
import os, sys, time
to, back = os.pipe(), os.pipe()
if os.fork() == 0:
    os.close(to[1])
    while os.read(to[0], 1):
        os.write(back[1], b"x")
    os._exit(0)
for line in sys.stdin:
    end, n = time.monotonic() + float(line), 0
    while time.monotonic() < end:
        for _ in range(100):
            os.write(to[1], b"x")
            os.read(back[0], 1)
        n += 100
    print(n, flush=True)
"""
# The same over sockets, with itself: nothing but sends and receives.
TALKS = """
import socket, sys, time
here, there = socket.socketpair()
for line in sys.stdin:
    end, n = time.monotonic() + float(line), 0
    while time.monotonic() < end:
        for _ in range(100):
            here.send(b"x")
            there.recv(1)
        n += 100
    print(n, flush=True)
"""
LIGHT = "import time\nfor _ in range(150): sum(range(2000)); time.sleep(0.02)"
SECONDS = 4


def schedstat(pid):
    """Seconds on a CPU, and waiting for one, of its main thread."""
    ran, waited, _ = map(int, Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split())
    return ran / 1e9, waited / 1e9


def switches(pid):
    lines = Path(f"/proc/{pid}/task/{pid}/status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if "ctxt_switches" in line)


class Heavy:
    """A recording of the heavy agent, with its own books of the time that it was watched."""

    def __init__(self, stakeout, agents, folder, *options, script=HEAVY):
        agent = agents(PYTHON, "-c", script, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.pid, self.path = agent.pid, folder / "out.ndjson"
        agent.stdin.write(b"0.01\n")
        agent.stdin.flush()
        line_of(agent)
        wait_for("its wait for a line", lambda: Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "S")
        before, switched = schedstat(self.pid), switches(self.pid)
        run = stakeout.start("record", "-q", "-o", self.path, "-p", self.pid, *options)
        wait_for("the header", lambda: self.path.exists() and self.path.stat().st_size)
        agent.stdin.write(b"%d\n" % SECONDS)
        agent.stdin.flush()
        self.rounds = int(line_of(agent))
        wait_for("its wait for a line", lambda: Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "S")
        after = schedstat(self.pid)
        self.running, self.runnable = (b - a for a, b in zip(before, after))
        self.switches = switches(self.pid) - switched
        run.send_signal(signal.SIGINT)
        assert run.wait(60) == 0, run.stderr.read()
        self.recording = Recording(self.path)
        self.observer = self.recording.total["observer"]


@pytest.fixture
def heavy(stakeout, agents, tmp_path):
    return lambda *options, **more: Heavy(stakeout, agents, tmp_path, *options, **more)


def test_a_heavy_agent_is_only_counted(heavy, stakeout):
    h = heavy("--budget", "0.01")
    steps = h.observer["steps"]
    assert steps[0]["from"] == "full" and steps[0]["at_s"] < SECONDS
    for before, after in zip(steps, steps[1:]):
        assert before["to"] == after["from"] and before["at_s"] <= after["at_s"]
    assert all("of a CPU" in s["why"] for s in steps)
    # Where others on this machine send much, what each of their sends costs is saved too.
    counted = RUNGS[RUNGS.index("counters"):]
    assert h.observer["detail"] in counted and sum(h.observer["detail_s"].get(r, 0) for r in counted) > SECONDS / 2
    assert {"oncpu_ns", "runq_ns", "wait_pipe_ns"} <= set(h.observer["partial"])
    assert not {"cpu_user_ns", "switches_voluntary", "connects"} & {*h.observer["partial"], *h.observer["estimated"]}
    # Most of the switches made no record: that is what it is for.
    assert h.observer["records"] < h.switches / 2
    # All the same, the books close, and are the kernel's.
    total = h.recording.agent(h.pid)
    main = total["ledger"]["main_s"]
    assert sum(main.values()) == pytest.approx(total["observed_s"], rel=0.001)
    assert main["running"] == pytest.approx(h.running, rel=0.02, abs=0.005)
    assert main["runnable"] == pytest.approx(h.runnable, rel=0.02, abs=0.005)
    for i in h.recording.intervals:
        for a in i["agents"]:
            assert sum(a["ledger"]["main_s"].values()) == pytest.approx(a["observed_s"], rel=0.001, abs=0.002)


def test_sends_that_cost_too_much_are_not_even_counted(heavy):
    h = heavy("--budget", "0.01", script=TALKS)
    assert h.observer["detail"] == "no_traffic" and h.observer["detail_s"]["no_traffic"] > SECONDS / 4
    assert {"sent_bytes", "received_bytes", "send_bytes"} <= set(h.observer["partial"])
    counters = h.recording.agent(h.pid)["counters"]
    assert 0 < counters["sent_bytes"] < h.rounds
    assert sum(h.recording.agent(h.pid)["ledger"]["main_s"].values()) == pytest.approx(h.recording.agent(h.pid)["observed_s"], rel=0.001)


def test_the_total_is_the_sum(heavy):
    h = heavy("--budget", "0.01")
    observers = [i["observer"] for i in h.recording.intervals]
    assert sum(o["budget_s"] for o in observers) == pytest.approx(h.observer["budget_s"], abs=1e-6)
    for part in ("bpf", "traps", "collector"):
        assert sum(o["cost_s"][part] for o in observers) == pytest.approx(h.observer["cost_s"][part], abs=1e-6)
    for rung in RUNGS:
        assert sum(o["detail_s"].get(rung, 0) for o in observers) == pytest.approx(h.observer["detail_s"].get(rung, 0), abs=1e-6)
    assert sum(o.get("steps_count", 0) for o in observers) == h.observer["steps_count"] == len(h.observer["steps"])
    assert [s for o in observers for s in o.get("steps", [])] == h.observer["steps"]
    duration = h.recording.intervals[-1]["end_s"] - h.recording.intervals[0]["start_s"]
    assert sum(h.observer["detail_s"].values()) == pytest.approx(duration, abs=0.3)
    for o in observers:  # an interval is called by the least detail that it had
        assert o["detail"] == max(o["detail_s"], key=RUNGS.index)
        assert o["cost_s"]["collector"] == pytest.approx(o["cpu_s"], abs=0.02)


def test_the_report_says_so(heavy, stakeout):
    h = heavy("--budget", "0.01")
    text = " ".join(stakeout("report", h.path).stdout.decode().split())
    assert "detail reduced for" in text and "counters for" in text and "switches, too, are counted only" in text
    assert "of the time with more detail only: " in text
    assert "oncpu_ns" in text.split("of the time with more detail only: ")[1].split(" lost ")[0]
    told = json.loads(stakeout("report", "--json", h.path).stdout)["observer"]
    for key in ("budget_s", "detail", "partial", "steps_count"):
        assert told[key] == h.observer[key]
    assert told["reduced_s"] == pytest.approx(sum(v for k, v in h.observer["detail_s"].items() if k != "full"))
    # A recording that was cut off says the same by its intervals.
    cut = h.path.with_name("cut.ndjson")
    cut.write_text("".join(line for line in h.path.read_text().splitlines(True) if '"kind":"total"' not in line))
    told_cut = json.loads(stakeout("report", "--json", cut).stdout)["observer"]
    assert told_cut["steps"] == told["steps"] and told_cut["detail"] == told["detail"]


def test_a_light_agent_keeps_full_detail(stakeout, tmp_path):
    out = tmp_path / "out.ndjson"
    done = stakeout("record", "--budget", "1", "-o", out, "--", PYTHON, "-c", LIGHT)
    assert done.returncode == 0, done.stderr
    observer = Recording(out).total["observer"]
    assert list(observer["detail_s"]) == ["full"] and observer["detail"] == "full"
    assert not {"steps", "estimated", "partial"} & observer.keys()
    assert observer["budget_s"] > 0 and observer["cost_s"]["collector"] > 0
    assert "full detail throughout" in " ".join(done.stdout.decode().split())


@pytest.mark.parametrize("off", ["off", "0"])
def test_off(heavy, stakeout, off):
    h = heavy("--budget", off)
    assert not {"budget_s", "cost_s", "detail", "detail_s", "steps", "estimated", "partial"} & h.observer.keys()
    assert h.observer["records"] >= h.switches
    assert " budget " not in " ".join(stakeout("report", h.path).stdout.decode().split())


def test_without_being_asked(stakeout, tmp_path):
    """There is a budget by default, but none where all allocations were asked for."""
    for options, governed in (((), True), (("--probe", "+heap=full"), False), (("--probe", "+heap=full", "--budget", "5"), True)):
        out = tmp_path / f"out{len(options)}.ndjson"
        assert subprocess.run([stakeout.path, "record", "-q", "-o", out, *options, "--", "sleep", "0.3"]).returncode == 0
        assert ("budget_s" in Recording(out).total["observer"]) == governed
