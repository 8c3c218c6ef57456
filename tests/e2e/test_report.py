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


@pytest.mark.parametrize("seed", range(8))
def test_ledger_table_sums_up(stakeout, seed):
    r = random.Random(seed)
    parts = [r.expovariate(1) ** 2 for _ in make.STATES]
    ledger = {s: 10 * p / sum(parts) for s, p in zip(make.STATES, parts)}
    text = shown(stakeout, make.write(stakeout.folder / "r.ndjson", [make.Agent(1, ledger=ledger)]), "--width", "120")
    rows = re.findall(r"^  [^ ]  (\w+) +([\d.]+) +(<?[\d.]+) +([\d.]+)", text, re.M)
    assert [row[0] for row in rows] == make.STATES
    for state, seconds, percent, _ in rows:
        assert float(seconds) == pytest.approx(ledger[state], abs=0.00051)
        if not percent.startswith("<"):
            assert float(percent) == pytest.approx(ledger[state] * 10, abs=0.101)
    assert sum(float(p) for _, _, p, _ in rows if not p.startswith("<")) == pytest.approx(100.0, abs=1e-6)
    assert re.search(r"^     sum +10\.000  100\.0 +10\.000$", text, re.M)
    letters = dict(zip(make.STATES, "#qndlsp|cfio"))
    bar = next(line.strip() for line in text.splitlines() if len(line) == 118 and set(line.strip()) <= set("#qndlsp|cfio"))
    assert len(bar) == 116
    for state in make.STATES:
        assert bar.count(letters[state]) == pytest.approx(ledger[state] / 10 * 116, abs=1)


def test_ledger_that_does_not_close_is_said(stakeout):
    path = make.write(stakeout.folder / "r.ndjson", [make.Agent(1, ledger={"running": 7.0})])
    assert "(accounts for 7.000 s of 10.000 s observed)" in shown(stakeout, path)


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
    for heading in ("Tools", "histogram", "memory", "sockets", "processes", "scheduler"):
        assert heading not in text


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
    return max(len(line) for line in text.splitlines())


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
@pytest.mark.parametrize("env", [PLAIN, UTF8], ids=["ascii", "utf8"])
def test_no_line_is_wider_than_asked(stakeout, width, env):
    long = make.typical(1, 10.0, 2, name="n" * 300, cmdline="word " * 200 + "x" * 500, exit_code=9)
    long.tools["t" * 200] = {"values": {"tool_ns": [10**15] * 9}, "counters": {"cpu_user_ns": 10**17, "exits_failed": 10**9}}
    long.values["kernel_alloc_size_bytes"] = [2**62, 1]
    probes = [{"name": "sock", "state": "unavailable", "why": "w" * 150}]
    path = make.write(stakeout.folder / "r.ndjson", [long], probes=probes, host="h" * 250, lost={"ring_full": 10**12})
    for args in ([], ["--hist", "oncpu_ns"], ["--hist", "kernel_alloc_size_bytes"]):
        text = shown(stakeout, path, "--width", width, *args, env=env)
        assert columns(text) <= width
        assert text == shown(stakeout, path, *args, env=dict(env, COLUMNS=str(width)))
    whole = shown(stakeout, path, "--width", width)
    assert "oncpu_ns" in whole and "Recording" in whole and "running" in whole


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


@pytest.mark.parametrize("env", [PLAIN, UTF8], ids=["ascii", "utf8"])
def test_hostile_names_are_harmless(stakeout, env):
    agent = make.typical(1, 10.0, 1, name=HOSTILE, cmdline=HOSTILE)
    agent.tools = {HOSTILE: agent.tools["sh"]}
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
