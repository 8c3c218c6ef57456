# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""Findings on small real programs: each fault is found where it is and nowhere else, and costs what its absence saves.

The programs of faults/ do the same work as `faulty` and as `healthy`; many of them are watched in one recording, those that compute each by itself. What
a fault costs is measured by the programs themselves: the time (CPU, memory) of the one less that of the other.
"""
import contextlib
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from conftest import STAKEOUT, Agents, Recording, Stakeout, line_of, wait_for
from services import pem

sys.path.insert(0, str(Path(__file__).parent))
FAULTS = Path(__file__).parent / "faults"
ROUNDS = 5 if os.environ.get("LONG") else 1
BUSY = 0.03  # of the time some task waited for a CPU
COST = 0.25  # how far an estimate may be off
# Whose waits for a CPU, by the scheduler's books, are left out of what a fault costs. They are the doing of what else runs on the machine, unless they
# are the fault itself, or each of its steps has its share of them.
WAITS = {"apart": ("faulty", "healthy"), "within": (), "fault": ("healthy",)}


@dataclass
class Fault:
    """A program of faults/."""

    program: str
    finding: str
    cost: str = "wall_s"  # what it costs: wall_s, cpu_s or bytes; "": too little to be measured
    also: dict = field(default_factory=dict)  # other names of the same fault, with the reason
    group: str = "quiet"  # programs that are watched together; "": it computes, and is watched by itself, faulty and healthy one after the other
    waits: str = "apart"  # for a CPU: see WAITS
    probes: str = ""  # beyond the usual ones
    quota: float = 0  # of a CPU, that the faulty one has

    def together(self):
        return [f for f in TABLE if f.group == self.group] if self.group else [self]

    def saved(self, said):
        """What its absence saves."""
        faulty, healthy = (said[mode][self.cost] - (said[mode]["runq_s"] if self.cost == "wall_s" and mode in WAITS[self.waits] else 0)
                           for mode in ("faulty", "healthy"))
        return faulty - healthy

    def argv(self, folder, mode, ports):
        how = {".py": ["/usr/bin/python3", FAULTS / self.program], ".js": ["node", FAULTS / self.program], ".c": [folder / "program"]}[Path(self.program).suffix]
        return [*how, mode, json.dumps(ports)]


TABLE = [
    Fault("reuse.py", "connections-not-reused"),
    Fault("reuse.js", "connections-not-reused"),
    Fault("blocked_sleep.py", "event-loop-blocked"),
    Fault("blocked_sleep.js", "event-loop-blocked"),
    Fault("blocked_socket.py", "event-loop-blocked"),
    Fault("pickup.py", "slow-pickup"),
    Fault("slow_peer.py", "slow-first-byte"),
    Fault("stalls.py", "streaming-stalls"),
    Fault("stalls.js", "streaming-stalls"),
    Fault("network.py", "slow-network"),
    Fault("lossy.py", "retransmits"),
    Fault("slow_tool.py", "tools-slow", cost=""),
    Fault("growth.py", "memory-growth", cost="bytes"),
    Fault("churn.py", "allocation-churn", cost="cpu_s", group=""),
    Fault("blocks.c", "small-blocks", cost="cpu_s", group="", probes="+profile,+heap"),
    Fault("collect.py", "gc-pauses", group="", waits="fault"),
    Fault("collect.js", "gc-pauses", group="", waits="fault"),
    Fault("starved.py", "starved-of-cpu", group="", waits="fault", quota=0.1),
    Fault("gil.py", "lock-contention", group=""),
    Fault("threads.py", "too-many-threads", group="", waits="within", also={"lock-contention": "they need the interpreter to begin"}),
    Fault("threads.js", "too-many-threads", group="", waits="within"),
    Fault("burst.py", "queries-one-by-one", waits="within", group="calls"),
    Fault("burst.js", "queries-one-by-one", waits="within", group="calls"),
    Fault("serial.py", "serial-calls", group="calls"),
    Fault("serial.js", "serial-calls", group="calls"),
    Fault("smallwrites.py", "small-writes", group="calls"),
    Fault("smallwrites.js", "small-writes", group="calls"),
    Fault("polling.py", "polling", cost="cpu_s", group=""),
    Fault("polling.js", "polling", cost="cpu_s", group=""),
    Fault("launches.py", "tools-launched-often", group="calls"),
    Fault("failing.py", "tools-failing", cost="", group="calls"),
    Fault("retries.py", "tools-failing", group="calls"),
    Fault("repeats.py", "repeated-requests", group="calls", probes="+dup"),
]


def foremost():
    """In a process that starts, in a session of its own: what else runs on the machine stands back for it."""
    os.nice(-20)
    if os.path.exists("/proc/self/autogroup"):  # then a session's share of the CPUs is not by its processes' nice values
        with open("/proc/self/autogroup", "w", encoding="ascii") as f:
            f.write("-20")


def networks(agents):
    """Networks that are far away, or that lose segments, by TUN devices: their far addresses."""
    far = {}
    for n, (name, options) in enumerate({"far": ["--delay-ms", 20], "lossy": ["--lose", 12]}.items()):
        first, far[name] = (f"198.18.{os.getpid() % 256}.{4 * n + last}" for last in (1, 2))  # RFC 2544: nobody's
        reflector = agents("/usr/bin/python3", FAULTS / "reflector.py", f"{name}{os.getpid()}", first, far[name], *options, stdout=-1, preexec_fn=foremost)
        assert line_of(reflector) == "up\n"
    return far


@contextlib.contextmanager
def quota(share):
    """A cgroup (v1) with so much of a CPU; yields what puts a process that starts into it."""
    group = Path(f"/sys/fs/cgroup/cpu/stakeout-findings-{os.getpid()}")
    if not (group.parent / "cgroup.procs").exists():
        pytest.skip("no cgroup hierarchy cpu of version 1 at /sys/fs/cgroup/cpu")
    group.mkdir()
    (group / "cpu.cfs_period_us").write_text("50000")
    (group / "cpu.cfs_quota_us").write_text(str(int(share * 50000)))

    def enter():
        foremost()
        (group / "cgroup.procs").write_text(str(os.getpid()))

    yield enter
    wait_for("its processes to go", lambda: not (group / "cgroup.procs").read_text())
    group.rmdir()


class Watched:
    """Programs that are watched together, with what they said and what was found of them."""

    def __init__(self, folder, faults):
        self.said, self.found, self.seconds, self.reports, self.busy = {}, {}, {}, [], False
        self.stakeout, agents = Stakeout(folder), Agents()
        try:
            server = agents("/usr/bin/python3", FAULTS / "server.py", "--pem", pem(), stdout=-1, preexec_fn=foremost)
            self.ports = {**json.loads(line_of(server)), **networks(agents)}
            for fault in faults:
                if fault.program.endswith(".c"):
                    subprocess.run(["gcc", "-O1", "-o", folder / "program", FAULTS / fault.program], check=True)
            both = [(fault, mode) for fault in faults for mode in ("faulty", "healthy")]
            for these in [both] if faults[0].group else [[one] for one in both]:
                self.watch(these)
        finally:
            agents.close()

    def watch(self, these):
        out = self.stakeout.folder / f"{len(self.reports)}.ndjson"
        probes = ",".join(sorted({fault.probes for fault, _ in these if fault.probes}))
        with contextlib.ExitStack() as stack:
            agents = stack.enter_context(contextlib.closing(Agents()))
            programs = {}
            for fault, mode in these:
                into = stack.enter_context(quota(fault.quota)) if fault.quota and mode == "faulty" else foremost
                programs[fault.program, mode] = agents(*fault.argv(self.stakeout.folder, mode, self.ports), stdin=-1, stdout=-1, preexec_fn=into)
            for program in programs.values():
                assert line_of(program) == "ready\n"
            observer = self.stakeout.start("record", "-q", "-i", "0.2", "-o", out, "--peer", f"127.0.0.1:{self.ports['model']}=llm/model",
                                           "--peer", f"127.0.0.1:{self.ports['database']}=db/items", *(("--probe", probes) if probes else ()),
                                           "-p", ",".join(str(p.pid) for p in programs.values()), start_new_session=True, preexec_fn=foremost)
            wait_for("the first interval", lambda: observer.poll() is not None or out.exists() and '"interval","seq"' in out.read_text())
            pressed, begin = pressure_s(), time.monotonic()
            for program in programs.values():
                program.stdin.write(b"go\n")
                program.stdin.flush()
            for name, program in programs.items():
                self.said[name] = json.loads(line_of(program))
                assert program.wait() == 0
            self.busy |= pressure_s() - pressed > BUSY * (time.monotonic() - begin)
            _, err = observer.communicate(timeout=100)
            assert observer.returncode == 0, err
            pids = {program.pid: name for name, program in programs.items()}
        lost = Recording(out).total["observer"]["lost"]
        assert not any(lost.values()), lost
        report = json.loads(self.stakeout("report", "--json", out).stdout)
        self.reports.append((report, self.stakeout("report", "--width", "80", out).stdout.decode()))
        self.seconds |= {pids[a["pid"]]: a["observed_s"] for a in report["agents"]}
        for name in programs:
            self.found[name] = [f for f in report["findings"] if pids[f["pid"]] == name]


@pytest.fixture(scope="module", params=range(ROUNDS))
def watched(request, tmp_path_factory):
    seen = {}

    def of(fault):
        key = fault.group or fault.program
        return seen.get(key) or seen.setdefault(key, Watched(tmp_path_factory.mktemp(key), fault.together()))

    return of


def strange(found):
    """It was starved by what else runs on this machine, the other programs of its group among it."""
    return found["finding"] == "starved-of-cpu" and found["subject"] != "its CPU quota"


def pressure_s():
    """Time in which some task of the machine waited for a CPU."""
    with open("/proc/pressure/cpu", encoding="ascii") as f:
        return int(f.read().split()[4].removeprefix("total=")) / 1e6


def names(found):
    return [f["finding"] for f in found]


@pytest.mark.parametrize("fault", TABLE, ids=lambda f: f.program)
def test_fault(watched, fault):
    """It is found, by that name alone, once; the healthy one has nothing; and it costs what its absence saves."""
    seen = watched(fault)
    faulty, healthy = (seen.found[fault.program, mode] for mode in ("faulty", "healthy"))
    if seen.busy:
        healthy = [f for f in healthy if not strange(f)]
        faulty = [f for f in faulty if f["finding"] == fault.finding or not strange(f)]
    assert all(seen.seconds[fault.program, mode] >= 2 for mode in ("faulty", "healthy"))
    assert not healthy, healthy
    assert set(names(faulty)) - set(fault.also) == {fault.finding}, faulty
    (found,) = (f for f in faulty if f["finding"] == fault.finding)
    said = {mode: seen.said[fault.program, mode] for mode in ("faulty", "healthy")}
    assert said["faulty"]["done"] == said["healthy"]["done"]
    for key in ("severity", "title", "evidence", "change", "unless"):
        assert found[key]
    if not fault.cost:
        return
    cost = found["cost_per_minute"][fault.cost] / 60 * seen.seconds[fault.program, "faulty"]
    saved = fault.saved(said)
    print(f"{fault.program}: costs {cost:.3g}, {saved:.3g} saved ({fault.cost})")
    assert cost == pytest.approx(saved, rel=COST), (found, said)


@pytest.mark.parametrize("fault", [f for n, f in enumerate(TABLE) if not f.group or f.together()[0] is f], ids=lambda f: f.group or f.program)
def test_terminal(watched, fault):
    """The report shows them first, within its columns."""
    for report, text in watched(fault).reports:
        head, _, rest = text.partition("\nAgent ")
        assert head.startswith("Findings\n") and rest
        assert all(len(line) <= 80 for line in text.splitlines())
        for found in report["findings"][:12]:
            assert f"{found['severity']}: {found['title']}" in head
