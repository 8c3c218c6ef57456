# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""OpenTelemetry: recordings as OTLP/JSON lines."""
import json
import re
from datetime import datetime

import pytest

import make_recording as make
from conftest import Recording
from otlp_messages import Known, assert_agent, monotonic, read


@pytest.mark.parametrize("intervals", [25, 5], ids=["1s", "5s"])
def test_a_recording(stakeout, intervals):
    """Every ten seconds, and at the end, what its intervals add up to by then."""
    path = make.write(stakeout.folder / "r.ndjson", [make.typical(1, 25.0, 3, name="one"), make.typical(2, 25.0, 4, name="two", pid=77,
                      **make.deep(25.0, 4))], seconds=25.0, intervals=intervals)
    done = stakeout("report", path, "--otlp", "out.jsonl")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    requests, lines = read(stakeout.folder / "out.jsonl"), Recording(path).intervals
    assert [r.intervals for r in requests] == [n * intervals // 25 for n in (10, 20, 25)]
    for r in requests:
        known = {1: Known(), 2: Known()}
        for line in lines[:r.intervals]:
            for d in line["agents"]:
                known[d["id"]].add(d)
        assert_agent(r.agent("one"), known[1])
        assert_agent(r.agent("two"), known[2])
        start = datetime.fromisoformat("2026-01-02T03:04:05.678+00:00").timestamp()
        for key, p in r.agent("one").points.items():
            assert int(p["timeUnixNano"]) == round(start * 1000) * 10**6 + r.intervals * 25 * 10**9 // intervals
            assert "gauge" in r.agent("one").metrics[key[0]] or int(p["startTimeUnixNano"]) == round(start * 1000) * 10**6
    one = requests[-1].agent("one")
    assert one.attributes == {
        "service.name": "one", "service.instance.id": "00000000-0000/4242/1001", "process.pid": 4242,
        "process.command_line": make.typical(1, 1, 1).cmdline, "process.linux.cgroup": "/system.slice/agent.service",
        "host.name": "testhost", "host.arch": "amd64", "stakeout.host.boot_id": "00000000-0000", "os.type": "linux", "os.version": "6.18.0"}
    assert monotonic("process.cpu.time", one) and monotonic("stakeout.forks", one) and "gauge" in one.metrics["stakeout.processes"]
    assert "sum" in one.metrics["process.memory.usage"] and not monotonic("process.memory.usage", one)
    assert one.point("db.client.operation.duration", db__system__name="postgresql", server__address="db.internal", server__port=5432,
                     network__peer__address="10.0.0.5", network__peer__port=5432)
    assert "stakeout.kernel_alloc" not in one.metrics, "its probe was off"
    two = requests[-1].agent("two")
    assert two.value("stakeout.rival.time", {"stakeout.rival.name": "postgres"}) == int(2.1e7 * 25)
    assert two.value("stakeout.heap.alloc_rate") > 0
    assert requests[-1].observer.value("stakeout.observer.lost", stakeout__reason="ring_full") == 0


def test_peaks_are_those_since_the_last_request(stakeout):
    """A gauge tells the present; a peak in any of the ten intervals must not be lost in between."""
    lines = [json.loads(line) for line in make.lines([make.Agent(1)], seconds=20.0, intervals=20, total=False)]
    rss = {4: 900, 9: 100, 14: 700, 19: 200}
    for line in lines[1:]:
        n = rss.get(line["seq"], 50)
        line["agents"][0]["gauges"] = {"rss_bytes": n, "rss_peak_bytes": n + 1}
    (stakeout.folder / "r.ndjson").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert stakeout("report", "r.ndjson", "--otlp", "out.jsonl").returncode == 0
    seen = [(r.agent().value("process.memory.usage"), r.agent().value("stakeout.rss_peak")) for r in read(stakeout.folder / "out.jsonl")]
    assert seen == [(100, 901), (200, 701)]


def test_hostile_texts(stakeout):
    """Names and command lines that are no text come out as valid, harmless strings."""
    name, command = 'a"b\\c\n\x1b[31m{}\u2028é', "x\t'y' \x7fz"
    peers = [{"peer": '"evil"\n:80', "name": 'h"\x1b]0;t\x07', "class": "http", "counters": {"exchanges": 1}, "values": {"exchange_ns": [5]}}]
    path = make.write(stakeout.folder / "r.ndjson", [make.Agent(1, name=name, cmdline=command, peers=peers, tools={"\x1b[1mt": {"counters": {"execs": 1}}})])
    done = stakeout("report", path, "--otlp", "-")
    assert done.returncode == 0
    (stakeout.folder / "out.jsonl").write_bytes(done.stdout)
    for request in read(stakeout.folder / "out.jsonl"):
        for value in re.findall(r'"stringValue":"((?:[^"\\]|\\.)*)"', done.stdout.decode()):
            assert not re.search(r"[\x00-\x1f\x7f]|\\u00[01]|\\n|\\t", value), value
        assert request.agent().attributes["service.name"].startswith('a"b\\c?')


@pytest.mark.parametrize("args, what", [
    (["-", "--otlp", "o"], "reads the recording twice"), (["r", "r", "--otlp", "o"], "one recording"),
    (["r", "--otlp", "o", "--json"], "exclude each other"), (["r", "--otlp"], "needs a value")])
def test_bad_usage(stakeout, args, what):
    make.write(stakeout.folder / "r", [make.Agent(1)])
    done = stakeout("report", *args)
    assert done.returncode == 2 and what in done.stderr.decode() and not (stakeout.folder / "o").exists()


def test_output_is_whole_or_not_there(stakeout):
    make.write(stakeout.folder / "r", [make.typical(1, 10.0, 1)])
    (stakeout.folder / "there").write_text("mine")
    done = stakeout("report", "r", "--otlp", "there")
    assert done.returncode == 5 and b"--force" in done.stderr and (stakeout.folder / "there").read_text() == "mine"
    assert stakeout("report", "r", "--otlp", "there", "--force").returncode == 0 and read(stakeout.folder / "there")
    done = stakeout("report", "r", "--otlp", "/dev/full", "--force")
    assert done.returncode == 5 and b"No space left" in done.stderr
    limited = stakeout("report", "r", "--otlp", "cut", wrap=["sh", "-c", 'ulimit -f 8; trap "" XFSZ; exec "$@"', "sh"])
    assert limited.returncode == 5 and not (stakeout.folder / "cut").exists()
