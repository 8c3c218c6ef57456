# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""Trends on real programs: a service that gets slower half way is found when its client's own clock says, and its healthy twin is steady."""
import json
import re
import sys
from datetime import datetime
from pathlib import Path

import pytest
from conftest import Agents, Stakeout, line_of, wait_for
from services import pem

sys.path.insert(0, str(Path(__file__).parent))
FAULTS = Path(__file__).parent / "faults"
INTERVAL_S = 0.2


class Watched:
    """Both programs in one recording, with what they said."""

    def __init__(self, folder):
        agents, stakeout = Agents(), Stakeout(folder)
        self.said, programs, self.out = {}, {}, folder / "out.ndjson"
        try:
            server = agents("/usr/bin/python3", FAULTS / "server.py", "--pem", pem(), stdout=-1)
            ports = json.loads(line_of(server))
            for mode in ("faulty", "healthy"):
                programs[mode] = agents("/usr/bin/python3", FAULTS / "slower.py", mode, json.dumps(ports), stdin=-1, stdout=-1)
            for program in programs.values():
                assert line_of(program) == "ready\n"
            observer = stakeout.start("record", "-q", "-i", str(INTERVAL_S), "-o", self.out, "--peer", f"127.0.0.1:{ports['model']}=llm/model",
                                      "-p", ",".join(str(p.pid) for p in programs.values()))
            wait_for("the first interval", lambda: observer.poll() is not None or self.out.exists() and '"interval","seq"' in self.out.read_text())
            for program in programs.values():
                program.stdin.write(b"go\n")
                program.stdin.flush()
            for mode, program in programs.items():
                self.said[mode] = json.loads(line_of(program))
                assert program.wait() == 0
            _, err = observer.communicate(timeout=100)
            assert observer.returncode == 0, err
            pids = {program.pid: mode for mode, program in programs.items()}
        finally:
            agents.close()
        self.report = json.loads(stakeout("report", "--json", self.out).stdout)
        self.text = stakeout("report", "--width", "80", self.out).stdout.decode()
        self.modes = {a["id"]: pids[a["pid"]] for a in self.report["agents"]}

    def trend(self, mode, measure):
        (trend,) = (t for t in self.report["trends"] if self.modes[t["agent"]] == mode and t["subject"] == "llm" and t["measure"] == measure)
        return trend


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    return Watched(tmp_path_factory.mktemp("trends"))


def test_slower(watched):
    """It is degrading, changed within two intervals of when its calls did, from what they took to twice that."""
    trend = watched.trend("faulty", "exchange_p50")
    assert trend["verdict"] == "degrading"
    (change,) = trend["changes"]
    at = datetime.fromisoformat(change["at"].replace("Z", "+00:00")).timestamp()
    assert at == pytest.approx(watched.said["faulty"]["slower_at"], abs=2 * INTERVAL_S)
    assert change["before"] == pytest.approx(0.030, rel=0.2)
    assert change["after"] == pytest.approx(0.060, rel=0.2)
    assert trend["first"] == change["before"] and trend["last"] == change["after"]


def test_healthy(watched):
    """The same work without the fault, on the same machine at the same time."""
    trend = watched.trend("healthy", "exchange_p50")
    assert trend["verdict"] == "steady", trend
    assert not trend["changes"] and not trend["odd"] and trend["miss"] is None
    assert trend["points"] > 20


def test_terminal(watched):
    """The report tells of the change in its columns, before the agents, and not of what is steady."""
    head, _, _ = watched.text.partition("\nAgent ")
    _, title, section = head.partition("\nTrends\n")
    assert title and all(len(line) <= 80 for line in section.splitlines())
    words = " ".join(section.split())
    (faulty,) = (agent for agent, mode in watched.modes.items() if mode == "faulty")
    # of its percentiles, which go together, the one that changed most: which one that is, is chance
    assert re.search(rf"degrading {faulty}: slower\.py, llm (exchange|ttfb)_p\d\d, at [\d.]+ s \(\d\d:\d\d:\d\dZ\) from [\d.]+ ms to [\d.]+ ms", words), words


def test_short_recording(watched, tmp_path):
    """Of a few intervals nothing is said: a verdict needs 20 points."""
    lines = watched.out.read_text().splitlines(keepends=True)
    short = tmp_path / "short.ndjson"
    short.write_text("".join(lines[:12]))
    stakeout = Stakeout(tmp_path)
    report = json.loads(stakeout("report", "--json", short).stdout)
    assert report["trends"]
    assert {t["verdict"] for t in report["trends"]} == {"insufficient data"}
    assert "\nTrends\n" not in stakeout("report", short).stdout.decode()


def test_one_agent(watched, tmp_path):
    """--agent shows that agent's trends only."""
    (healthy,) = (agent for agent, mode in watched.modes.items() if mode == "healthy")
    report = json.loads(Stakeout(tmp_path)("report", "--json", "--agent", str(healthy), watched.out).stdout)
    assert {t["agent"] for t in report["trends"]} == {healthy}
