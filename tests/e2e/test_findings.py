# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""Findings on small real programs: each fault is found where it is and nowhere else, and costs what its absence saves.

The programs of faults/ do the same work as `faulty` and as `healthy`; many of them are watched in one recording. What a fault costs is measured by the
programs themselves: the time (CPU, memory) of the one less that of the other.
"""
import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from conftest import STAKEOUT, Agents, Recording, Stakeout, line_of, wait_for
from services import pem

sys.path.insert(0, str(Path(__file__).parent))
FAULTS = Path(__file__).parent / "faults"
ROUNDS = 5 if os.environ.get("LONG") else 1
COST = 0.25  # how far an estimate may be off


@dataclass
class Fault:
    """A program of faults/."""

    program: str
    finding: str
    cost: str = "wall"  # what it costs: wall, cpu, or "" for what the program can't tell
    also: dict = field(default_factory=dict)  # other names of the same fault, with the reason
    group: str = "quiet"  # programs that are watched together

    def argv(self, mode, ports):
        return ["node" if self.program.endswith(".js") else "/usr/bin/python3", FAULTS / self.program, mode, json.dumps(ports)]


TABLE = [
    Fault("reuse.py", "connections-not-reused"),
    Fault("reuse.js", "connections-not-reused"),
]
GROUPS = sorted({fault.group for fault in TABLE})


class Watched:
    """A group's programs, with what they said and what was found of them."""

    def __init__(self, folder, group):
        agents, self.said, self.found = Agents(), {}, {}
        folder.mkdir()
        stakeout = Stakeout(folder)
        try:
            server = agents("/usr/bin/python3", FAULTS / "server.py", "--pem", pem(), stdout=-1)
            ports = json.loads(line_of(server))
            programs = {}
            for fault in (f for f in TABLE if f.group == group):
                for mode in ("faulty", "healthy"):
                    programs[fault.program, mode] = agents(*fault.argv(mode, ports), stdin=-1, stdout=-1)
            for program in programs.values():
                assert line_of(program) == "ready\n"
            out = folder / "out.ndjson"
            observer = stakeout.start("record", "-q", "-i", "0.2", "-o", out, "--peer", f"127.0.0.1:{ports['model']}=llm/model",
                                      "-p", ",".join(str(p.pid) for p in programs.values()))
            wait_for("the first interval", lambda: observer.poll() is not None or out.exists() and '"interval","seq"' in out.read_text())
            for program in programs.values():
                program.stdin.write(b"go\n")
                program.stdin.flush()
            for name, program in programs.items():
                self.said[name] = json.loads(line_of(program))
                assert program.wait() == 0
            _, err = observer.communicate(timeout=100)
            assert observer.returncode == 0, err
            pids = {program.pid: name for name, program in programs.items()}
        finally:
            agents.close()
        assert not any(Recording(out).total["observer"]["lost"].values())
        report = stakeout("report", "--json", out)
        self.report = json.loads(report.stdout)
        self.text = stakeout("report", "--width", "80", out).stdout.decode()
        self.seconds = {pids[a["pid"]]: a["observed_s"] for a in self.report["agents"]}
        for name in programs:
            self.found[name] = [f for f in self.report["findings"] if pids[f["pid"]] == name]


@pytest.fixture(scope="module", params=range(ROUNDS))
def watched(request, tmp_path_factory):
    folder, seen = tmp_path_factory.mktemp("findings"), {}
    return lambda group: seen.get(group) or seen.setdefault(group, Watched(folder / group, group))


def names(found):
    return [f["finding"] for f in found]


@pytest.mark.parametrize("fault", TABLE, ids=lambda f: f.program)
def test_fault(watched, fault):
    """It is found, by that name alone, once; the healthy one has nothing; and it costs what its absence saves."""
    seen = watched(fault.group)
    faulty, healthy = (seen.found[fault.program, mode] for mode in ("faulty", "healthy"))
    assert not healthy, healthy
    assert set(names(faulty)) - set(fault.also) == {fault.finding}, faulty
    (found,) = (f for f in faulty if f["finding"] == fault.finding)
    said = {mode: seen.said[fault.program, mode] for mode in ("faulty", "healthy")}
    assert said["faulty"]["done"] == said["healthy"]["done"]
    if fault.cost:
        cost = found["cost_per_minute"][f"{fault.cost}_s"] / 60 * seen.seconds[fault.program, "faulty"]
        saved = said["faulty"][f"{fault.cost}_s"] - said["healthy"][f"{fault.cost}_s"]
        assert cost == pytest.approx(saved, rel=COST), (found, said)
    for key in ("severity", "title", "evidence", "change", "unless"):
        assert found[key]


@pytest.mark.parametrize("group", GROUPS)
def test_terminal(watched, group):
    """The report shows them first, within its columns."""
    seen = watched(group)
    head, _, rest = seen.text.partition("\nAgent ")
    assert head.startswith("Findings\n") and rest
    assert all(len(line) <= 80 for line in seen.text.splitlines())
    for found in seen.report["findings"][:12]:
        assert f"{found['severity']}: {found['title']}" in head
