# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""What `stakeout report` makes of a recording's intervals for other programs (--csv, --hlog, --trace), read by Python's csv and json, by hdr-histogram-js and by
@tracerbench/trace-model, and compared with the recording itself and with --json."""
import bisect
import csv
import datetime
import gzip
import io
import json
import math
import os
import re
import resource
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import make_recording as make
from conftest import ROOT, Recording, node, peak_kib, wait_for

PLAIN = {"PATH": os.environ["PATH"], "LC_ALL": "C", "TERM": "xterm"}
HOSTILE = 'e"vil,\x1b[2J;\r\n\t=\x07\u202ename'
HOSTILE_SHOWN = 'e"vil,?[2J;???=????name'  # the override is three bytes that are not taken
FORMATS = ["csv", "hlog", "trace"]
METRICS = re.findall(r'^METRIC\(\w+, "(\w+)", (\w+), (\w+),', (ROOT / "include" / "metrics.def").read_text(), re.M)
TOLERANCE = 1 / 1024  # of HdrHistogram's buckets


def report(stakeout, *args, status=0, err=b"", **kwargs):
    done = stakeout("report", *args, env=PLAIN, **kwargs)
    assert done.returncode == status, done.stderr
    if status:
        lines = done.stderr.decode().splitlines()
        assert len(lines) == 1 and lines[0].startswith("stakeout: ") and lines[0].isprintable(), done.stderr
        return lines[0]
    assert re.search(err, done.stderr) if err else done.stderr == b"", done.stderr
    return done.stdout


def table(stakeout, path, *args):
    text = report(stakeout, path, "--csv", *args).decode()
    rows = list(csv.reader(io.StringIO(text), strict=True))
    assert len(text.splitlines()) == len(rows) and {len(r) for r in rows} == {len(rows[0])}
    assert len(set(rows[0])) == len(rows[0]) and all(re.fullmatch(r"[a-z]\w*", name) for name in rows[0])
    return [dict(zip(rows[0], r)) for r in rows[1:]]


def figures(stakeout, path):
    return json.loads(report(stakeout, path, "--json"))


def number(cell):
    return float(cell) if "." in cell else int(cell) if cell else 0


def edges(hist, index):
    """The least and the largest integer of a bucket."""
    base = 2 ** (2 ** -hist["scale"])
    return math.floor(base ** index * (1 + 1e-12)) + 1, math.floor(base ** (index + 1) * (1 + 1e-12))


def bucket_edges(hist):
    """(values up to and in it, its least and its largest, within [min, max]) of each bucket that has any."""
    seen, found = hist["zero_count"], [(hist["zero_count"], 0, 0)] if hist["zero_count"] else []
    for index, count in enumerate(hist["bucket_counts"], hist["offset"]):
        seen += count
        if count:
            low, high = edges(hist, index)
            found.append((seen, max(low, hist["min"]), min(high, hist["max"])))
    return found


def bucket_at(hist, wanted, found=None):
    """The edges of the bucket that has the value of this rank (from 1)."""
    found = found or bucket_edges(hist)
    return found[bisect.bisect_left(found, (wanted,))][1:]


def near(got, wanted):
    return math.isclose(got, wanted, rel_tol=1e-9, abs_tol=1e-8)


@pytest.fixture(scope="module")
def three_agents():
    """Two of them called the same; one of them ends."""
    agents = [make.typical(n, 12.0, n, pid=4242 + n, **more) for n, more in enumerate([{}, {"exit_code": 0}, {"name": "other", **make.deep(12.0, 3)}])]
    return "".join(line + "\n" for line in make.lines(agents, seconds=12.0, intervals=12, lost={"ring_full": 24}))


@pytest.fixture
def path(stakeout, three_agents):
    (stakeout.folder / "r.ndjson").write_text(three_agents)
    return str(stakeout.folder / "r.ndjson")


# ---- csv ----

def sums_are(rows, agent):
    """The sums of an agent's rows are what the report says of the whole time."""
    for name, total in agent["counters"].items():
        assert sum(number(r[name]) for r in rows) == total, name
    for name, total in agent["hist"].items():
        assert sum(number(r[f"{name}_count"]) for r in rows) == total["count"]
        assert sum(number(r[f"{name}_sum"]) for r in rows) == total["sum"]
        assert max(number(r[f"{name}_max"]) for r in rows) == total["max"]


def test_csv_rows_add_up_to_the_totals(stakeout, path):
    rows = table(stakeout, path)
    recording = Recording(path)
    assert len(rows) == 3 * 12
    for agent in figures(stakeout, path)["agents"]:
        mine = [r for r in rows if int(r["agent_id"]) == agent["id"]]
        assert [float(r["start_s"]) for r in mine] == [float(n) for n in range(12)]
        assert {(r["agent"], int(r["pid"]), r["host"]) for r in mine} == {(agent["name"], agent["pid"], "testhost")}
        sums_are(mine, agent)
        for name, value in agent["gauges"].items():
            assert number(mine[-1][name]) == value
        for part in ("main", "threads", "critical"):
            for state, total in agent["ledger"][f"{part}_s"].items():
                assert near(sum(number(r[f"{part}_{state.replace('.', '_')}_s"]) for r in mine), total), state
        for name, total in agent["concurrency"].items():
            assert near(sum(number(r[f"{name}_outstanding_s"]) for r in mine), total["outstanding_s"])
            assert near(sum(number(r[f"{name}_busy_s"]) for r in mine), total["busy_s"])
        assert [r["alive"] for r in mine] == ["1"] * 11 + ["1" if agent["alive"] else "0"]
        # each row is its interval
        for row, interval in zip(mine, recording.intervals):
            (data,) = [a for a in interval["agents"] if a["id"] == agent["id"]]
            assert {name: number(row[name]) for name in data["counters"]} == data["counters"]
            for name, hist in data["hist"].items():
                assert number(row[f"{name}_count"]) == hist["count"]
                for column, q in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
                    low, high = bucket_at(hist, math.ceil(q * hist["count"] - 1e-9))
                    assert low <= number(row[f"{name}_{column}"]) <= high, (name, column)
    start = datetime.datetime.fromisoformat(rows[0]["time"].replace("Z", "+00:00"))
    assert rows[0]["time"] == "2026-01-02T03:04:05.678Z" and rows[-1]["time"] == "2026-01-02T03:04:16.678Z" and start.microsecond == 678000
    assert {r["lost"] for r in rows} == {"2"} and {r["detail"] for r in rows} == {"full"}


def test_csv_of_peers_and_tools_adds_up(stakeout, path):
    peers, tools = table(stakeout, path, "--rows", "peers"), table(stakeout, path, "--rows=tools")
    for agent in figures(stakeout, path)["agents"]:
        for peer in agent["peers"]:
            mine = [r for r in peers if int(r["agent_id"]) == agent["id"] and
                    (r["peer"], r["name"], r["side"]) == (peer["peer"], peer["name"], peer["side"])]
            assert mine and {r["class"] for r in mine} == {peer["class"]} and {r["multiplexed"] for r in mine} == {str(int(peer["multiplexed"]))}
            sums_are(mine, peer)
            assert sum(number(r["summed"]) for r in mine) == peer["summed"]
        for tool in agent["tools"]:
            mine = [r for r in tools if int(r["agent_id"]) == agent["id"] and r["tool"] == tool["name"]]
            sums_are(mine, tool)
            for state, total in tool["ledger"]["main_s"].items():
                assert near(sum(number(r[f"main_{state.replace('.', '_')}_s"]) for r in mine), total)
    assert len(peers) == sum(len(a["peers"]) for i in Recording(path).intervals for a in i["agents"])
    assert len(tools) == sum(len(a["tools"]) for i in Recording(path).intervals for a in i["agents"])


def test_csv_of_the_observer(stakeout, path):
    rows, whole = table(stakeout, path, "--rows", "observer"), figures(stakeout, path)["observer"]
    assert len(rows) == 12
    assert near(sum(float(r["cpu_s"]) for r in rows), whole["cpu_s"]) and near(sum(float(r["bpf_s"]) for r in rows), whole["bpf_s"])
    assert sum(int(r["records"]) for r in rows) == whole["records"] and sum(int(r["lost"]) for r in rows) == whole["lost_sum"] == 24
    assert {r["lost_reasons"] for r in rows} == {"ring_full=2"} and {r["budget_s"] for r in rows} == {""}


def test_csv_has_a_column_for_each_metric(stakeout, path):
    empty = make.write(stakeout.folder / "empty.ndjson", [], intervals=1)
    header = report(stakeout, empty, "--csv").decode().splitlines()
    assert len(header) == 1 and header[0].split(",") == list(table(stakeout, path)[0]), "the columns are the same for all recordings"
    for name, _, kind in METRICS:
        wanted = [f"{name}_{figure}" for figure in ("count", "sum", "p50", "p90", "p99", "max")] if kind == "HIST" else [name]
        assert set(wanted) <= set(header[0].split(","))


def test_csv_what_was_not_measured_is_empty(stakeout):
    probes = [{"name": p, "state": "off" if p == "sock" else "on", "why": ""} for p in [*make.PROBES, "heap"]]
    path = make.write(stakeout.folder / "r.ndjson", [make.Agent(1, values={"oncpu_ns": [5]})], intervals=1, probes=probes)
    (row,) = table(stakeout, path)
    assert (row["connects"], row["exchange_ns_count"], row["exchange_ns_p50"], row["outstanding_max"]) == ("", "", "", "")
    assert (row["forks"], row["runq_ns_count"], row["runq_ns_p50"], row["runq_ns_max"]) == ("0", "0", "", "")
    assert (row["oncpu_ns_p50"], row["oncpu_ns_max"]) == ("5", "5")
    assert row["heap_allocs"] == row["heap_live_bytes"] == "", "a sampled heap counts no allocations"


@pytest.mark.parametrize("name, shown", [(HOSTILE, HOSTILE_SHOWN), ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"), ("+1", "'+1"), ("-x", "'-x"), ("@sum", "'@sum"),
                                         ("\t=1", "?=1"), ("\u00e4\u6f22", "\u00e4\u6f22"), ('"', '"'), (",", ","), ("", ""), (" =1 ", " =1 "), ("a=b", "a=b"), ("\ud7ff\u0085", "\ud7ff??")])
def test_csv_names_are_harmless(stakeout, name, shown):
    peers = [{"peer": name or "x", "name": name, "class": "db", "counters": {"connects": 2}}]
    agent = make.Agent(1, name=name, peers=peers, tools={name: {"counters": {"cpu_user_ns": 7}}})
    path = make.write(stakeout.folder / "r.ndjson", [agent], intervals=2, host=name)
    for rows, column in (("agents", "agent"), ("peers", "name"), ("tools", "tool"), ("observer", "host")):
        raw = report(stakeout, path, "--csv", "--rows", rows)
        assert not re.search(rb"[\x00-\x09\x0b-\x1f\x7f]", raw)
        assert [r[column] for r in table(stakeout, path, "--rows", rows)] == [shown] * 2


def test_csv_name_that_is_not_utf8(stakeout):
    path = make.write(stakeout.folder / "r.ndjson", [make.Agent(1, name="NAME")], intervals=1)
    Path(path).write_bytes(Path(path).read_bytes().replace(b"NAME", b"a\\udcff"))
    for option in ("--csv", "--hlog=-", "--trace=-"):
        stakeout("report", path, option).stdout.decode()


def test_csv_word_after_the_option(stakeout, path):
    whole = report(stakeout, path, "--csv")
    assert report(stakeout, "--csv", path) == report(stakeout, path, "--csv", "-") == report(stakeout, path, "--csv=-") == whole
    assert report(stakeout, path, "--csv", "out.csv") == report(stakeout, path, "--csv=table") == report(stakeout, "--csv", "o.csv.gz", path) == b""
    assert (stakeout.folder / "out.csv").read_bytes() == (stakeout.folder / "table").read_bytes() == whole
    assert gzip.decompress((stakeout.folder / "o.csv.gz").read_bytes()) == whole
    assert stakeout.files() == ["o.csv.gz", "out.csv", "r.ndjson", "table"]


# ---- hlog ----

def hlog(stakeout, path, *args):
    report(stakeout, path, "--hlog", "out.hlog", "--force", *args)
    return node("hlog.cjs", stakeout.folder / "out.hlog")["lines"]


def hists_of(interval, names):
    """{tag: histogram} of an interval; several peers or tools with one name have several."""
    for a in interval["agents"]:
        parts = [("", a["hist"])]
        parts += [(f"/{'served' if p['side'] == 'server' else 'peer'}/{p['name'] or p['peer']}", p["hist"]) for p in a["peers"]]
        parts += [(f"/tool/{t['name']}", t["hist"]) for t in a["tools"]]
        for part, hists in parts:
            for metric, h in hists.items():
                yield f"{names[a['id']]}{part}/{metric}", h


def agrees(line, h):
    """What the reader found in a line is the recording's histogram, as near as both kinds of buckets allow."""
    assert line["count"] == h["count"] == sum(n for *_, n in line["values"])
    assert h["max"] <= line["max"] <= h["max"] * (1 + TOLERANCE)
    for p in (50, 90, 99, 100):
        low, high = bucket_at(h, math.ceil(p / 100 * h["count"] - 1e-9))
        assert low * (1 - TOLERANCE) <= line["quantiles"][str(p)] <= high * (1 + TOLERANCE), (line["tag"], p)
    # all of them: the reader's values in order, against our buckets in order
    seen, found = 0, bucket_edges(h)
    for lowest, highest, n in line["values"]:
        for wanted in {seen + 1, seen + n}:
            low, high = bucket_at(h, wanted, found)
            assert lowest <= high and highest >= low, "ranges overlap: the value lies in both"
        seen += n


def test_hlog_as_another_reader_finds_it(stakeout, path):
    lines, names = hlog(stakeout, path, "--to", "2"), {0: "demo", 1: "demo-1", 2: "other"}
    wanted = [(i, tag, h) for i in Recording(path).intervals[:2] for tag, h in hists_of(i, names)]
    assert len(lines) == len(wanted) > 300
    assert [line["start_ms"] for line in lines] == sorted(line["start_ms"] for line in lines)
    lines.sort(key=lambda line: (line["start_ms"], line["tag"]))
    wanted.sort(key=lambda w: (w[0]["seq"], w[1]))
    start = datetime.datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=datetime.timezone.utc).timestamp() * 1000
    for line, (interval, tag, h) in zip(lines, wanted):
        assert line["tag"] == tag
        assert abs(line["start_ms"] - start - interval["start_s"] * 1000) < 1 and abs(line["end_ms"] - start - interval["end_s"] * 1000) < 1
        agrees(line, h)


@pytest.mark.parametrize("values", [[0], [0, 0, 1], [1], [1, 2, 3, 1023, 1024, 2047, 2048, 2049, 4095, 4096], [7] * 1000, [2 ** k for k in range(50)], [2 ** k + 1 for k in range(40)],
                                    [2 ** 46 - 1, 0], list(range(1, 3000)), [10 ** 9, 10 ** 9 + 1]], ids=lambda v: f"{len(v)} up to {max(v)}")
def test_hlog_of_known_values(stakeout, values):
    path = make.write(stakeout.folder / "r.ndjson", [make.Agent(1, values={"runq_ns": values})], intervals=1)
    (line,) = hlog(stakeout, path)
    agrees(line, make.hist(values))
    if len(set(values)) <= 2 or max(values) < 90:  # small values, and the extremes, are kept as they are
        assert {lowest for lowest, *_ in line["values"]} == {v - v % max(1, 2 ** (v.bit_length() - 11)) for v in values}


def test_hlog_of_many_values(stakeout):
    path = make.write(stakeout.folder / "r.ndjson", [make.Agent(1, values={"runq_ns": [5, 1000, 0]})], intervals=1, total=False)
    text = Path(path).read_text()
    n = 2 ** 33
    text = text.replace('"bucket_counts": [1,', f'"bucket_counts": [{n},').replace('"count": 3', f'"count": {n + 2}')
    Path(path).write_text(text)
    report(stakeout, path, "--hlog", "out.hlog", err=b"without its total")
    (line,) = node("hlog.cjs", stakeout.folder / "out.hlog")["lines"]
    assert line["count"] == n + 2 and line["values"][1] == [5, 5, n]


def test_hlog_names_are_harmless(stakeout):
    peers = [{"peer": HOSTILE, "name": HOSTILE, "values": {"exchange_ns": [9]}, "counters": {"exchanges": 1}}]
    agents = [make.Agent(i, name=name, values={"runq_ns": [i + 1]}, peers=peers, tools={HOSTILE: {"values": {"tool_ns": [4]}}})
              for i, name in enumerate([HOSTILE, HOSTILE, "a/b", "a_b", "a_b-3", "", "#x", "x" * 500])]
    path = make.write(stakeout.folder / "r.ndjson", agents, intervals=1, host=HOSTILE)
    lines = hlog(stakeout, path)
    text = (stakeout.folder / "out.hlog").read_bytes()
    assert not re.search(rb"[\x00-\x09\x0b-\x1f\x7f]", text)
    for line in text.decode().split("\n")[:-1]:
        assert line[0] in '#"' or re.fullmatch(r"Tag=[^\s,]+,[\d.]+,[\d.]+,[\d.]+,[A-Za-z0-9+/]+=*", line), line
    own = [line for line in lines if line["tag"].endswith("/runq_ns") and line["tag"].count("/") == 1]
    assert [line["values"][0][0] for line in own] == list(range(1, 9)) and len({line["tag"] for line in own}) == 8
    assert len(lines) == 3 * 8


# ---- trace ----

def trace(stakeout, path, *args, **kwargs):
    out = report(stakeout, path, "--trace", "-", *args, **kwargs)
    whole = json.loads(out)
    rules(whole["traceEvents"])
    return whole["traceEvents"]


def rules(events):
    """What the trace event format asks for."""
    named, tracks = set(), {}
    for e in events:
        assert {"ph", "name", "cat", "pid", "tid", "ts", "args"} <= set(e) and e["ph"] in "MXCi"
        assert isinstance(e["ts"], int) and e["ts"] >= 0 and isinstance(e["pid"], int) and isinstance(e["tid"], int)
        if e["ph"] == "M":
            named.add((e["name"], e["pid"], e["tid"] if e["name"].startswith("thread") else None))
        else:
            assert ("process_name", e["pid"], None) in named and ("thread_name", e["pid"], e["tid"]) in named, "named before it is used"
        if e["ph"] == "C":
            assert e["args"] and all(isinstance(v, (int, float)) and v >= 0 for v in e["args"].values())
        if e["ph"] == "i":
            assert e["s"] in "gp"
        if e["ph"] == "X":
            assert isinstance(e["dur"], int) and e["dur"] > 0
            assert tracks.get(e["tid"], 0) <= e["ts"], "slices of a track don't overlap"
            tracks[e["tid"]] = e["ts"] + e["dur"]


def process(events, name):
    """The number of the (n-th) process with this name."""
    return [e["pid"] for e in events if e["name"] == "process_name" and e["args"]["name"] == name]


def track(events, pid, name):
    (tid,) = [e["tid"] for e in events if e["name"] == "thread_name" and e["pid"] == pid and e["args"]["name"] == name]
    return [e for e in events if e["ph"] == "X" and e["tid"] == tid]


def counter(events, pid, name):
    return [(e["ts"], e["args"]) for e in events if e["ph"] == "C" and e["pid"] == pid and e["name"] == name]


def test_trace_has_the_ledger_and_the_metrics(stakeout, path):
    events, recording = trace(stakeout, path), Recording(path)
    for agent in figures(stakeout, path)["agents"]:
        (pid,) = process(events, f"{agent['name']} (pid {agent['pid']})")
        for part, name in (("main", "main thread, mostly"), ("critical", "whole agent, mostly")):
            slices = track(events, pid, name)
            assert [(e["ts"], e["dur"]) for e in slices] == [(n * 10 ** 6, 10 ** 6) for n in range(12)]
            for e in slices:
                assert e["args"][e["name"]] == max(e["args"].values())
            for state, total in agent["ledger"][f"{part}_s"].items():
                assert near(sum(e["args"].get(state, 0) for e in slices), total)
            shares = counter(events, pid, "main thread %" if part == "main" else "whole agent %")
            assert len(shares) == 13 and not any(shares[-1][1].values()) and shares[-1][0] == 12 * 10 ** 6
            for (ts, args), e in zip(shares, slices):
                assert ts == e["ts"] and abs(sum(args.values()) - 100) < 0.02
                assert all(abs(args[s] - 100 * e["args"].get(s, 0) / sum(e["args"].values())) < 0.001 for s in args)
        for name, _, kind in METRICS:
            told = counter(events, pid, name)
            if told:
                assert not any(told[-1][1].values()), "in the end nothing is told any more"
            if kind == "COUNTER":
                assert abs(sum(args["per_s"] for _, args in told) - agent["counters"].get(name, 0)) <= 0.5 * 12
            elif kind == "HIST":
                for interval in recording.intervals:
                    h = next(a for a in interval["agents"] if a["id"] == agent["id"])["hist"].get(name)
                    args = dict(told).get(interval["start_s"] * 10 ** 6, {"per_s": 0})
                    assert args["per_s"] == (h["count"] if h else 0)
                    for key, q in (("p50", 0.5), ("p99", 0.99)) if h else ():
                        low, high = bucket_at(h, math.ceil(q * h["count"] - 1e-9))
                        assert low <= args[key] <= high
                    assert not h or args["max"] == h["max"]
        for tool in agent["tools"]:
            slices = track(events, pid, tool["name"])
            assert sum(e["args"]["ended"] for e in slices) == tool["runs"] - tool["live"] and sum(e["args"]["failed"] for e in slices) == tool["failed"]
            assert near(sum(e["args"]["cpu_s"] for e in slices), tool["cpu"]["user_s"] + tool["cpu"]["system_s"])
        for peer in agent["peers"]:
            name = ("serving " if peer["side"] == "server" else "peer ") + " ".join(filter(None, [peer["name"], peer["peer"]])) + " ns"
            assert sum(args["per_s"] for _, args in counter(events, pid, name)) == peer["exchanges"]
    instants = [(e["name"], e["ts"]) for e in events if e["ph"] == "i"]
    assert instants.count(("ended", 12 * 10 ** 6)) == 1
    assert [ts for name, ts in instants if name == "records lost"] == [n * 10 ** 6 for n in range(12)]
    assert {e["args"]["note"] for e in events if e["name"] == "note"} == set(make.deep(1, 1)["notes"])


def test_trace_as_another_reader_finds_it(stakeout, path):
    report(stakeout, path, "--trace", "t.json.gz")
    model = node("trace.cjs", stakeout.folder / "t.json.gz")
    assert (model["start"], model["end"]) == (0, 12 * 10 ** 6)
    assert [p["name"] for p in model["processes"]] == ["demo (pid 4242)", "demo (pid 4243)", "other (pid 4244)", "stakeout itself"]
    for p in model["processes"][:3]:
        assert [t["name"] for t in p["threads"]] == ["events", "main thread, mostly", "whole agent, mostly", "sh", "grep", "sort"]
        assert p["labels"].startswith("python3 tools/demo/agent.py")
        for t in p["threads"]:
            slices = [e for e in t["events"] if e["ph"] == "X"]
            assert not any(e["nested"] for e in slices) and len(slices) == (12 if t["name"] != "events" else 0)
            assert all(a["end"] == b["start"] for a, b in zip(slices, slices[1:]))


def test_trace_of_steps_gaps_and_agents_that_go(stakeout):
    lines = [json.loads(line) for line in make.lines([make.Agent(1, name="stays", ledger={"running": 4.0}, counters={"forks": 40}),
                                                      make.Agent(2, name="goes", ledger={"idle": 4.0}, counters={"forks": 80})], seconds=4.0, intervals=4, total=False)]
    header, one, two, three, four = lines
    two["observer"].update({"budget_s": 0.01, "cost_s": {"bpf": 0.02, "traps": 0, "collector": 0.01}, "detail": "summed", "detail_s": {"full": 0.5, "summed": 0.5},
                            "steps_count": 1, "steps": [{"at_s": 1.25, "from": "full", "to": "summed", "why": "beyond"}]})
    two["agents"].pop()
    four["seq"] = 7
    path = stakeout.folder / "r.ndjson"
    path.write_text("".join(json.dumps(line) + "\n" for line in (header, one, two, three, four)))
    events = trace(stakeout, path, err=b"intervals missing")
    goes, again = process(events, "goes (pid 4242)")
    (stays,) = process(events, "stays (pid 4242)")
    assert counter(events, goes, "forks") == [(0, {"per_s": 20}), (1000000, {"per_s": 0})]
    assert [ts for ts, _ in counter(events, again, "forks")] == [2000000, 3000000, 3000000, 4000000]
    assert counter(events, stays, "forks") == [(n, {"per_s": v}) for n, v in ((0, 10), (1000000, 10), (2000000, 10), (3000000, 0), (3000000, 10), (4000000, 0))]
    instants = {e["name"]: (e["ts"], e["args"]) for e in events if e["ph"] == "i"}
    assert instants["detail: full to summed"] == (1250000, {"why": "beyond"})
    assert instants["intervals missing"] == (3000000, {"count": 4})
    assert "4 intervals missing" in instants["recording"][1]["note"]


def test_trace_names_are_harmless_and_many(stakeout):
    tools = {f"tool{n}": {"values": {"tool_ns": [5]}} for n in range(40)}
    peers = [{"peer": f"{HOSTILE}{n}", "name": HOSTILE, "values": {"exchange_ns": [9]}, "counters": {"exchanges": 1}} for n in range(40)]
    path = make.write(stakeout.folder / "r.ndjson", [make.Agent(i, name=HOSTILE, cmdline=HOSTILE, tools={**tools, HOSTILE: {"values": {"tool_ns": [5]}}}, peers=peers) for i in (1, 2)],
                      intervals=1, host=HOSTILE)
    raw = report(stakeout, path, "--trace", "-")
    assert not re.search(rb"[\x00-\x09\x0b-\x1f\x7f]", raw)
    events = json.loads(raw)["traceEvents"]
    rules(events)
    assert len({e["tid"] for e in events if e["ph"] == "X"}) == 2 * 32
    assert len({(e["pid"], e["name"]) for e in events if e["cat"] == "peer"}) == 2 * 32
    (left_out,) = [e["args"] for e in events if e["name"] == "left out"]
    assert left_out == {"intervals_of_tools": 2 * 9, "intervals_of_peers": 2 * 8}
    report(stakeout, path, "--trace", "t.json")
    assert len(node("trace.cjs", stakeout.folder / "t.json")["processes"]) == 3


# ---- all of them ----

def intervals_in(stakeout, path, option, *args):
    """Starts of the intervals that a format has, in s."""
    if option == "csv":
        return {float(r["start_s"]) for r in table(stakeout, path, *args)}
    if option == "hlog":
        return {float(line.split(b",")[1]) for line in report(stakeout, path, "--hlog=-", *args).splitlines() if line.startswith(b"Tag=")}
    return {e["ts"] / 1e6 for e in trace(stakeout, path, *args) if e["ph"] == "X"}


@pytest.mark.parametrize("option", FORMATS)
def test_part_of_the_time(stakeout, path, option):
    assert intervals_in(stakeout, path, option) == {float(n) for n in range(12)}
    assert intervals_in(stakeout, path, option, "--from", "3", "--to", "6") == {3.0, 4.0, 5.0}
    assert intervals_in(stakeout, path, option, "--from=10.5") == {11.0}
    assert intervals_in(stakeout, path, option, "--to", "1.0") == {0.0}
    assert "no interval lies within --from and --to; it has 12 s" in report(stakeout, path, f"--{option}=x.csv", "--from", "12", status=2)
    assert "x.csv" not in stakeout.files()


@pytest.mark.parametrize("option", FORMATS)
def test_one_agent(stakeout, path, option):
    out = report(stakeout, path, f"--{option}=-", "--agent", "other").decode()
    assert report(stakeout, path, f"--{option}=-", "--agent", "2").decode() == out
    assert "other" in out and ("demo" not in out if option != "trace" else "demo (pid" not in out)
    assert "no agent 'nobody'" in report(stakeout, path, f"--{option}=x.csv", "--agent", "nobody", status=2)
    assert stakeout.files() == ["r.ndjson"]


@pytest.mark.parametrize("option", FORMATS)
def test_file_is_there_as_a_whole_or_not_at_all(stakeout, path, option):
    out = stakeout.folder / "out.csv"
    out.write_text("mine")
    assert "out.csv is there already; --force overwrites it" in report(stakeout, path, f"--{option}", "out.csv", status=5)
    assert out.read_text() == "mine"
    report(stakeout, path, f"--{option}", "out.csv", "--force")
    whole = out.read_bytes()
    assert len(whole) > 10000 and stat.S_IMODE(out.stat().st_mode) == 0o640
    link = stakeout.folder / "link.csv"
    link.symlink_to("out.csv")
    out.write_text("mine")
    report(stakeout, path, f"--{option}", "link.csv", "--force")
    assert link.is_symlink() and out.read_bytes() == whole
    out.write_text("mine")
    small = lambda: (signal.signal(signal.SIGXFSZ, signal.SIG_IGN), resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192)))
    assert "cannot write out.csv: File too large" in report(stakeout, path, f"--{option}", "out.csv", "--force", status=5, preexec_fn=small)
    assert "cannot write new.csv: File too large" in report(stakeout, path, f"--{option}", "new.csv", status=5, preexec_fn=small)
    assert "cannot write none/x.csv: No such file" in report(stakeout, path, f"--{option}", "none/x.csv", status=5)
    assert "cannot write /dev/full: No space left" in report(stakeout, path, f"--{option}=/dev/full", status=5)
    with open("/dev/full", "wb") as full:
        done = subprocess.run([stakeout.path, "report", path, f"--{option}=-"], stdout=full, stderr=subprocess.PIPE)
        assert done.returncode == 5 and b"cannot write" in done.stderr
    Path(path).write_text("{}\n")
    assert "not a stakeout header" in report(stakeout, path, f"--{option}", "new.csv", status=2)
    assert out.read_text() == "mine" and stakeout.files() == ["link.csv", "out.csv", "r.ndjson"]


@pytest.mark.parametrize("option", FORMATS)
def test_killed_while_it_writes(stakeout, path, option):
    p = stakeout.start("report", "-", f"--{option}", "out.csv", stdin=subprocess.PIPE)
    p.stdin.write(Path(path).read_bytes()[:200000])
    p.stdin.flush()
    wait_for("some of it to be read", lambda: int(re.search(r"rchar: (\d+)", Path(f"/proc/{p.pid}/io").read_text())[1]) > 150000)
    p.kill()
    p.wait()
    assert stakeout.files() == ["r.ndjson"]


@pytest.mark.parametrize("option", FORMATS)
def test_recording_that_was_cut_off(stakeout, path, option):
    text = Path(path).read_bytes()
    Path(path).write_bytes(text[:len(text) // 2])
    out = report(stakeout, path, f"--{option}=-", err=rb"^stakeout: [^\n]*r.ndjson: cut off after \d+ intervals; last \d+ bytes unusable\n$")
    assert len(out) > 10000
    if option == "trace":
        rules(json.loads(out)["traceEvents"])


@pytest.mark.parametrize("option", FORMATS)
def test_recording_without_intervals(stakeout, option):
    path = make.write(stakeout.folder / "r.ndjson", [make.Agent(1)], intervals=1, total=False)
    Path(path).write_text(Path(path).read_text().splitlines(keepends=True)[0])
    out = report(stakeout, path, f"--{option}=-", err=b"ends after 0 intervals").decode()
    assert len(out.splitlines()) == 1 if option == "csv" else out
    if option == "trace":
        rules(json.loads(out)["traceEvents"])


@pytest.mark.parametrize("args, what", [
    (["--csv", "--json"], "exclude each other"), (["--csv", "--hlog", "x"], "exclude each other"), (["--trace", "x", "--trace", "y"], "given once"),
    (["--hlog"], "--hlog needs a value"), (["--trace"], "--trace needs a value"), (["--from", "1"], "--from goes with --csv, --hlog or --trace only"),
    (["--csv", "--from", "x"], "--from x: want seconds"), (["--csv", "--to", "0"], "--to 0: want seconds"), (["--csv", "--from", "5", "--to", "5"], "--to 5 is not later than --from 5"),
    (["--rows", "peers", "--hlog", "x"], "--rows goes with --csv only"), (["--csv", "--rows", "peer"], "no rows of 'peer' (did you mean 'peers'?); there are agents, peers, tools, observer"),
    (["--csv", "r.ndjson"], "of one recording, not of 2")])
def test_what_is_not_possible(stakeout, path, args, what):
    assert what in report(stakeout, path, *args, status=2)
    assert stakeout.files() == ["r.ndjson"]


@pytest.mark.parametrize("option", FORMATS)
def test_memory_does_not_grow_with_the_recording(stakeout, option):
    lines = [json.loads(line) for line in make.lines([make.Agent(1, values={"runq_ns": list(range(1, 60))}, ledger={"running": 1.0}, tools={"sh": {"values": {"tool_ns": [5]}}})],
                                                     seconds=1.0, intervals=1, total=False)]
    rss = []
    for count in (200, 8000):
        with open(stakeout.folder / "long.ndjson", "w") as f:
            f.write(json.dumps(lines[0]) + "\n")
            body = json.dumps(dict(lines[1], seq="SEQ", start_s="START", end_s="END"))
            for n in range(count):
                f.write(body.replace('"SEQ"', str(n)).replace('"START"', str(n)).replace('"END"', str(n + 1)) + "\n")
        rss.append(peak_kib(stakeout.path, "report", "long.ndjson", f"--{option}=out.csv", "--force", cwd=stakeout.folder, stderr=subprocess.DEVNULL))
    assert rss[1] < rss[0] * 1.2 + 1024, rss


def test_of_a_real_run(stakeout):
    program = "import subprocess, time\nfor n in range(6): subprocess.run(['true']); sum(range(400000)); time.sleep(0.05)"
    assert stakeout("record", "-q", "-i", "0.1", "-o", "r.ndjson", "--", "/usr/bin/python3", "-c", program).returncode == 0
    path = stakeout.folder / "r.ndjson"
    total, rows, events = Recording(path).agent(), table(stakeout, path), trace(stakeout, path)
    for name, value in total["counters"].items():
        assert sum(number(r[name]) for r in rows) == value, name
    lines = hlog(stakeout, path)
    for name, h in total["hist"].items():
        assert sum(line["count"] for line in lines if line["tag"].split("/")[1:] == [name]) == h["count"]
    (pid,) = {e["pid"] for e in events if e["ph"] == "X"}
    slices = track(events, pid, "whole agent, mostly")
    for state, seconds in total["ledger"]["critical_s"].items():
        assert abs(sum(e["args"].get(state, 0) for e in slices) - seconds) < 1e-6
    assert sum(e["args"]["ended"] for e in track(events, pid, "true")) == 6
