# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""What the daemon says is found of its agents now, in metrics: the same as the report of what it recorded up to then."""
import json
import os
import subprocess

import pytest
from conftest import HANG_S, STAKEOUT, wait_for
from prometheus_client import parser as text_parser
from prometheus_client.openmetrics import parser as open_parser
from prometheus_stack import Serve, free_port, get

PYTHON = "/usr/bin/python3"
OPENMETRICS = {"Accept": "application/openmetrics-text;version=1.0.0"}
COSTS = {"cost_seconds_per_minute": "wall_s", "cpu_seconds_per_minute": "cpu_s", "memory_bytes_per_minute": "bytes"}
OTLP_COSTS = {"cost": "wall_s", "cpu": "cpu_s", "memory": "bytes"}
SEVERITIES = ["info", "warning", "critical"]

# Its tool fails each time, and a thread looks without end whether there is something to do.
CLUMSY = """
import select, subprocess, sys, threading
threading.Thread(target=lambda: [select.select([], [], [], 0) for _ in iter(int, 1)], daemon=True).start()
while not select.select([sys.stdin], [], [], 0.02)[0]:
    subprocess.run(["/usr/bin/tail", "/nonexistent"], stderr=subprocess.DEVNULL)
"""


@pytest.fixture
def clumsy(agents):
    return agents(PYTHON, "-c", CLUMSY, stdin=subprocess.PIPE)


@pytest.fixture
def serve(tmp_path):
    started = []

    def start(agent, more=""):
        address = f"127.0.0.1:{free_port()}"
        started.append(Serve(tmp_path, f"serve-{len(started)}", (
            f"interval: 500ms\nbudget: off\ntargets: [{{pid: {agent.pid}, name: 'the \"x\"'}}]\nprometheus: {{listen: '{address}'}}\n"
            f"otlp: {{file: {tmp_path}/otlp.jsonl, interval: 500ms}}\nrecordings: {{directory: {tmp_path}/recordings, compress: false}}\n{more}"), address))
        return started[-1].ready()

    yield start
    for s in started:
        s.kill()


def series(daemon, headers=(), parse=text_parser):
    """{name: [(labels, value)]} of the page."""
    found = {}
    for family in parse.text_string_to_metric_families(get(daemon.url(), headers)[2].decode()):
        for s in family.samples:
            found.setdefault(s.name, []).append((s.labels, s.value))
    return found


def of_page(page):
    """{(finding, subject): {"severity", "wall_s", ..}}"""
    told = {(labels["finding"], labels["subject"]): {"severity": SEVERITIES[int(value) - 1]} for labels, value in page.get("stakeout_finding_severity", [])}
    for name, key in COSTS.items():
        for labels, value in page.get(f"stakeout_finding_{name}", []):
            assert labels["agent"] == 'the "x"'
            told[labels["finding"], labels["subject"]][key] = value
    return told


def of_otlp(line):
    """The same of a request, or None when that says nothing of findings."""
    told, number = {}, None
    for resource in json.loads(line)["resourceMetrics"]:
        for metric in resource["scopeMetrics"][0]["metrics"]:
            for point in metric.get("gauge", {}).get("dataPoints", []) if metric["name"].startswith("stakeout.finding") else []:
                at = {a["key"]: a["value"]["stringValue"] for a in point["attributes"]} if "attributes" in point else {}
                key = at.get("stakeout.finding.name"), at.get("stakeout.finding.subject")
                if metric["name"] == "stakeout.findings":
                    number = int(point["asInt"])
                elif metric["name"] == "stakeout.finding.severity":
                    told[key] = {"severity": SEVERITIES[int(point["asInt"]) - 1]}
                else:
                    told[key][OTLP_COSTS[metric["name"].removeprefix("stakeout.finding.")]] = point["asDouble"]
    assert number is None or number == len(told)
    return told if number is not None else None


class Reports:
    """What reports say of the daemon's recording, as it was after each interval."""

    def __init__(self, folder):
        (path,) = (folder / "recordings").iterdir()
        lines = path.read_text().splitlines(keepends=True)
        self.ends, self.found = [n for n, line in enumerate(lines) if '"kind":"interval"' in line], {}
        self.lines, self.file = lines, folder / "part.ndjson"

    def after(self, intervals):
        if intervals not in self.found:
            self.file.write_text("".join(self.lines[:self.ends[intervals - 1] + 1]))
            done = subprocess.run([STAKEOUT, "report", "--json", self.file], stdout=subprocess.PIPE, check=True)
            self.found[intervals] = {(f["finding"], f["subject"]): {"severity": f["severity"], **{k: v for k, v in f["cost_per_minute"].items() if v > 0}}
                                     for f in json.loads(done.stdout)["findings"]}
        return self.found[intervals]

    def have(self, told, intervals):
        """Whether it is that of an interval of the last 5 s, which is how often an agent is judged."""
        return any(same(told, self.after(n)) for n in range(intervals, max(intervals - 11, 0), -1))


def same(told, found):
    return told.keys() == found.keys() and all(
        told[k].keys() == found[k].keys() and all(v == found[k][at] or v == pytest.approx(found[k][at], rel=1e-9) for at, v in told[k].items() if at != "severity")
        and told[k]["severity"] == found[k]["severity"] for k in told)


def test_findings_are_those_of_the_report(serve, clumsy, tmp_path):
    daemon, pages = serve(clumsy), []

    def page():
        daemon.alive()
        pages.append(series(daemon))
        return of_page(pages[-1])

    wait_for("both faults", lambda: {"tools-failing", "polling"} <= {name for name, _ in page()})
    failing = next(v for (name, subject), v in of_page(pages[-1]).items() if name == "tools-failing" and subject == "tool tail")
    assert failing["severity"] in ("warning", "critical") and failing["wall_s"] > 0
    assert next(v for (name, _), v in of_page(pages[-1]).items() if name == "polling")["cpu_s"] > 0
    assert pages[-1]["stakeout_findings"][0][1] == len(of_page(pages[-1]))
    assert of_page(series(daemon, OPENMETRICS, open_parser)).keys() >= {("tools-failing", "tool tail")}
    clumsy.communicate(b"\n", timeout=HANG_S)
    wait_for("its end", lambda: not page() and [value for _, value in pages[-1]["stakeout_agent_alive"]] == [0])
    assert "stakeout_findings" not in pages[-1]
    assert daemon.end() == 0
    reports = Reports(tmp_path)
    judged = [p for p in pages if "stakeout_findings" in p]
    assert judged
    for p in judged:
        assert reports.have(of_page(p), int(p["stakeout_intervals_total"][0][1])), of_page(p)
    requests = [of_otlp(line) for line in (tmp_path / "otlp.jsonl").read_text().splitlines()]
    assert any(told and ("tools-failing", "tool tail") in told for told in requests)
    assert requests[0] is None and requests[-1] is None  # not judged yet; ended
    for told in requests:
        assert told is None or any(same(told, reports.after(n)) for n in range(1, len(reports.ends) + 1)), told


def notices(folder):
    path = folder / "notices"
    return [a for line in path.read_text().splitlines() for a in json.loads(line)["alerts"]] if path.exists() else []


def test_notices(serve, clumsy, tmp_path):
    """Severe ones are told, once, also when the daemon was killed meanwhile, and that they are over when the agent has ended."""
    alerts = f"alerts: {{findings: warning, file: {tmp_path}/notices, state: {tmp_path}/state.json}}\n"
    daemon = serve(clumsy, alerts)
    of = lambda rule, status: [a for a in notices(tmp_path) if (a["rule"], a["status"]) == (rule, status)]
    wait_for("a notice", lambda: daemon.alive() and of("finding:tools-failing", "firing"))
    (first,) = of("finding:tools-failing", "firing")
    assert first["subject"] == "tool tail" and first["severity"] in ("warning", "critical") and first["unit"] == "seconds" and first["value"] > 0

    def on_page():
        page = series(daemon)
        severe = {f"finding:{name}" for (name, _), f in of_page(page).items() if f["severity"] != "info"}
        return {"finding:tools-failing"} <= severe <= {labels["rule"] for labels, _ in page.get("stakeout_alert_firing", [])}

    wait_for("all of them to fire on the page", on_page)
    wait_for("the state", lambda: "finding:tools-failing" in (tmp_path / "state.json").read_text())
    daemon.kill()
    reports = Reports(tmp_path)
    found = [reports.after(n).get(("tools-failing", "tool tail"), {}) for n in range(1, len(reports.ends) + 1)]
    assert any(max(f.get("wall_s", 0), f.get("cpu_s", 0)) == pytest.approx(first["value"], rel=1e-9) for f in found)
    daemon = serve(clumsy, alerts)
    wait_for("it to be found again", lambda: any(name == "tools-failing" for name, _ in of_page(series(daemon))))
    clumsy.communicate(b"\n", timeout=HANG_S)
    (last,) = wait_for("its end", lambda: of("finding:tools-failing", "resolved"))
    assert last["since"] == first["since"] and last["until"] > first["since"] and len(of("finding:tools-failing", "firing")) == 1
    assert daemon.end() == 0
    assert {a["severity"] for a in notices(tmp_path)} <= {"warning", "critical"}


def test_findings_can_be_turned_off(serve, clumsy, tmp_path):
    daemon = serve(clumsy, "findings: false\n")
    # long after it would have been judged
    page = wait_for("some intervals", lambda: next((p for p in [series(daemon)] if p["stakeout_intervals_total"][0][1] >= 8), None))
    assert page["stakeout_exits_failed_total"][0][1] > 0
    assert not [name for name in page if "finding" in name]
    assert daemon.end() == 0
    assert "stakeout.finding" not in (tmp_path / "otlp.jsonl").read_text()
