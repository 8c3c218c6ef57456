# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""`stakeout check`: each default rule is tripped and isn't, episodes against windows made by hand from the raw values, real programs, bad input."""
import json
import math
import random
import re
import subprocess
from xml.etree import ElementTree

import pytest

import make_recording as make
from conftest import ROOT

MS, S = 1_000_000, 1_000_000_000


def peer(kind, values, **counters):
    return {"peer": "10.0.0.1:1", "class": kind, "values": values, "counters": {"exchanges": len(values.get("exchange_ns", [])), **counters}}


def spread(n, low, high, seed=1):
    r = random.Random(seed)
    return [r.randint(int(low), int(high)) for _ in range(n)]


def recorded(folder, seconds=120, intervals=120, name="r.ndjson", agents=None, probes=None, **how):
    agents = agents or [make.Agent(1, name="bot", **how)]
    return make.write(folder / name, agents, seconds=float(seconds), intervals=intervals, probes=probes)


def checked(stakeout, *args):
    """Objectives by rule, and the exit status."""
    done = stakeout("check", "--json", *args)
    assert not done.stderr, done.stderr
    (line,) = done.stdout.decode().splitlines()
    found = json.loads(line)
    assert found["missed"] == (done.returncode == 1)
    return {o["rule"]: o for o in found["objectives"]}, done.returncode


def rules(stakeout, text, name="rules.yaml"):
    (stakeout.folder / name).write_text(text)
    return name


def slow(good_ms, bad_ms, n=4800, every=17):
    """5.9 % are slow, more than one in twenty, or 1.9 %: in whatever window, since neither number divides that of the intervals."""
    return [int(bad_ms * MS) if i % every == 0 else int(good_ms * MS) for i in range(n)]


def exchanges(kind, good_ms, bad_ms):
    return dict(peers=[peer(kind, {"exchange_ns": slow(good_ms, bad_ms)})])


MIB = 1 << 20
# rule: what trips it, what doesn't though it comes near
TRIPS = {
    "model-slow": (exchanges("llm", 500, 3100), exchanges("llm", 2900, 2950)),
    "database-slow": (exchanges("db", 2, 103), exchanges("db", 90, 97)),
    "vector-slow": (exchanges("vector", 2, 206), exchanges("vector", 2, 194)),
    "tool-mean": (dict(tools={"git": {"values": {"tool_ns": spread(120, 2.1 * S, 3 * S)}}}), dict(tools={"git": {"values": {"tool_ns": spread(120, 0.1 * S, 1.9 * S)}}})),
    "tool-slow": (dict(tools={"git": {"values": {"tool_ns": slow(10, 5150)}}}), dict(tools={"git": {"values": {"tool_ns": slow(10, 4850)}}})),
    "service-p95": (dict(values={"serve_ns": slow(10, 515)}), dict(values={"serve_ns": slow(10, 485)})),
    "service-p99": (dict(values={"serve_ns": slow(10, 1030, every=53)}), dict(values={"serve_ns": slow(10, 970, every=53)})),
    "memory-limit": (dict(gauges={"memory_limit_bytes": 100 * MIB, "memory_left_bytes": 14 * MIB}), dict(gauges={"memory_limit_bytes": 100 * MIB, "memory_left_bytes": 16 * MIB})),
    "cpu-high": (dict(counters={"cpu_user_ns": 80 * S, "cpu_system_ns": 30 * S}), dict(counters={"cpu_user_ns": 70 * S, "cpu_system_ns": 36 * S})),
    "errors": (dict(counters={"exchanges": 12000, "errors_reset": 600, "errors_unanswered": 720}), dict(counters={"exchanges": 12000, "errors_reset": 600, "errors_unanswered": 480})),
    "cancel-slow": (dict(tools={"git": {"values": {"cancel_ns": [103 * MS] * 3}}}), dict(tools={"git": {"values": {"cancel_ns": [97 * MS] * 3}}})),
    "loop-blocked": (dict(values={"loop_blocked_ns": spread(360, 103 * MS, 200 * MS)}), dict(values={"loop_blocked_ns": spread(360, 1 * MS, 97 * MS)})),
}


@pytest.mark.parametrize("rule", TRIPS)
def test_default_rules(stakeout, rule):
    trips, doesnt = TRIPS[rule]
    got, status = checked(stakeout, recorded(stakeout.folder, **trips))
    assert status == 1 and got[rule]["verdict"] == "missed"
    (miss,) = [m for m in got[rule]["misses"]]
    assert miss["name"] == "bot" and miss["ongoing"] and miss["times"] == 1 and miss["worst"] > got[rule]["limit"]
    others = {name: o["verdict"] for name, o in got.items() if name != rule}
    assert "missed" not in {v for name, v in others.items() if name != "run-long"}
    got, status = checked(stakeout, recorded(stakeout.folder, name="other.ndjson", **doesnt))
    assert status == 0 and got[rule]["verdict"] == "met"
    assert got[rule]["worst"] < got[rule]["limit"]


def test_default_run_long(stakeout):
    got, status = checked(stakeout, recorded(stakeout.folder, seconds=40, intervals=40))
    assert got["run-long"]["verdict"] == "missed" and status == 0, "severity info ends with 0"
    (miss,) = got["run-long"]["misses"]
    assert (miss["since_s"], miss["seconds"]) == (30, 10)
    got, status = checked(stakeout, recorded(stakeout.folder, seconds=29, intervals=29, name="short.ndjson"))
    assert got["run-long"]["verdict"] == "met"


def test_every_default_rule_is_tried(stakeout):
    names = re.findall(r"^  - name: (\S+)", stakeout("check", "--list").stdout.decode(), re.M)
    assert sorted(names) == sorted([*TRIPS, "run-long"])
    assert stakeout("check", "--list").stdout == (ROOT / "tools/rules/default.yaml").read_bytes()


def of_intervals(folder, per_interval, name="episodes.ndjson"):
    """A recording of one agent whose exchange_ns in each second are given."""
    lines = [json.loads(x) for x in make.lines([make.Agent(1, name="bot", peers=[peer("db", {"exchange_ns": [1] * len(per_interval)})])], seconds=float(len(per_interval)),
                                               intervals=len(per_interval), total=False)]
    kept = []
    for line in lines:
        if line["kind"] == "interval":
            values = per_interval[line["seq"]]
            if values is None:  # lost
                continue
            (p,) = line["agents"][0]["peers"]
            p["hist"] = {"exchange_ns": make.hist(values)} if values else {}
            line["agents"][0]["hist"] = p["hist"]
        kept.append(line)
    (folder / name).write_text("".join(json.dumps(x) + "\n" for x in kept))
    return name


def judged(per_interval, over, held, at_least, limit, clear, q=0.95):
    """The same by hand: (since, until) of each time."""
    times, raised, since = [], None, None
    for n in range(len(per_interval)):
        values = sorted(v for part in per_interval[max(0, n + 1 - over):n + 1] for v in part)
        value = values[math.ceil(q * len(values)) - 1] if values else None
        if raised is not None:
            if value is None or value <= clear:
                times.append((raised, n + 1))
                raised = since = None
        elif value is not None and len(values) >= at_least and value > limit:
            since = n if since is None else since
            if n + 1 - since >= held:
                raised = since
        else:
            since = None
    return times + ([(raised, len(per_interval))] if raised is not None else [])


@pytest.mark.parametrize("seed", range(6))
def test_episodes(stakeout, seed):
    """Spells of slow calls: when, how often and how long, from the values themselves. With windows of ten intervals each part is one."""
    r = random.Random(seed)
    series = []
    while len(series) < 300:
        level = r.choice([10, 10, 60, 500])
        series += [[int(level * MS * r.uniform(0.9, 1.1)) for _ in range(r.choice([0, 1, 3, 8]))] for _ in range(r.randint(1, 25))]
    over, held, at_least = r.choice([1, 5, 10]), r.choice([0, 3, 8]), r.choice([1, 5, 20])
    mine = rules(stakeout, f"""rules:
  - {{name: db, class: db, when: p95(exchange_ns) > 100ms, clear: 80ms, over: {over}s, for: {held}s, at_least: {at_least}}}
  - {{name: agent, when: p95(exchange_ns) > 100ms, clear: 30ms, over: {over}s, for: {held}s, at_least: {at_least}}}
""")
    got, status = checked(stakeout, of_intervals(stakeout.folder, series), "-r", mine)
    for name, clear in (("db", 80), ("agent", 30)):
        want = judged(series, over, held, at_least, 100 * MS, clear * MS)
        misses = got[name]["misses"]
        assert sum(m["times"] for m in misses) == len(want)
        if want:
            (miss,) = misses
            assert miss["since_s"] == want[0][0]
            assert miss["seconds"] == pytest.approx(sum(until - since for since, until in want))
    assert status == int(any(got[name]["misses"] for name in got))


def test_gap(stakeout):
    """What was lost counts for nothing: neither as slow nor as time watched."""
    series = [[500 * MS] * 10] * 5 + [None] * 60 + [[1 * MS] * 3] * 4
    mine = rules(stakeout, "rules:\n- {name: p95, when: p95(exchange_ns) > 100ms, over: 10s}\n- {name: rate, class: db, when: rate(exchange_ns) < 5, over: 10s}\n")
    done = stakeout("check", of_intervals(stakeout.folder, series), "-r", mine)
    assert done.returncode == 1
    assert "60 intervals" in done.stdout.decode() or "missing" in done.stdout.decode()
    got, _ = checked(stakeout, "episodes.ndjson", "-r", mine)
    assert got["p95"]["misses"][0]["times"] == 1 and not got["p95"]["misses"][0]["ongoing"]
    assert got["rate"]["verdict"] == "no data" and "of the 10 s" in got["rate"]["why"]


def test_real_programs(stakeout, agents):
    """A busy loop, a program that sleeps, and one that starts slow tools: each trips its rule only."""
    busy = agents("python3", "-c", "while True: pass")
    idle = agents("sleep", "1000")
    tools = agents("sh", "-c", "while true; do sleep 0.25; done")
    made = stakeout("record", "-p", ",".join(str(p.pid) for p in (busy, idle, tools)), "-d", "4", "-i", "0.5", "-o", "r.ndjson")
    assert made.returncode == 0, made.stderr
    mine = rules(stakeout, """rules:
  - {name: busy, when: share(running) + share(runnable) > 80%, over: 2s}
  - {name: idle, when: share(idle) + share(sleep) > 80%, over: 2s}
  - {name: tools, tool: sleep, when: mean(tool_ns) > 240ms, at_least: 3}
  - {name: vectors, class: vector, when: p95(exchange_ns) > 200ms}
  - {name: heap, when: last(heap_live_bytes) > 1M}
""")
    got, status = checked(stakeout, "r.ndjson", "-r", mine)
    pids = {a["id"]: a["pid"] for line in map(json.loads, (stakeout.folder / "r.ndjson").read_text().splitlines()) for a in line.get("agents", []) if "pid" in a}
    missed = {name: {pids[m["agent"]] for m in o["misses"]} for name, o in got.items()}
    assert missed["busy"] == {busy.pid} and missed["tools"] == {tools.pid}
    assert missed["idle"] == {idle.pid}
    assert 0.24 < got["tools"]["misses"][0]["worst"]
    assert got["vectors"]["verdict"] == "no data" and got["vectors"]["why"] == "no peer of class vector"
    assert got["heap"]["verdict"] == "no data" and got["heap"]["why"].startswith("the probe heap was off")
    assert status == 1


def test_no_data_is_said(stakeout):
    """Never met silently: probes that were off, division by zero, too few values, too short."""
    probes = [{"name": p, "state": "unavailable" if p == "sock" else "on", "why": "no tracepoint" if p == "sock" else ""} for p in make.PROBES]
    mine = rules(stakeout, """rules:
  - {name: off, when: total(errors_reset) > 3}
  - {name: zero, when: total(forks) / total(exits) > 50%}
  - {name: few, when: p95(tool_ns) > 1s}
  - {name: short, when: rate(forks) > 5, over: 1h}
  - {name: nobody, agent: 'x*', when: age() > 1s}
""")
    got, status = checked(stakeout, recorded(stakeout.folder, probes=probes, values={"tool_ns": [5 * S] * 7}), "-r", mine)
    assert status == 0
    assert {o["verdict"] for o in got.values()} == {"no data"}
    assert got["off"]["why"] == "the probe sock was unavailable: no tracepoint"
    assert got["zero"]["why"] == "its divisor is 0"
    assert got["few"]["why"] == "7 events at most, at_least is 20"
    assert got["short"]["why"] == "watched for 120 s of the 3600 s that it is of"
    assert got["nobody"]["why"] == "no agent is called x*"
    shown = " ".join(stakeout("check", "r.ndjson", "-r", mine).stdout.decode().split())
    assert "0 missed, 0 met, 5 no data" in shown and "off (the probe sock was unavailable: no tracepoint)" in shown


def test_table(stakeout):
    """80 columns; names that would rewrite the line don't; missed ones come first."""
    evil = 'e\x1b[31mvil\n"\u202e' + "x" * 100
    agents = [make.Agent(1, name=evil, pid=1, peers=[peer("db", {"exchange_ns": [200 * MS] * 600})]),
              make.Agent(2, name="fine", pid=2, peers=[peer("db", {"exchange_ns": [1 * MS] * 600})])]
    done = stakeout("check", recorded(stakeout.folder, agents=agents))
    text = done.stdout.decode()
    lines = text.splitlines()
    assert done.returncode == 1 and max(map(len, lines)) <= 80
    assert "\x1b" not in text and "\u202e" not in text
    assert lines[0].endswith("r.ndjson: 2 missed, 1 met, 10 no data") or len(str(stakeout.folder)) > 40
    assert re.search(r"database-slow\s+e\?\[31mvil\S*\s+db\s+200 ms\s+> 100ms\s+warning 03:04:0[5-9]", text)
    assert re.search(r"database-slow\s+1 agent\s+-\s+> 100ms\s+met", text)
    assert json.loads(stakeout("check", "--json", "r.ndjson").stdout)["objectives"][1]["misses"][0]["name"] == evil


def test_several_files(stakeout):
    one = recorded(stakeout.folder, name="one.ndjson", seconds=20, intervals=20)
    two = recorded(stakeout.folder, name="two.ndjson", **TRIPS["database-slow"][0])
    done = stakeout("check", one, two)
    assert done.returncode == 1 and done.stdout.decode().count("no data") >= 2
    done = stakeout("check", "--json", two, one)
    assert [json.loads(x)["file"] for x in done.stdout.decode().splitlines()] == [two, one] and done.returncode == 1
    done = stakeout("check", "nowhere.ndjson", two)
    assert done.returncode == 2 and b"nowhere.ndjson" in done.stderr and b"two.ndjson" in done.stdout
    done = stakeout("check", "-", stdin=open(two, "rb"))
    assert done.returncode == 1


def test_junit(stakeout):
    """As another program's XML reader has it: failures, skips and errors, a suite a recording."""
    evil = "a<b>&\"\x1b\ufffe"
    slow_one = recorded(stakeout.folder, agents=[make.Agent(1, name=evil, **TRIPS["database-slow"][0])])
    (stakeout.folder / "empty").write_text("")
    done = stakeout("check", slow_one, "empty", "--junit", "out.xml")
    assert done.returncode == 2 and b"database-slow" in done.stdout
    suites = ElementTree.parse(stakeout.folder / "out.xml").getroot()
    assert [s.get("name") for s in suites] == [slow_one, "empty"]
    assert [suites[1].get("errors"), suites[1][0][0].tag, suites[1][0][0].get("message")] == ["1", "error", "it is empty"]
    objectives = json.loads(stakeout("check", "--json", slow_one).stdout)["objectives"]
    want = {o["rule"]: {"missed": "system-out" if o["severity"] == "info" else "failure", "met": None, "no data": "skipped"}[o["verdict"]] for o in objectives}
    assert {c.get("name"): c[0].tag if len(c) else None for c in suites[0]} == want
    assert [int(suites[0].get(key)) for key in ("tests", "failures", "skipped")] == [len(want), 1, list(want.values()).count("skipped")]
    (failure,) = suites[0].iter("failure")
    assert failure.get("type") == "warning" and failure.get("message").startswith('a<b>&"?') and "db: " in failure.get("message") and "(> 100ms)" in failure.text
    done = stakeout("check", slow_one, "--junit", "out.xml")
    assert done.returncode == 5 and b"--force overwrites it" in done.stderr
    assert stakeout("check", slow_one, "--junit", "out.xml", "--force").returncode == 1
    assert stakeout("check", slow_one, "--junit", "-").stdout == (stakeout.folder / "out.xml").read_bytes()


@pytest.mark.parametrize("text, says", [
    ("rules:\n- name: a\n  when: p95(exchang_ns) > 3s\n", r"rules.yaml:3:13: unknown metric 'exchang_ns' \(did you mean 'exchange_ns'\?\)"),
    ("rules:\n- name: a\n  when: p95(exchange_ns) > 3\n", r"rules.yaml:3:28: '3' is a plain number, but the expression is a time: like 3s or 250ms is expected"),
    ("rules:\n- name: a\n  wen: age() > 3s\n", r"rules.yaml:3:3: unknown key 'wen' \(did you mean 'when'\?\) in rules; there are name, when, .*"),
    ("rules:\n- name: a\n  when: " + "(" * 100 + "\n", r"rules.yaml:3:41: brackets are nested too deeply; 32 levels are possible"),
    ("rules:\n- name: \"\\e[31m\\n\"\n  when: age() > 3s\n", r"rules.yaml:2:9: name '\?\[31m\?': letters, .*"),
    ("", r"rules.yaml:1:1: the file is empty; it needs 'rules' at least"),
    ("rules: {", r"rules.yaml:2:1: not YAML: .*"),
])
def test_bad_rules(stakeout, text, says):
    mine, made = rules(stakeout, text), recorded(stakeout.folder, seconds=2, intervals=2)
    for args in ([made, "-r", mine], ["--list", "-r", mine]):
        done = stakeout("check", *args)
        assert done.returncode == 2 and not done.stdout
        assert re.fullmatch(rf"stakeout: {says}\n", done.stderr.decode()), done.stderr


@pytest.mark.parametrize("args, says", [
    ([], "check needs the names of recordings"),
    (["--list", "x"], "it checks no recording"),
    (["--jsn", "x"], "unknown option '--jsn'"),
    (["x", "-r"], "-r needs a value"),
    (["x", "-r", "nowhere.yaml"], "nowhere.yaml: No such file or directory"),
    (["x", "--width", "10"], "--width 10: want a number from 40 to 1000"),
    (["x", "--json", "--junit", "-"], "both write to standard output"),
    (["empty"], "empty: it is empty"),
    (["text"], "text: "),
])
def test_bad_usage(stakeout, args, says):
    (stakeout.folder / "empty").write_text("")
    (stakeout.folder / "text").write_text("hello\n")
    (stakeout.folder / "x").write_text("")
    done = stakeout("check", *args)
    assert done.returncode == 2 and says in done.stderr.decode() and not done.stdout


def test_output_full(stakeout):
    made = recorded(stakeout.folder, seconds=2, intervals=2)
    with open("/dev/full", "w") as full:
        for args in ([made], ["--json", made], ["--list"], [made, "--junit", "-"]):
            done = subprocess.run([stakeout.path, "check", *args], stdout=full, stderr=subprocess.PIPE)
            assert done.returncode == 5 and done.stderr
