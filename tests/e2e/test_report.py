# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""`stakeout report` on recordings whose values are known: the figures, the layout, and files that are no recordings."""
import fcntl
import gzip
import json
import math
import os
import pty
import random
import re
import struct
import subprocess
import sys
import termios
import unicodedata
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import make_recording as make

PLAIN = {"PATH": os.environ["PATH"], "LC_ALL": "C", "TERM": "xterm"}
UTF8 = dict(PLAIN, LC_ALL="C.UTF-8")
HOSTILE = "evil\x1b[2J\x1b]0;owned\x07\r\n\t\u202ename\u009b31m"


def shown(stakeout, *args, env=PLAIN, **kwargs):
    done = stakeout("report", *args, env=env, **kwargs)
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""
    return done.stdout.decode("utf-8")


def figures(stakeout, *args, **kwargs):
    return json.loads(shown(stakeout, *args, "--json", **kwargs))


def refused(done, status):
    """Nothing on stdout, one line on stderr; returns that."""
    assert done.returncode == status, done.stderr
    assert done.stdout == b""
    lines = done.stderr.decode("utf-8").splitlines()
    assert len(lines) == 1 and lines[0].startswith("stakeout: ")
    return lines[0]


@pytest.fixture
def typical(stakeout):
    return make.write(stakeout.folder / "typical.ndjson", [make.typical(1, 10.0, 1)])


# ---- figures ----

@pytest.mark.parametrize("shape", ["lognormal", "uniform", "exponential", "two_humps"])
@pytest.mark.parametrize("median", [300, 5e4, 2e8])
def test_percentiles_are_those_of_the_values(stakeout, shape, median):
    r = random.Random(f"{shape}{median}")
    draw = {"lognormal": lambda: r.lognormvariate(math.log(median), 1.2), "uniform": lambda: r.uniform(1, 2 * median),
            "exponential": lambda: r.expovariate(0.693 / median),
            "two_humps": lambda: r.gauss(median, median / 20) if r.random() < 0.7 else r.gauss(40 * median, median)}[shape]
    values = [max(1, int(draw())) for _ in range(20000)]
    path = make.write(stakeout.folder / "r.ndjson", [make.Agent(1, values={"runq_ns": values}, ledger={"running": 10.0})])
    h = figures(stakeout, path)["agents"][0]["hist"]["runq_ns"]
    assert (h["count"], h["min"], h["max"], h["sum"]) == (len(values), min(values), max(values), sum(values))
    assert h["mean"] == pytest.approx(sum(values) / len(values), rel=1e-9)
    for q in (50, 90, 95, 99):
        # 1.1 % is the histogram's own; among values this small the next whole number may be further away
        assert h[f"p{q}"] == pytest.approx(make.quantile(values, q / 100), rel=0.012, abs=0.51), f"p{q}"


def test_zeros_and_single_values(stakeout):
    values = {"runq_ns": [0] * 60 + [1000] * 40, "tool_ns": [123456789], "map_bytes": [4096] * 7}
    path = make.write(stakeout.folder / "r.ndjson", [make.Agent(1, values=values)], intervals=2)
    h = figures(stakeout, path)["agents"][0]["hist"]
    assert (h["runq_ns"]["p50"], h["runq_ns"]["min"], h["runq_ns"]["max"]) == (0, 0, 1000)
    assert h["runq_ns"]["p99"] == pytest.approx(1000, rel=0.012)
    for q in ("p50", "p90", "p95", "p99", "mean", "min", "max"):
        assert h["tool_ns"][q] == 123456789
        assert h["map_bytes"][q] == 4096
    assert set(h) == set(values)


def test_agent_figures(stakeout):
    known = make.typical(3, 10.0, 1, exit_code=3 << 8)
    report = figures(stakeout, make.write(stakeout.folder / "r.ndjson", [known]))
    (agent,) = report["agents"]
    assert (agent["id"], agent["name"], agent["pid"], agent["cmdline"]) == (3, "demo", 4242, known.cmdline)
    assert agent["exit"] == {"status": 3} and agent["observed_s"] == pytest.approx(10.0)
    c = known.counters
    assert agent["cpu"]["user_s"] == pytest.approx(c["cpu_user_ns"] / 1e9)
    assert agent["cpu"]["system_s"] == pytest.approx(c["cpu_system_ns"] / 1e9)
    assert agent["cpu"]["percent"] == pytest.approx((c["cpu_user_ns"] + c["cpu_system_ns"]) / 1e9 / 10 * 100)
    for name, value in c.items():
        assert agent["counters"][name] == value, name
    for name in ("sent_bytes", "received_bytes", "connects", "connects_failed", "accepts", "retransmits"):
        assert agent["sockets"][name] == c[name]
    memory = agent["memory"]
    assert (memory["rss_bytes"], memory["rss_peak_bytes"]) == (61 << 20, 88 << 20)
    assert (memory["faults_minor"], memory["faults_major"]) == (c["faults_minor"], c["faults_major"])
    assert memory["mapped_bytes"] == sum(known.values["map_bytes"])
    tools = {t["name"]: t for t in agent["tools"]}
    assert {n: (t["runs"], t["failed"]) for n, t in tools.items()} == {"sh": (23, 1), "grep": (12, 2), "sort": (12, 0)}
    assert tools["sort"]["live"] == 1
    assert tools["sh"]["cpu"]["user_s"] == pytest.approx(0.031)
    assert "kernel_alloc_bytes" not in agent["counters"], "a probe that was off measured nothing"


def test_ledger_sums_up(stakeout, typical):
    ledger = figures(stakeout, typical)["agents"][0]["ledger"]
    known = make.typical(1, 10.0, 1)
    for key, values in (("main", known.ledger), ("threads", known.threads)):
        assert sum(ledger[f"{key}_share"].values()) == pytest.approx(1, abs=1e-9)
        assert sum(ledger[f"{key}_s"].values()) == pytest.approx(ledger[f"{key}_sum_s"], abs=1e-6)
        assert set(ledger[f"{key}_s"]) == set(make.STATES)
        for state, seconds in values.items():
            assert ledger[f"{key}_s"][state] == pytest.approx(seconds, abs=1e-6)
            assert ledger[f"{key}_share"][state] == pytest.approx(seconds / sum(values.values()), abs=1e-6)


LETTERS = dict(zip(make.STATES, "#qMDCVHndl|csif.po"))


def dealt(seconds, states, seed):
    """Seconds over states, unevenly, so that some shares are tiny."""
    r = random.Random(seed)
    parts = [r.expovariate(1) ** 2 for _ in states]
    return {s: seconds * p / sum(parts) for s, p in zip(states, parts)}


@pytest.mark.parametrize("seed", range(8))
def test_ledger_table_sums_up(stakeout, seed):
    ledger, threads, critical = (dealt(10 * n, make.STATES, f"{seed} {n}") for n in (1, 4, 1.0))
    known = make.Agent(1, ledger=ledger, threads=threads, critical=critical)
    text = shown(stakeout, make.write(stakeout.folder / "r.ndjson", [known]), "--width", "120")
    rows = re.findall(r"^  ([^ ])  ([\w.]+) +([\d.]+) +(<?[\d.]+) +([\d.]+) +([\d.]+)", text, re.M)
    assert [(letter, state) for letter, state, *_ in rows] == list(zip(LETTERS.values(), make.STATES))
    for _, state, main, percent, agent, thread in rows:
        for cell, want in ((main, ledger), (agent, critical), (thread, threads)):
            assert float(cell) == pytest.approx(want[state], abs=0.00051)
        if not percent.startswith("<"):
            assert float(percent) == pytest.approx(ledger[state] * 10, abs=0.101)
    assert sum(float(p) for _, _, _, p, _, _ in rows if not p.startswith("<")) == pytest.approx(100.0, abs=1e-6)
    assert re.search(r"^     sum +10\.000  100\.0 +10\.000 +40\.000$", text, re.M)
    for label, states in (("main thread", ledger), ("whole agent", critical)):
        bar = re.search(f"^  {label}  (\\S+)$", text, re.M).group(1)
        assert len(bar) == 103
        for state, letter in LETTERS.items():
            assert bar.count(letter) == pytest.approx(states[state] / 10 * 103, abs=1)


def test_states_of_next_to_nothing_are_left_out(stakeout):
    ledger = {"running": 9.9993, "fault": 0.0003, "disk": 0.0004}
    text = shown(stakeout, make.write(stakeout.folder / "r.ndjson", [make.Agent(1, ledger=ledger, threads=dict(ledger, disk=0.0006))], intervals=1))
    assert re.search(r"^  #  running +9\.999  100\.0 ", text, re.M) and re.search(r"^  d  disk +0\.000   <0\.1 +0\.000 +0\.001 ", text, re.M)
    assert "fault" not in text and re.search(r"^     sum +10\.000  100\.0 ", text, re.M)
    short = {"running": 0.0012, "fault": 0.0003}  # of little time, little is much
    text = shown(stakeout, make.write(stakeout.folder / "s.ndjson", [make.Agent(1, ledger=short)], seconds=0.0015, intervals=1))
    assert re.search(r"^  f  fault +0\.000   20\.0 ", text, re.M)


def test_ledger_without_the_whole_agents(stakeout):
    """A recording without critical_s: no column of zeros."""
    lines = [line.replace('"critical_s"', '"unknown"') for line in make.lines([make.Agent(1, ledger={"running": 4.0, "idle": 6.0})])]
    path = stakeout.folder / "r.ndjson"
    path.write_text("".join(line + "\n" for line in lines))
    text = shown(stakeout, path)
    assert "main thread" in text and "whole agent" not in text and "agent s" not in text
    assert re.search(r"^     sum +10\.000  100\.0 +10\.000$", text, re.M)


def test_ledger_that_does_not_close_is_said(stakeout):
    path = make.write(stakeout.folder / "r.ndjson", [make.Agent(1, ledger={"running": 7.0})])
    text = shown(stakeout, path)
    assert "(accounts for 7.000 s of 10.000 s observed)" in text
    assert "(the whole agent's accounts for 7.000 s of 10.000 s observed)" in text


def note(text, state):
    """What the last column of the ledger says of a state."""
    return re.search(rf"^  [^ ]  {re.escape(state)}(?: +[\d.<]+){{4}}(?:  (.+))?$", text, re.M).group(1)


def calls(peer, name="", kind="other", values=(1000000,), **more):
    """A peer with exchanges of these lengths."""
    counters = {"exchanges": len(values), **more.pop("counters", {})}
    return {"peer": peer, "name": name, "class": kind, "values": {"exchange_ns": list(values), **more.pop("values_too", {})},
            "counters": counters, **more}


def test_ledger_names_the_peers(stakeout):
    peers = [calls("10.0.0.5:5432", "orders-db", "db", [7000]), calls("10.0.0.6:6379", "", "cache", [500]),
             calls("203.0.113.1:443", "api.example.com", "llm", [900]), calls("203.0.113.2:443", "api.example.com", "llm", [900]),
             calls("203.0.113.3:443", "other.example.com", "llm", [600]),
             *(calls(f"10.0.1.{i}:80", f"host{i}", "http", [100 + i]) for i in range(9)),
             calls("(other)", "", "other", [10**6], summed=12), calls("10.9.9.9:9", "udp", "other", [9]),
             {"peer": "127.0.0.1:6333", "class": "vector", "side": "server", "values": {"serve_ns": [10**9]},
              "counters": {"exchanges_served": 1}}]
    ledger = {f"net.{c}": 1.0 for c in make.CLASSES}
    path = make.write(stakeout.folder / "r.ndjson", [make.Agent(1, ledger=ledger, peers=peers)], seconds=6.0, intervals=1)
    text = shown(stakeout, path, "--width", 150)
    assert note(text, "net.db") == "orders-db: 10.0.0.5:5432"
    assert note(text, "net.cache") == "10.0.0.6:6379"
    assert note(text, "net.llm") == "mostly api.example.com", "its addresses count together"
    assert note(text, "net.http") == "9 peers, above all host8"
    assert note(text, "net.other") == "13 peers, above all udp", "what was summed has no name"
    assert note(text, "net.vector") == "waits for a vector store", "those that the agent serves are not waited for"
    assert note(shown(stakeout, path, "--width", 73), "net.http") == "9 peers"


def test_table_has_the_figures(stakeout):
    values = [1000000] * 90 + [5000000] * 10
    path = make.write(stakeout.folder / "r.ndjson", [make.Agent(1, values={"tool_ns": values})])
    row = next(line for line in shown(stakeout, path).splitlines() if line.startswith("  tool_ns"))
    count, mean, p50, p90, p99, high = re.findall(r"[\d.]+(?: \w+)?", row[len("  tool_ns"):].replace("   ", "  ").strip())
    assert (count, mean, high) == ("100", "1.40 ms", "5.00 ms")
    for cell, want in ((p50, 1.0), (p90, 1.0), (p99, 5.0)):
        number, unit = cell.split()
        assert unit == "ms" and float(number) == pytest.approx(want, rel=0.023)


def test_observer_and_losses(stakeout):
    path = make.write(stakeout.folder / "r.ndjson", [make.Agent(1)], lost={"ring_full": 30, "no_lane": 20}, bpf_s=0.05)
    text, report = shown(stakeout, path), figures(stakeout, path)
    assert re.search(r"^  lost +50 of 120050 records, 30 by ring_full, 20 by no_lane$", text, re.M)
    o = report["observer"]
    assert (o["lost"], o["lost_sum"], o["records"]) == ({"ring_full": 30, "no_lane": 20}, 50, 120000)
    assert (o["cpu_s"], o["bpf_s"]) == (pytest.approx(0.12), pytest.approx(0.05))
    path = make.write(stakeout.folder / "none.ndjson", [make.Agent(1)])
    assert re.search(r"^  lost +nothing lost$", shown(stakeout, path), re.M)


def test_probes_that_were_not_on(stakeout):
    probes = [{"name": "core", "state": "on", "why": ""}, {"name": "sched", "state": "on", "why": ""},
              {"name": "sock", "state": "unavailable", "why": "no tracepoint sock_send_length"}, {"name": "mem", "state": "off", "why": ""}]
    path = make.write(stakeout.folder / "r.ndjson", [make.Agent(1)], probes=probes)
    text = " ".join(shown(stakeout, path).split())
    assert "sock unavailable: no tracepoint sock_send_length, mem off" in text
    agent = figures(stakeout, path)["agents"][0]
    assert "memory" not in agent and "sockets" not in agent


def test_empty_sections_are_left_out(stakeout):
    text = shown(stakeout, make.write(stakeout.folder / "r.ndjson", [make.Agent(1, ledger={"sleep": 10.0})]))
    for heading in ("Tools", "histogram", "memory", "sockets", "processes", "scheduler", "Peers", "Served", "Concurrency", "connecting", "errors",
                    "Event loop", "Polling", "polling", "spinning"):
        assert heading not in text


# ---- peers, tools, event loop ----

UNITS = {"ns": 1, "us": 1e3, "ms": 1e6, "s": 1e9, "min": 60e9, "h": 3600e9, "d": 86400e9}


def section(text, heading):
    """The lines below a heading, up to the next empty one."""
    lines = text.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("  " + heading))
    return lines[at + 1:lines.index("", at)]


def rows(lines):
    """Rows of a table without empty cells, by their first cell."""
    split = [re.split(" {2,}", line.strip()) for line in lines]
    return {r[0]: dict(zip(split[0], r)) for r in split[1:] if len(r) == len(split[0])}


def ns(cell):
    number, unit = cell.split()
    return float(number) * UNITS[unit]


def near(values, q):
    """A quantile as a histogram and three digits give it."""
    return pytest.approx(make.quantile(values, q), rel=0.017)


def test_peers_table_has_the_figures(stakeout):
    r = random.Random(7)
    draw = lambda n, median: [max(1, int(r.lognormvariate(math.log(median), 0.8))) for _ in range(n)]
    known = []
    for i, (name, kind, n, connects) in enumerate([("api.example.com", "llm", 3000, 3000), ("orders", "db", 2500, 4), ("docs", "http", 20, 8)]):
        known.append(calls(f"10.0.0.{i}:443", name, kind, draw(n, 5e9 / 10**i), values_too={"ttfb_ns": draw(n, 1e9 / 10**i),
                           "pickup_ns": draw(n, 4e4)}, counters={"connects": connects, "errors_reset": i, "errors_refused": 2 * i}))
    text = shown(stakeout, make.write(stakeout.folder / "r.ndjson", [make.Agent(1, peers=known)]), "--width", 200)
    lines = section(text, "Peers")
    assert [line.split()[1] for line in lines[1:]] == ["api.example.com", "orders", "docs"], "where the time went first"
    for peer, row in zip(known, [dict(zip(re.split(" {2,}", lines[0].strip()), re.split(" {2,}", line.strip()))) for line in lines[1:]]):
        values, n = peer["values"], peer["counters"]["exchanges"]
        assert (row["class"], row["peer"], row["address"]) == (peer["class"], peer["name"], peer["peer"])
        assert row["count"] == (str(n) if n < 1000 else f"{n / 1000:.2f} k")
        assert float(row["/s"]) == pytest.approx(n / 10, rel=0.005)
        for column, metric, q in (("p50", "exchange_ns", 0.5), ("p95", "exchange_ns", 0.95), ("p99", "exchange_ns", 0.99),
                                  ("ttfb p50", "ttfb_ns", 0.5), ("ttfb p99", "ttfb_ns", 0.99), ("pickup p99", "pickup_ns", 0.99)):
            assert ns(row[column]) == near(values[metric], q), column
        assert float(row["reuse"]) == pytest.approx(n / peer["counters"]["connects"], rel=0.005)
        errors = 3 * (peer["counters"].get("errors_reset"))
        assert row["errors"] == (str(errors) if errors else "-")


def test_addresses_of_a_name_are_one_row(stakeout):
    known = [calls("203.0.113.1:443", "api.example.com", "llm", [1000] * 6, counters={"connects": 2, "errors_reset": 1}),
             calls("203.0.113.2:443", "api.example.com", "llm", [3000] * 4, counters={"connects": 3, "errors_refused": 1}, multiplexed=True),
             calls("203.0.113.2:8443", "api.example.com", "llm", [70]), calls("[2001:db8::1]:443", "", "http", [50]),
             calls("@abstract:1", "bus")]
    text = shown(stakeout, make.write(stakeout.folder / "r.ndjson", [make.Agent(1, peers=known)]), "--width", 200)
    lines = section(text, "Peers")
    assert re.match(r"  llm +api\.example\.com:443 +2 addresses +~10 +1\.00 +1\.00 us +(2\.9|3\.0)\d us +(2\.9|3\.0)\d us +2\.00 +2$", lines[2])
    assert re.match(r"  other +bus +@abstract:1 +1 ", lines[1]), "no port"
    assert re.match(r"  llm +api\.example\.com:8443 +203\.0\.113\.2:8443 +1 ", lines[3])
    assert re.match(r"  http +\[2001:db8::1\]:443 +1 ", lines[4])
    assert lines[5] == "  ~ requests overlap on a connection: an estimate from its bursts"


def test_peers_beyond_twenty_are_counted(stakeout):
    known = [calls(f"10.0.0.{i}:80", "", "http", [1000 * (i + 1)] * (i + 1)) for i in range(31)]
    known += [calls("(other)", "", "other", [10**9] * 9, summed=1234, counters={"connects": 5})]
    path = make.write(stakeout.folder / "r.ndjson", [make.Agent(1, peers=known)], intervals=1)
    lines = section(shown(stakeout, path), "Peers")
    assert [re.split(" {2,}", line.strip())[:3] for line in lines[1:-2]] == [["http", f"10.0.0.{i}:80", str(i + 1)] for i in range(30, 10, -1)]
    assert re.match(" {9}1.23 k others, summed +9 ", lines[-2]), "last, whatever time it took"
    assert lines[-1] == "  and 11 more (--json lists all)"
    assert len(figures(stakeout, path)["agents"][0]["peers"]) == 32


def test_served_stands_apart(stakeout):
    r = random.Random(8)
    values = {m: [r.randrange(1000, 10**8) for _ in range(400)] for m in ("serve_ns", "serve_pickup_ns")}
    known = [{"peer": "0.0.0.0:8090", "class": "http", "side": "server", "values": values, "counters": {"exchanges_served": 400, "accepts": 25}},
             calls("10.0.0.1:80", "", "http")]
    text = shown(stakeout, make.write(stakeout.folder / "r.ndjson", [make.Agent(1, peers=known)]), "--width", 120)
    row = rows(section(text, "Served"))["0.0.0.0:8090"]
    assert (row["count"], row["/s"], row["accepts"]) == ("400", "40.0", "25")
    for column, metric, q in (("p50", "serve_ns", 0.5), ("p95", "serve_ns", 0.95), ("p99", "serve_ns", 0.99),
                              ("pickup p99", "serve_pickup_ns", 0.99)):
        assert ns(row[column]) == near(values[metric], q), column
    assert "errors" not in row and len(section(text, "Served")) == 2
    assert not any("8090" in line for line in section(text, "Peers"))


def test_columns_go_by_priority(stakeout, typical):
    least = {120: {"class", "p95", "p99", "ttfb p50", "reuse", "errors"}, 80: {"class", "p99", "ttfb p50", "errors"}, 60: {"class", "p99"}}
    before = None
    for width in range(200, 39, -5):
        titles = set(re.split(" {2,}", section(shown(stakeout, typical, "--width", width), "Peers")[0].strip()))
        assert before is None or titles <= before, width
        assert least.get(width, set()) | {"peer", "count", "p50"} <= titles, width
        assert width not in (120, 200) or ("address" in titles) == (width == 200), "the first to go"
        before = titles


def test_concurrency_and_what_is_serial(stakeout):
    known = {"llm": {"outstanding_s": 4.0, "busy_s": 4.0, "max": 1}, "db": {"outstanding_s": 4.5, "busy_s": 1.5, "max": 12},
             "cache": {"outstanding_s": 1.02, "busy_s": 1.0, "max": 3}}
    text = shown(stakeout, make.write(stakeout.folder / "r.ndjson", [make.Agent(1, concurrency=known)]))
    lines = section(text, "Concurrency")
    assert [line.split(maxsplit=5) for line in lines[1:]] == [
        ["llm", "1.00", "1", "4.00", "s", "serial: one at a time"], ["db", "3.00", "12", "1.50", "s"],
        ["cache", "1.02", "3", "1.00", "s", "nearly serial"]]


def test_errors_and_connecting(stakeout):
    counters = {"errors_refused": 4, "errors_timed_out": 1, "errors_unreachable": 2, "errors_reset": 12345, "errors_unanswered": 3,
                "errors_other": 6}
    values = {"connect_ns": [1000000] * 99 + [5000000], "handshake_ns": [20000000] * 30}
    text = shown(stakeout, make.write(stakeout.folder / "r.ndjson", [make.Agent(1, counters=counters, values=values)]), "--width", 120)
    assert "  errors      4 refused, 1 timed out, 2 unreachable, 12.3 k reset, 3 unanswered, 6 other\n" in text
    connects, handshakes = re.search(r"^  connecting  100 connects took (.+?) \(p99 1.00 ms\), 30 TLS handshakes took (.+?) \(p99 20.0 ms\)$",
                                     text, re.M).groups()
    assert (ns(connects), ns(handshakes)) == (pytest.approx(sum(values["connect_ns"]), rel=0.005), pytest.approx(6e8, rel=0.005))


def test_where_the_time_of_tools_went(stakeout):
    known = {"sh": {"ledger": {"child": 6.0, "running": 3.0, "pipe": 0.6, "runnable": 0.4}, "values": {"tool_ns": [10**9] * 10}},
             "git": {"ledger": {"net.http": 0.05, **{s: 0.05 for s in make.STATES if s != "net.http"}}, "values": {"tool_ns": [9 * 10**8]}},
             "true": {"values": {"tool_ns": [1000]}}}
    path = make.write(stakeout.folder / "r.ndjson", [make.Agent(1, tools=known)])
    lines = section(shown(stakeout, path, "--width", 120), "Tools")
    assert lines[0].endswith("where its time went")
    assert lines[1].endswith("  child 60 %, running 30 %, pipe 6 %") and lines[2].endswith("  running 6 %, runnable 6 %, net.llm 6 %")
    assert lines[3].split()[0] == "true" and "%" not in lines[3]
    narrow = section(shown(stakeout, path, "--width", 70), "Tools")
    assert narrow[1].endswith("  child 60 %, running 30 %"), "whole clauses"


def test_event_loop(stakeout):
    r = random.Random(9)
    values = {"loop_busy_ns": [r.randrange(10**4, 10**7) for _ in range(500)], "loop_blocked_sleep_ns": [300000000] * 3,
              "loop_blocked_disk_ns": [r.randrange(10**5, 10**6) for _ in range(40)], "wake_period_ns": [100000000] * 50, "runq_ns": [5]}
    values["loop_blocked_ns"] = values["loop_blocked_sleep_ns"] + values["loop_blocked_disk_ns"]
    counters = {"wakeups_idle": 50, "spins_poll": 7, "spins_yield": 9}
    text = shown(stakeout, make.write(stakeout.folder / "r.ndjson", [make.Agent(1, values=values, counters=counters)]))
    lines = section(text, "Event loop")
    table = rows(lines)
    assert [line.split("  ")[1] for line in lines[1:4]] == ["busy", "blocked: sleep", "blocked: disk"], "where most time was lost first"
    for name, metric in (("busy", "loop_busy_ns"), ("blocked: sleep", "loop_blocked_sleep_ns"), ("blocked: disk", "loop_blocked_disk_ns")):
        v, row = values[metric], table[name]
        assert row["count"] == str(len(v))
        assert (ns(row["p50"]), ns(row["p99"])) == (near(v, 0.5), near(v, 0.99))
        assert (ns(row["max"]), ns(row["total"])) == (pytest.approx(max(v), rel=0.005), pytest.approx(sum(v), rel=0.005))
    assert lines[4] == "  polling     50 wake-ups that did nothing, every 100 ms (median)"
    assert " ".join(" ".join(lines[5:]).split()) == "spinning 7 x seen in a poll that does not wait, 9 x seen in sched_yield"
    text = text[text.index("\nAgent 1"):]  # what the objectives recommend names metrics, too
    assert "loop_b" not in text and "  runq_ns" in text, "not twice"


def test_polling_without_an_event_loop(stakeout):
    text = shown(stakeout, make.write(stakeout.folder / "r.ndjson", [make.Agent(1, counters={"spins_yield": 9})]))
    assert "Event loop" not in text and section(text, "Polling") == ["  spinning    9 x seen in sched_yield"]


# ---- selection ----

def test_agent_is_selected(stakeout):
    path = make.write(stakeout.folder / "r.ndjson", [make.Agent(1, name="one"), make.Agent(2, name="two"), make.Agent(3, name="two")])
    assert [a["id"] for a in figures(stakeout, path)["agents"]] == [1, 2, 3]
    assert [a["id"] for a in figures(stakeout, path, "--agent", "2")["agents"]] == [2]
    assert [a["id"] for a in figures(stakeout, path, "--agent", "two")["agents"]] == [2, 3]
    text = shown(stakeout, path, "--agent", "one")
    assert "one (pid" in text and "two (pid" not in text
    line = refused(stakeout("report", path, "--agent", "four"), 2)
    assert "no agent 'four'" in line and "1 (one), 2 (two)" in line


def test_objectives(stakeout):
    """Missed ones are named, the others counted; what is said is what `check` says, of the agent that is asked for, by rules of one's own."""
    slow = make.Agent(1, name="slow", values={"serve_ns": [2 * 10**9] * 300})
    path = make.write(stakeout.folder / "r.ndjson", [slow, make.Agent(2, name="quick", values={"serve_ns": [10**6] * 300})], seconds=60.0, intervals=60)
    told = figures(stakeout, path)["objectives"]
    assert told == json.loads(stakeout("check", path, "--json").stdout)["objectives"]
    missed = [o["rule"] for o in told if o["verdict"] == "missed"]
    assert "service-p95" in missed and [m["name"] for o in told for m in o["misses"] if o["rule"] == "service-p95"] == ["slow"]
    text = shown(stakeout, path)
    count = lambda verdict: sum(o["verdict"] == verdict for o in told)
    assert f"\nObjectives: {count('missed')} missed, {count('met')} met, {count('no data')} no data\n" in text
    section = text[text.index("\nObjectives:"):text.index("\nAgent 1")]
    assert re.findall(r"^  (\S+) +slow ", section, re.M) == [o["rule"] for o in told for m in o["misses"] if m["name"] == "slow"]
    assert "service-p95" not in [o["rule"] for o in figures(stakeout, path, "--agent", "quick")["objectives"] if o["verdict"] == "missed"]
    (stakeout.folder / "own.yaml").write_text("rules:\n  - name: own\n    when: p50(serve_ns) > 1s\n")
    own = figures(stakeout, path, "-r", "own.yaml")["objectives"]
    assert [(o["rule"], o["agents_missed"], o["agents_met"]) for o in own] == [("own", 1, 1)]
    (stakeout.folder / "own.yaml").write_text("rules:\n  - name: own\n    when: p50(serve_nss) > 1s\n")
    assert "own.yaml:3:" in refused(stakeout("report", path, "--rules", "own.yaml"), 2)


def test_hist_is_drawn(stakeout):
    r = random.Random(5)
    values = [0] * 12 + [int(r.lognormvariate(11, 2)) + 1 for _ in range(5000)]
    path = make.write(stakeout.folder / "r.ndjson", [make.Agent(1, values={"runq_ns": values})])
    for env, blocks in ((PLAIN, "#"), (UTF8, "\u2588")):
        text = shown(stakeout, path, "--hist", "runq_ns", env=env)
        rows = re.findall(r"^ +([\d.]+ \w+) +\.\. +([\d.]+ \w+) +(\d+)(?:  (.+))?$", text, re.M)
        assert 8 <= len(rows) <= 20
        assert sum(int(count) for _, _, count, _ in rows) == len(values)
        assert rows[0][:3] == ("0 ns", "0 ns", "12")
        most = max(rows, key=lambda row: int(row[2]))
        assert set(most[3]) == {blocks} and max(len(line) for line in text.splitlines()) <= 80
        assert all(len(row[3]) <= len(most[3]) for row in rows)
        assert all(low[1] == high[0] for low, high in zip(rows[1:], rows[2:])), "rows are adjacent"


def test_unknown_hist_names_the_possible_ones(stakeout, typical):
    line = refused(stakeout("report", typical, "--hist", "runq"), 2)
    assert "'runq'" in line and "runq_ns" in line and "map_bytes" in line
    assert "connects" not in line, "a counter is no histogram"
    refused(stakeout("report", typical, "--hist", "connects"), 2)
    assert "no values" in shown(stakeout, typical, "--hist", "wait_net_ns")


def test_several_files(stakeout, typical):
    other = make.write(stakeout.folder / "other.ndjson", [make.Agent(1, name="another")])
    text = shown(stakeout, typical, other)
    assert text.index("typical.ndjson") < text.index("demo (pid") < text.index("other.ndjson") < text.index("another (pid")
    files = [json.loads(line)["file"] for line in shown(stakeout, typical, other, "--json").splitlines()]
    assert files == [typical, other]
    done = stakeout("report", stakeout.folder / "absent", other, env=PLAIN)
    assert done.returncode == 2 and b"absent" in done.stderr and b"another (pid" in done.stdout


def test_standard_input_and_gzip(stakeout, typical):
    with open(typical, "rb") as f:
        assert figures(stakeout, "-", stdin=f)["agents"][0]["name"] == "demo"
    packed = stakeout.folder / "r.ndjson.gz"
    packed.write_bytes(gzip.compress(Path(typical).read_bytes()))
    plain, unpacked = figures(stakeout, typical), figures(stakeout, packed)
    plain.pop("file"), unpacked.pop("file")
    assert plain == unpacked


# ---- layout ----

def columns(text):
    """Of the widest line, as a terminal counts: East Asian characters take two."""
    return max(sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in line) for line in text.splitlines())


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
@pytest.mark.parametrize("env", [PLAIN, UTF8], ids=["ascii", "utf8"])
def test_no_line_is_wider_than_asked(stakeout, width, env):
    long = make.typical(1, 10.0, 2, name="n" * 300, cmdline="word " * 200 + "x" * 500, exit_code=9)
    long.tools["t" * 200] = {"values": {"tool_ns": [10**15] * 9}, "counters": {"cpu_user_ns": 10**17, "exits_failed": 10**9}}
    long.values["kernel_alloc_size_bytes"] = [2**62, 1]
    long.values["loop_blocked_lock_ns"] = [2**62]
    for i in range(3):
        long.peers += [calls(f"10.0.0.{i}:1", "p" * 250, "vector", [10**15] * 9, counters={"connects": 1, "errors_reset": 10**9},
                             multiplexed=True),
                       calls("/run/" + "s" * (90 + i), "", "llm", values_too={"ttfb_ns": [10**17], "pickup_ns": [10**17]}),
                       {"peer": f"[2001:db8::{i}]:80", "name": "\u65e5\u672c" * 40, "side": "server", "values": {"serve_ns": [10**15]},
                        "counters": {"exchanges_served": 10**15, "accepts": 10**15}}]
    long.peers.append(calls("(other)", summed=10**15))
    long.concurrency["llm"] = {"outstanding_s": 1e6, "busy_s": 1e6, "max": 10**9}
    long.ledger["net.vector"] = 1e7
    probes = [{"name": "sock", "state": "unavailable", "why": "w" * 150}]
    path = make.write(stakeout.folder / "r.ndjson", [long], probes=probes, host="h" * 250, lost={"ring_full": 10**12})
    for args in ([], ["--hist", "oncpu_ns"], ["--hist", "kernel_alloc_size_bytes"]):
        text = shown(stakeout, path, "--width", width, *args, env=env)
        assert columns(text) <= width
        assert (env is UTF8) == (not text.isascii()) or args
        assert text == shown(stakeout, path, *args, env=dict(env, COLUMNS=str(width)))
    whole = shown(stakeout, path, "--width", width)
    for word in ("oncpu_ns", "Recording", "running", "Peers", "Served", "Event loop", "Concurrency", "Tools"):
        assert word in whole


def test_default_width_is_80(stakeout, typical):
    assert columns(shown(stakeout, typical)) == 80
    assert columns(shown(stakeout, typical, env=dict(PLAIN, COLUMNS="junk"))) == 80


def on_terminal(stakeout, width, *args, env):
    """What the program prints to a terminal of that width."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    p = subprocess.Popen([stakeout.path, "report", *args], stdin=subprocess.DEVNULL, stdout=slave, stderr=subprocess.STDOUT, env=env)
    os.close(slave)
    out = b""
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:  # EIO: the other end is closed
            break
        if not part:
            break
        out += part
    os.close(master)
    assert p.wait() == 0, out
    return out.decode("utf-8").replace("\r\n", "\n")


def test_colours_only_on_a_terminal(stakeout, typical):
    assert "\x1b" not in shown(stakeout, typical, env=UTF8)
    text = on_terminal(stakeout, 100, typical, env=UTF8)
    assert "\x1b[32m\u2588" in text
    bare = re.sub(r"\x1b\[\d*(;\d+)*m", "", text)
    assert "\x1b" not in bare and 98 <= columns(bare) <= 100
    assert "\x1b" not in on_terminal(stakeout, 100, typical, env=dict(UTF8, NO_COLOR="1"))
    assert "\x1b" not in on_terminal(stakeout, 100, typical, env=dict(UTF8, TERM="dumb"))
    assert "\x1b" in on_terminal(stakeout, 100, typical, env=dict(UTF8, NO_COLOR="")), "set but empty means nothing"
    assert on_terminal(stakeout, 100, typical, env=PLAIN).isascii()
    assert "\x1b" in on_terminal(stakeout, 100, typical, "--hist", "oncpu_ns", env=UTF8)


def test_states_look_different(stakeout):
    """Colour and block, or letter, tell each state from the others."""
    path = make.write(stakeout.folder / "r.ndjson", [make.Agent(1, ledger={s: 10 / len(make.STATES) for s in make.STATES})])
    for env in (UTF8, PLAIN):
        text = on_terminal(stakeout, 100, path, env=env)
        marks = re.findall(r"^  (\x1b\[\d+m[^ \x1b]+)\x1b\[0m  ([a-z.]+) ", text, re.M)
        assert [state for _, state in marks] == make.STATES
        assert len({mark for mark, _ in marks}) == len(make.STATES)
        net = [re.match(r"\x1b\[(\d+)m", mark).group(1) for mark, state in marks if state.startswith("net.")]
        assert len(set(net)) == len(make.CLASSES), "by colour alone"


@pytest.mark.parametrize("env", [PLAIN, UTF8], ids=["ascii", "utf8"])
def test_hostile_names_are_harmless(stakeout, env):
    agent = make.typical(1, 10.0, 1, name=HOSTILE, cmdline=HOSTILE)
    agent.tools = {HOSTILE: agent.tools["sh"]}
    agent.peers = [dict(p, peer=p["peer"] + HOSTILE, name=p.get("name", "") + HOSTILE) for p in agent.peers]
    agent.peers.append(calls(HOSTILE, "", "db", [10**12]))
    probes = [{"name": "sock", "state": "unavailable", "why": HOSTILE}]
    path = make.write(stakeout.folder / "r.ndjson", [agent], host=HOSTILE, probes=probes, lost={HOSTILE: 70})
    texts = [shown(stakeout, path, *args, env=env) for args in ([], ["--hist", "oncpu_ns"], ["--json"])]
    texts.append(re.sub(r"\x1b\[(\d+;)?(0|1|2|3[0-7]|9[0-7])m", "", on_terminal(stakeout, 80, path, env=dict(env, COLUMNS="80"))))
    for text in texts:
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", text)
        assert "[2J" in text or "evil" in text
    for text in texts[:2] + texts[3:]:
        assert not re.search("[\u0080-\u009f\u202a-\u202e]", text)
    assert json.loads(texts[2])["agents"][0]["name"] == HOSTILE, "JSON keeps the bytes, escaped"
    done = stakeout("report", path, "--agent", "\x1b[31m", env=env)
    assert b"\x1b" not in done.stderr and done.returncode == 2


# ---- files and usage ----

@pytest.mark.parametrize("content, what", [
    (b"", "empty"),
    (bytes(range(256)) * 8, "header"),
    (b"just text\nof two lines\n", "header"),
    (b'{"kind":"interval","seq":0}\n', "header"),
    ("later", "stakeout/2"),
])
@pytest.mark.parametrize("args", [[], ["--json"]], ids=["text", "json"])
def test_no_recording(stakeout, content, what, args):
    path = stakeout.folder / "bad.ndjson"
    if content == "later":
        make.write(path, [make.Agent(1)], format="stakeout/2")
    else:
        path.write_bytes(content)
    line = refused(stakeout("report", path, *args, env=PLAIN), 2)
    assert what in line and "bad.ndjson" in line


def test_file_that_cannot_be_opened(stakeout):
    assert "No such file" in refused(stakeout("report", stakeout.folder / "absent", env=PLAIN), 2)
    assert "irectory" in refused(stakeout("report", stakeout.folder, env=PLAIN), 2)


def test_cut_off_anywhere(stakeout, typical):
    whole = Path(typical).read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == 10]
    path = stakeout.folder / "cut.ndjson"
    r = random.Random(3)
    for at in sorted(r.sample(range(ends[0], ends[-2]), 12)) + [ends[0], ends[3], ends[-2]]:
        path.write_bytes(whole[:at])
        intervals = sum(end <= at for end in ends) - 1
        report = figures(stakeout, path)
        assert (report["complete"], report["intervals"]) == (False, intervals)
        assert report["note"]
        text = shown(stakeout, path)
        assert re.search(r"^  incomplete +\S", text, re.M)
        if intervals:
            assert report["agents"][0]["observed_s"] == pytest.approx(intervals)


def test_damaged_line_is_skipped_and_said(stakeout, typical):
    lines = Path(typical).read_text().splitlines(keepends=True)
    lines[4] = lines[4].replace('"counters":', '"counters":}', 1)
    path = stakeout.folder / "damaged.ndjson"
    path.write_text("".join(lines))
    report = figures(stakeout, path)
    assert report["bad_lines"] == 1 and report["intervals"] == 9 and report["note"]
    assert re.search(r"^  (note|incomplete) +\S", shown(stakeout, path), re.M)


@pytest.mark.parametrize("args, what", [
    ([], "needs the name"),
    (["FILE", "--width", "3"], "--width"),
    (["FILE", "--width", "wide"], "--width"),
    (["FILE", "--hist"], "--hist needs"),
    (["FILE", "--bogus"], "'--bogus'"),
    (["FILE", "-x"], "'-x'"),
    (["FILE", "--json", "--hist", "oncpu_ns"], "exclude"),
])
def test_usage(stakeout, typical, args, what):
    assert what in refused(stakeout("report", *[typical if a == "FILE" else a for a in args], env=PLAIN), 2)


def test_help(stakeout):
    text = shown(stakeout, "--help")
    for word in ("--hist", "--agent", "--json", "--width", "NO_COLOR", "oncpu_ns", "Exit status"):
        assert word in text
    assert columns(text) <= 80


@pytest.mark.parametrize("args", [[], ["--json"], ["--hist", "oncpu_ns"]], ids=["text", "json", "hist"])
def test_output_that_cannot_be_written(stakeout, typical, args):
    with open("/dev/full", "wb") as full:
        done = subprocess.run([stakeout.path, "report", typical, *args], stdout=full, stderr=subprocess.PIPE, env=PLAIN)
    assert done.returncode == 5 and done.stderr.count(b"\n") == 1
