# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""The ledger closes: in every interval its states sum to the time observed, whatever the agent does or does not do.

And it is true: a scripted agent that goes through every state, in an order and with lengths that a seed tells, takes its own time.
LONG=1 runs 20 seeds instead of 3.
"""
import json
import os
import pty
import signal
import subprocess
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from conftest import STAKEOUT, Agents, Recording, line_of, wait_for
from scripted.servers import Servers

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
        done = subprocess.run([STAKEOUT, "record", "-q", "--budget", "off", "-d", "5", "-i", str(INTERVAL_S), "-o", out, "-p",
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


def check_not_negative(value):
    if isinstance(value, dict):
        for key, v in value.items():
            if key != "offset":  # of a histogram's first bucket
                check_not_negative(v)
    elif isinstance(value, list):
        for v in value:
            check_not_negative(v)
    elif isinstance(value, (int, float)):
        assert value >= 0


@pytest.mark.parametrize("name", SCRIPTS)
def test_nothing_is_negative(recording, name):
    for _, a in [*recording.observed[name].intervals, (0, recording.observed[name].total)]:
        check_not_negative(a)


@pytest.mark.parametrize("name", SCRIPTS)
def test_all_threads_together_are_at_least_the_main_one(recording, name):
    for _, a in recording.observed[name].intervals:
        main, threads = a["ledger"]["main_s"], a["ledger"]["threads_s"]
        assert all(threads.get(state, 0) >= s - 1e-6 for state, s in main.items())


def test_threads_are_all_there(recording):
    """Four threads all the time, children now and then."""
    for wall_s, a in recording.observed["mixed"].intervals[1:]:
        assert sum(a["ledger"]["threads_s"].values()) >= 4 * wall_s * 0.999


@pytest.mark.parametrize("name, state", [("sleeps", "sleep"), ("polls", "sleep"), ("waits", "idle"), ("stopped", "other"),
                                         ("stopped_busy", "other")])
def test_one_long_wait_shows_in_every_interval(recording, name, state):
    """Also one that began before the recording, and ends in none of its intervals."""
    shares = recording.observed[name].main(state)
    runnable = recording.observed[name].main("runnable")
    assert all(share + queued > 0.95 for share, queued in zip(shares, runnable)), shares
    if name != "polls":
        assert all(share + queued > 0.99 for share, queued in zip(shares, runnable)), shares


@pytest.mark.parametrize("script", [POLL, WAIT])
def test_polls_without_the_sock_probe(tmp_path, agents, script):
    """What was outstanding nobody knows then."""
    agent, out = agents(PYTHON, "-c", script), tmp_path / "out.ndjson"
    wait_for("its poll", lambda: state_of(agent.pid) == "S")
    subprocess.run([STAKEOUT, "record", "-q", "--budget", "off", "-d", "1", "-o", out, "--probe=-sock", "-p", str(agent.pid)], check=True, timeout=120)
    total = Observed(Recording(out), agent.pid).total
    ledger = total["ledger"]["main_s"]
    assert ledger["poll"] + ledger.get("runnable", 0) > 0.95 * total["observed_s"]
    assert not {"idle", "sleep"} & ledger.keys()


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
    observer = subprocess.Popen([STAKEOUT, "record", "-q", "--budget", "off", "-d", "2", "-i", "0.25", "-o", out, "-p", str(agent.pid)],
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


# The scripted agent.

SEEDS = range(1, 21 if os.environ.get("LONG") else 4)
TOGETHER = 3  # agents in one recording
AGENT = Path(__file__).with_name("scripted") / "agent.py"


class Scripted:
    """What became of one seed: the agent's own account, its tools', and the recording of it."""

    def __init__(self, seed, folder, agents, servers):
        self.folder, self.who = folder, f"agent{seed}"
        folder.mkdir()
        settings = json.dumps({"who": self.who, "seed": seed, "ports": servers.ports, "unix": servers.unix, "folder": str(folder)})
        ours, theirs = pty.openpty() if seed % 2 else reversed(os.pipe())
        self.process = agents(PYTHON, "-B", AGENT, settings, stdin=theirs, stdout=subprocess.PIPE)
        os.close(theirs)
        self.stdin = servers.stdins[self.who] = ours
        assert line_of(self.process) == "ready\n"

    def go(self):
        os.write(self.stdin, b"go\n")

    def end(self):
        self.sums = json.loads(line_of(self.process))
        self.phases = json.loads((self.folder / "phases.json").read_text())
        self.tools = defaultdict(list)
        for path in self.folder.glob("tool-*.json"):
            self.tools[path.name.split("-")[1]] += json.loads(path.read_text())

    def elsewhere_s(self):
        """How long other threads, and tools at rest, ran or wanted to: meanwhile the main thread may have waited for something else than
        its phase says. That is a matter of milliseconds, but for a machine with more to do than it has CPUs."""
        tools_ns = sum(phase["cpu_ns"] + phase["delay_ns"] for phases in self.tools.values() for phase in phases
                       if phase["how"] in ("a read", "a poll"))
        return (self.sums["elsewhere_ns"] + tools_ns) / 1e9

    def read(self, recording):
        self.observed = Observed(recording, self.process.pid)


SHORT_NS = 40e6  # what is shorter is something between phases, and has no room of its own


def waited_s(phase):
    return (phase["wall_ns"] - phase["cpu_ns"] - phase["delay_ns"]) / 1e9


@pytest.fixture(scope="module")
def scripted(tmp_path_factory):
    """By seed; those that run together are recorded at the first one's turn."""
    done = {}

    def record(seeds):
        folder, agents = tmp_path_factory.mktemp("scripted"), Agents()
        servers, out = Servers(folder), folder / "out.ndjson"
        try:
            group = [Scripted(seed, folder / str(seed), agents, servers) for seed in seeds]
            # An interval is kept open for as long again, which no wait of the script outlasts: then it is known what each was for.
            observer = agents(STAKEOUT, "record", "-q", "--budget", "off", "-i", str(INTERVAL_S), "-o", out, *servers.peer_options(), "-p",
                              ",".join(str(s.process.pid) for s in group), stderr=subprocess.PIPE, text=True)
            wait_for("the recording", lambda: observer.poll() is not None or out.exists() and '"header"' in out.read_text())
            for s in group:
                s.go()
            for s in group:
                s.end()
            observer.send_signal(signal.SIGINT)
            err = observer.communicate(timeout=120)[1]
            assert observer.returncode == 0, err
            recording = Recording(out)
            for seed, s in zip(seeds, group):
                s.read(recording)
                done[seed] = s
        finally:
            agents.close()
            servers.close()
            for fd in servers.stdins.values():
                os.close(fd)

    def of(seed):
        if seed not in done:
            first = SEEDS[0] + (seed - SEEDS[0]) // TOGETHER * TOGETHER
            record([s for s in SEEDS if first <= s < first + TOGETHER])
        return done[seed]
    return of


class Books:
    """Seconds and number of phases by state."""

    def __init__(self):
        self.s, self.phases = Counter(), Counter()

    def add(self, state, seconds, phases=1):
        self.s[state] += seconds
        self.phases[state] += phases

    def compare(self, ledger, elsewhere_s=0.0, but=()):
        """2 % or 5 ms a phase may be missing or too much; a state that never was has the room of one phase.
        elsewhere_s: see there; what else may have happened in all states `but` these."""
        rows = []
        for state in sorted({*self.s, *ledger}):
            truth, seen = self.s[state], ledger.get(state, 0)
            room = max(0.02 * truth, 0.005 * max(self.phases[state], 1)) + (elsewhere_s if state not in but else 0)
            rows.append((abs(seen - truth) <= room, f"{state:12} truth {truth:8.4f} ledger {seen:8.4f} {1000 * (seen - truth):+8.1f} ms"
                                                    f"  (of {1000 * room:.0f})"))
        assert all(good for good, _ in rows), "\n".join(["", *("  " + row if good else "! " + row for good, row in rows)])


def truth_of_main(s):
    """The script's own account, who waited for a line before its first phase and behind its last."""
    books = Books()
    books.add("input", s.observed.total["observed_s"] - (s.sums["wall_ns"] + s.sums["late_ns"]) / 1e9)
    books.add("running", s.sums["cpu_ns"] / 1e9)
    books.add("runnable", (s.sums["delay_ns"] + s.sums["late_ns"]) / 1e9)
    for phase in s.phases:
        # What a loop neither ran nor waited for a CPU, interrupts or the hypervisor took.
        books.add(phase["state"] if phase["state"] != "running" else "runnable", waited_s(phase), phase["wall_ns"] > SHORT_NS)
    return books


@pytest.mark.parametrize("seed", SEEDS)
def test_script_accounts_for_itself(scripted, seed):
    """Whether the truth is one: its phases are all the time that there was, and go through all states."""
    s = scripted(seed)
    books = truth_of_main(s)
    assert sum(books.s.values()) == pytest.approx(s.observed.total["observed_s"], rel=0.005)
    states = {line["state"] for line in s.phases}
    assert states == {"running", "net.llm", "net.db", "net.cache", "net.vector", "net.http", "net.other", "disk", "lock", "pipe", "child",
                      "sleep", "input", "idle", "other"} | ({"fault"} if "userfaultfd" not in s.sums["left_out"] else set())
    assert s.tools.keys() == {"so_fetch", "so_rest", "so_pair", "so_loop"}


@pytest.mark.parametrize("seed", SEEDS)
def test_every_state_is_what_the_script_did(scripted, seed):
    s = scripted(seed)
    but = ("running", "runnable", "disk", "lock", "input", "fault", "other", "net.vector", "net.http", "net.other")
    truth_of_main(s).compare(s.observed.total["ledger"]["main_s"], s.elsewhere_s(), but)


@pytest.mark.parametrize("seed", SEEDS)
def test_scripted_intervals_sum_to_the_wall_clock(scripted, seed):
    """All views but the threads' in every interval, the last and shorter one included."""
    s = scripted(seed)
    total = s.observed.total
    for view in ("main_s", "critical_s"):
        for wall_s, a in s.observed.intervals:
            assert sum(a["ledger"][view].values()) == pytest.approx(a["observed_s"], rel=0.001, abs=1e-6), view
        assert sum(total["ledger"][view].values()) == pytest.approx(total["observed_s"], rel=0.001), view
        for state, seconds in total["ledger"][view].items():
            assert sum(a["ledger"][view].get(state, 0) for _, a in s.observed.intervals) == pytest.approx(seconds, abs=1e-6), state
    for wall_s, a in s.observed.intervals[1:-1]:
        check_not_negative(a)
        assert a["observed_s"] == pytest.approx(wall_s, rel=0.001)


@pytest.mark.parametrize("seed", SEEDS)
def test_agent_as_a_whole(scripted, seed):
    """When no thread ran: the longest outstanding exchange of any process, also while the main thread waited for that thread or tool."""
    s = scripted(seed)
    books = truth_of_main(s)
    for phase in s.phases:
        if "critical" in phase:
            books.add(phase["state"], -waited_s(phase), 0)
            books.add(phase["critical"], waited_s(phase))
    for name, state in (("so_fetch", "net.db"), ("so_loop", "net.vector")):
        for phase in s.tools[name]:
            if phase["state"] == "net":
                books.add("child", -waited_s(phase), 0)
                books.add(state, waited_s(phase))
    # How much of its life each tool ran or waited for a CPU, is not known: one sum.
    ledger = dict(s.observed.total["ledger"]["critical_s"])
    for state in ("running", "runnable"):
        books.add("child", books.s.pop(state), books.phases.pop(state))
        ledger["child"] = ledger.get("child", 0) + ledger.pop(state, 0)
    books.compare(ledger, s.elsewhere_s())


@pytest.mark.parametrize("seed", SEEDS)
def test_tools_have_ledgers_of_their_own(scripted, seed):
    s = scripted(seed)
    seen = {t["name"]: t["ledger"]["main_s"] for t in s.observed.total["tools"]}
    assert {"so_fetch", "so_rest", "so_pair", "so_loop", "sleep"} <= seen.keys()
    for name, states in (("so_fetch", {"net": "net.db"}), ("so_loop", {"net": "net.vector", "idle": "idle", "sleep": "sleep"}),
                         ("so_rest", {"rest": "pipe", "sleep": "sleep"}), ("so_pair", {"sleep": "sleep"})):
        books = Books()
        for phase in s.tools[name]:
            if phase["state"] in states:
                books.add(states[phase["state"]], waited_s(phase))
        either_s = sum(waited_s(phase) for phase in s.tools[name] if phase["state"] == "either")
        books.compare({state: seconds for state, seconds in seen[name].items() if state in states.values()}, either_s)
