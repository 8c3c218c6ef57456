# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""The demo agent keeps books of its own: what stakeout says of it must agree."""
import json
import os
import subprocess

import pytest
from conftest import ROOT, STAKEOUT, Recording, wait_for

DEMO = str(ROOT / "tools/demo")
PYTHON = "/usr/bin/python3"
REFUSED = 3


@pytest.fixture(scope="module")
def services():
    """Ports of the mock services, which are no descendants of what is observed."""
    done = subprocess.run([PYTHON, f"{DEMO}/services.py", "--daemon", "--while-pid", str(os.getpid())],
                          stdout=subprocess.PIPE, check=True)
    return done.stdout.decode().strip()


class Observed:
    def __init__(self, recording, books, report):
        self.recording, self.books, self.report = recording, books, report
        (self.agent,) = recording.total["agents"]

    def need(self, probe):
        state = next(p for p in self.recording.header["probes"] if p["name"] == probe)
        if state["state"] == "unavailable":
            pytest.skip(f"kernel: {probe}: {state['why']}")

    def counter(self, name):
        return self.agent["counters"].get(name, 0)

    def hist_count(self, name):
        return self.agent["hist"].get(name, {"count": 0})["count"]


@pytest.fixture(scope="module")
def observed(services, tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    recording, books = folder / "demo.ndjson", folder / "agent.json"
    done = subprocess.run(
        [STAKEOUT, "record", "--budget", "off", "-o", recording, "--", PYTHON, f"{DEMO}/agent.py", "--services", services, "--steps", "8",
         "--refused", str(REFUSED), "--model-delay-ms", "60", "--cpu-ms", "40", "--json", books],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return Observed(Recording(recording), json.loads(books.read_text()), done.stdout)


def test_nothing_lost(observed):
    assert not any(observed.recording.total["observer"]["lost"].values())


def test_forks_and_execs_are_exact(observed):
    observed.need("proc")
    assert observed.counter("forks") == observed.books["forks"]
    assert observed.counter("execs") == observed.books["execs"] + 1  # the one by which the agent itself began


def test_every_tool_is_named_and_counted(observed):
    observed.need("proc")
    ran = {tool["name"]: tool["hist"]["tool_ns"]["count"] for tool in observed.agent["tools"]}
    assert ran == observed.books["tools"]
    assert observed.hist_count("launch_ns") == observed.books["forks"]


def test_tools_took_no_longer_than_the_agent_waited_for_them(observed):
    observed.need("proc")
    shell = next(tool for tool in observed.agent["tools"] if tool["name"] == "sh")
    assert 0 < shell["hist"]["tool_ns"]["sum"] < observed.books["timings"]["tool"]["sum_ns"]


def test_connects_are_exact(observed):
    observed.need("sock")
    assert observed.counter("connects") == sum(observed.books["connects"].values())
    assert observed.counter("connects_failed") == observed.books["connects_failed"] == REFUSED


def test_connect_time_is_within_what_the_agent_measured(observed):
    """The agent's clock starts before the system call and stops in a later turn of its event loop."""
    observed.need("sock")
    connect = observed.agent["hist"]["connect_ns"]
    assert connect["count"] == sum(observed.books["connects"].values())
    assert 0 < connect["sum"] < observed.books["timings"]["connect"]["sum_ns"]


def test_bytes_are_exact(observed):
    """Also those by which the event loop wakes itself through a socket pair of its own."""
    observed.need("sock")
    assert observed.counter("sent_bytes") == sum(observed.books["sent_bytes"].values())
    assert observed.counter("received_bytes") == sum(observed.books["received_bytes"].values())


def test_cpu_time_agrees_with_getrusage(observed):
    """The agent asks before its interpreter winds up, hence the tolerance: that took 40 ms on a busy machine."""
    observed.need("sched")
    books = sum(sum(observed.books[key].values()) for key in ("cpu_user_s", "cpu_system_s"))
    seen = (observed.counter("cpu_user_ns") + observed.counter("cpu_system_ns")) / 1e9
    assert seen == pytest.approx(books, rel=0.05, abs=0.06)
    assert observed.agent["hist"]["oncpu_ns"]["sum"] / 1e9 == pytest.approx(books, rel=0.05, abs=0.06)


def test_minor_faults_agree_with_getrusage(observed):
    """Getrusage knows those before the agent's first exec, which are not ours to count, and not those after it was asked."""
    observed.need("mem")
    books = sum(observed.books["faults_minor"].values())
    assert observed.counter("faults_minor") == pytest.approx(books, rel=0.02)


def test_ledger_of_every_interval_closes(observed):
    observed.need("sched")
    whole = observed.recording.intervals[1:-1]
    assert whole
    for interval in whole:
        (agent,) = interval["agents"]
        wall_s = interval["end_s"] - interval["start_s"] if agent["alive"] else agent["observed_s"]  # it may end just before an interval does
        assert sum(agent["ledger"]["main_s"].values()) == pytest.approx(wall_s, rel=0.001)


def test_report_is_printed_at_the_end(observed):
    assert "python3" in observed.report
    for name in observed.books["tools"]:
        assert name in observed.report


def test_interrupted_demo_still_prints_its_books(services):
    agent = subprocess.Popen([PYTHON, f"{DEMO}/agent.py", "--services", services, "--seconds", "60", "--raw"],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    # The loop's own socket pair and three more: it handles signals, and some connections are in its books.
    wait_for("the agent at work", lambda: agent.poll() is not None or sockets(agent.pid) >= 5)
    agent.terminate()
    out, err = agent.communicate(timeout=60)
    assert (agent.returncode, err) == (0, "")
    books = json.loads(out)
    assert books["interrupted"] and books["timings"]
    for timing in books["timings"].values():
        assert (timing["count"], timing["sum_ns"]) == (len(timing["raw_ns"]), sum(timing["raw_ns"]))


def test_demo_starts_services_that_end_with_it():
    done = subprocess.run([PYTHON, f"{DEMO}/agent.py", "--steps", "1", "--model-delay-ms", "1", "--token-gap-ms", "0"],
                          stdout=subprocess.PIPE, check=True, timeout=120)
    books = json.loads(done.stdout)
    assert books["steps"] == 1 and books["tools_failed"] == 0
    assert set(books["connects"]) == {"model", "db", "cache"}
    mark = str(books["pid"]).encode()
    wait_for("the end of the services", lambda: not any(b"services.py" in line and mark in line.split(b"\0") for line in command_lines()))


def command_lines():
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                yield f.read()
        except OSError:
            pass


def sockets(pid):
    try:
        links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    except OSError:  # it is gone, or closed one meanwhile
        return 0
    return sum(link.startswith("socket:") for link in links)

