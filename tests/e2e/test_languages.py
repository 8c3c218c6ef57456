# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""The same scenario as an agent in several languages, each in its manner of waiting: the same ledger.

Blocking sockets, two kinds of event loop, a static program without a libc to look into, and threads that work while the main one waits.
"""
import json
import os
import shutil
import subprocess
from itertools import combinations
from pathlib import Path

import pytest
from conftest import STAKEOUT, Agents, Recording, line_of, wait_for
from scripted.servers import Servers

PYTHON = "/usr/bin/python3"
SCRIPTED = Path(__file__).with_name("scripted")
ROUNDS = 2
CALLS = {"llm": 3, "db": 5, "cache": 3}  # a round
STATES = ("net.llm", "net.db", "net.cache", "sleep", "child", "running")
LANGUAGES = ("python", "asyncio", "node", "rust", "c")


def build(folder, *command):
    done = subprocess.run([*command, "-o", folder / "scenario"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [folder / "scenario"]


def start_of(name, folder):
    """The command that runs the scenario, None where its compiler or interpreter is missing."""
    needed = {"node": "node", "rust": "rustc", "c": "gcc"}.get(name)
    if needed and not shutil.which(needed):
        return None
    if name == "python":
        return [PYTHON, "-B", SCRIPTED / "scenario.py", "sync"]
    if name == "asyncio":
        return [PYTHON, "-B", SCRIPTED / "scenario.py", "asyncio"]
    if name == "node":
        return ["node", SCRIPTED / "scenario.js"]
    if name == "rust":
        return build(folder, "rustc", "--edition", "2021", "-O", "-C", "target-feature=+crt-static", SCRIPTED / "scenario.rs")
    return build(folder, "gcc", "-O2", "-D_GNU_SOURCE", "-pthread", SCRIPTED / "scenario.c")


class Run:
    """One agent: its own clock's account and what the recording says of it."""

    def __init__(self, name, command, folder, agents, servers):
        self.name, self.path = name, folder / "truth.json"
        ports = [servers.ports[c] for c in CALLS]
        self.process = agents(*command, self.path, *ports, ROUNDS, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert line_of(self.process) == "ready\n"

    def delay_s(self):
        """How long the main thread waited for a CPU in its life."""
        return int(Path(f"/proc/{self.process.pid}/schedstat").read_text().split()[1]) / 1e9

    def go(self):
        begin_s = self.delay_s()
        self.process.stdin.write(b"go\n")
        self.process.stdin.flush()
        assert line_of(self.process) == "done\n"
        self.truth = json.loads(self.path.read_text())
        # Programs can't tell their waits from what they waited for a CPU behind each.
        self.room_s = 0.05 * self.truth["all"] + self.delay_s() - begin_s + self.truth.get("workers_delay", 0)

    def end(self):
        self.process.stdin.close()
        assert self.process.wait(60) == 0

    def read(self, recording):
        agent = next(a["id"] for a in recording.agents if a["pid"] == self.process.pid)
        self.total = next(a for a in recording.total["agents"] if a["id"] == agent)

    def ledger(self, view):
        """Computing, and waiting for a CPU to do so, are one: it is the machine that decides between them."""
        ledger = dict(self.total["ledger"][view])
        ledger["running"] = ledger.get("running", 0) + ledger.pop("runnable", 0)
        return ledger


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """One recording; the programs run one after the other, so as not to wait for each other's CPU time."""
    top, agents = tmp_path_factory.mktemp("languages"), Agents()
    servers, out = Servers(top), top / "out.ndjson"
    try:
        started = []
        for name in LANGUAGES:
            folder = top / name
            folder.mkdir()
            command = start_of(name, folder)
            if command:
                started.append(Run(name, command, folder, agents, servers))
        observer = agents(STAKEOUT, "record", "-q", "--budget", "off", "-i", "0.5", "-o", out, *servers.peer_options(), "-p",
                          ",".join(str(r.process.pid) for r in started), stderr=subprocess.PIPE, text=True)
        wait_for("the recording", lambda: observer.poll() is not None or out.exists() and '"header"' in out.read_text())
        for run in started:
            run.go()
            run.end()
        err = observer.communicate(timeout=120)[1]
        assert observer.returncode == 0, err
        recording = Recording(out)
        for run in started:
            run.read(recording)
    finally:
        agents.close()
        servers.close()
    return {run.name: run for run in started}


def run_of(runs, name):
    if name not in runs:
        pytest.skip(f"no {dict(node='node', rust='rustc', c='gcc')[name]} here")
    return runs[name]


def differences(ledger, truth, room_s):
    return {state: f"{ledger.get(state, 0):.4f} against {truth[state]:.4f}" for state in STATES
            if abs(ledger.get(state, 0) - truth[state]) > room_s}


def check_main_thread_of_workers(run):
    ledger, truth = run.ledger("main_s"), run.truth
    by_workers = truth["running"] + sum(truth["net." + c] for c in CALLS)
    assert ledger["lock"] == pytest.approx(by_workers, abs=run.room_s)
    for state in ("sleep", "child"):
        assert ledger[state] == pytest.approx(truth[state], abs=run.room_s)


@pytest.mark.parametrize("name", LANGUAGES)
@pytest.mark.parametrize("view", ["main_s", "critical_s"])
def test_ledger_is_the_programs_own(runs, name, view):
    """Within 5 % of the scenario's length. Where threads make the calls, only the agent as a whole waits for them."""
    run = run_of(runs, name)
    if (name, view) == ("c", "main_s"):
        check_main_thread_of_workers(run)
        return
    assert not differences(run.ledger(view), run.truth, run.room_s)


def test_ledgers_are_the_same(runs):
    for a, b in combinations(runs.values(), 2):
        found = differences(a.ledger("critical_s"), b.ledger("critical_s"), max(a.room_s, b.room_s))
        assert not found, (a.name, b.name)


@pytest.mark.parametrize("name", LANGUAGES)
def test_no_call_is_missing(runs, name):
    """What the ledger's small parts can't show: the look-ups are less than its room."""
    run = run_of(runs, name)
    seen = {p["name"]: p["counters"]["exchanges"] for p in run.total["peers"]}
    assert seen == {f"the-{c}": ROUNDS * n for c, n in CALLS.items()}
    assert run.ledger("critical_s")["net.cache"] > 0.5 * run.truth["net.cache"]


@pytest.mark.parametrize("name", LANGUAGES)
def test_nothing_is_unaccounted_for(runs, name):
    """Before the first order and at the end there is little but waiting for it; what the scenario has not, the ledger has not."""
    run = run_of(runs, name)
    ledger = run.ledger("critical_s")
    allowed = {*STATES, "input", "idle"} | ({"lock"} if name == "c" else set())
    assert sum(s for state, s in ledger.items() if state not in allowed) < 0.05 * run.truth["all"], ledger
    assert sum(run.total["ledger"]["critical_s"].values()) == pytest.approx(run.total["observed_s"], rel=0.001)
